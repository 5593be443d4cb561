"""OCI image layouts: version file, entries of index.json and their reference names (image-spec image-layout.md)."""

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
    """The layout version in the decoded content of `oci-layout`, "" if absent."""
    version = document.get(_VERSION) if isinstance(document, dict) else None
    return version if isinstance(version, str) else ""


def is_supported(version: str) -> bool:
    """True for a supported layout version: 1.x."""
    return version.startswith("1.")


def index_document(entries: Sequence[Any] = ()) -> dict[str, Any]:
    """The decoded content of an `index.json` with these entries."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}


def raw_entries(document: object, source: str = INDEX_FILE) -> list[Any]:
    """The entries in the decoded content of `index.json`, not parsed yet. Raises BadManifest that names `source`."""
    manifests = document.get("manifests") if isinstance(document, dict) else None
    if manifests is None:
        return []
    if not isinstance(manifests, list):
        raise BadManifest(f"{source}: manifests are not a list")
    return manifests


def name_of(entry: Descriptor) -> str:
    """The reference name of an entry, "" if it has none."""
    return entry.annotations.get(REF_NAME, "")


def name_of_raw(entry: object) -> object:
    """The reference name of an entry in decoded JSON; None if it has none or is malformed."""
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return annotations.get(REF_NAME) if isinstance(annotations, dict) else None


def for_platform(entries: Sequence[Descriptor], platform: str) -> Descriptor:
    """The entry for `platform`; the last of several with the same platform, since tools append.

    With "", raises InvalidArgument if the entries differ in platform. Raises NotFound if no entry matches.
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
    """True if all entries have the same name (or none) and each has a different platform."""
    names = {entry.annotations.get(REF_NAME) for entry in entries}
    platforms = _platforms(entries)
    return len(names) == 1 and len(platforms) == len(entries)


def _platforms(entries: Sequence[Descriptor]) -> list[Platform]:
    return list(dict.fromkeys(entry.platform.normalised() for entry in entries if entry.platform is not None))
