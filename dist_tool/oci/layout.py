"""OCI image layouts: the version file, the entries of index.json and their names (image-spec image-layout.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dist_tool.errors import BadManifest, InvalidArgument, NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.manifest import select
from dist_tool.oci.mediatypes import OCI_INDEX
from dist_tool.oci.platform import Platform

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"  # the full reference, which containerd and docker add
_VERSION = "imageLayoutVersion"


def layout_document() -> dict[str, Any]:
    """The content of `oci-layout`."""
    return {_VERSION: "1.0.0"}


def layout_version(document: object) -> str:
    """The version in the decoded content of `oci-layout`, "" for none."""
    version = document.get(_VERSION) if isinstance(document, dict) else None
    return version if isinstance(version, str) else ""


def is_supported(version: str) -> bool:
    """True for a layout version that can be read: 1.x."""
    return version.startswith("1.")


def index_document(entries: Sequence[Any] = ()) -> dict[str, Any]:
    """The content of `index.json` with these entries, decoded."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}


def raw_entries(document: object, source: str = INDEX_FILE) -> list[Any]:
    """The entries in the decoded content of `index.json`, as JSON. Raises BadManifest, naming `source`."""
    manifests = document.get("manifests") if isinstance(document, dict) else None
    if manifests is None:
        return []
    if not isinstance(manifests, list):
        raise BadManifest(f"{source}: manifests are not a list")
    return manifests


def name_of(entry: Descriptor) -> str:
    """The reference name of an entry, "" for none."""
    return entry.annotations.get(REF_NAME, "")


def name_of_raw(entry: object) -> object:
    """The reference name of an entry in JSON; None for none, and for an entry that is not well formed."""
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return annotations.get(REF_NAME) if isinstance(annotations, dict) else None


def for_platform(entries: Sequence[Descriptor], platform: str) -> Descriptor:
    """The entry for `platform`; of several that do not differ in it the last, as tools append.

    "" is no choice. Raises InvalidArgument if one is needed, NotFound if no entry fits.
    """
    last_first = entries[::-1]
    if len({entry.digest for entry in entries}) == 1:
        return last_first[0]
    unspecific = [entry for entry in last_first if entry.platform is None]
    platforms = _platforms(entries)
    if not platform and (unspecific or len(platforms) == 1):
        return last_first[0]
    if not platform:
        raise InvalidArgument(
            f"there are {len(platforms)} images with this name, for {', '.join(map(str, platforms))}",
            hint="choose one with --platform or the hint platform:OS/ARCH, or name it by digest",
        )
    try:
        return select(last_first, Platform.parse(platform))
    except NotFound:
        if not unspecific:
            raise
        return unspecific[0]


def is_one_image(entries: Sequence[Descriptor]) -> bool:
    """True for entries that share their name, if any, and differ in their platforms."""
    names = {entry.annotations.get(REF_NAME) for entry in entries}
    platforms = _platforms(entries)
    return len(names) == 1 and len(platforms) == len(entries)


def _platforms(entries: Sequence[Descriptor]) -> list[Platform]:
    return list(dict.fromkeys(entry.platform.normalised() for entry in entries if entry.platform is not None))
