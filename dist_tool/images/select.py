"""Select the manifest for one platform from an index (behaviours E3-E11)."""

from __future__ import annotations

from typing import NamedTuple

from dist_tool.errors import BadManifest, LimitExceeded, NotFound
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import (
    DEPTH_LIMIT,
    MANIFEST_LIMIT,
    Manifest,
    is_attestation,
    parse_json,
    parse_manifest,
    select,
)
from dist_tool.oci.mediatypes import CONFIG_TYPES, INDEX_TYPES, is_manifest_like
from dist_tool.oci.platform import Platform
from dist_tool.transfer.repository import Repository

_MANIFEST = Hints(kind="manifest")
ASKED_LIMIT = 100  # manifests of an index that are read because their entries name no platform


class SelectedImage(NamedTuple):
    """The manifest of an image for one platform, and the objects read to find it.

    `manifest` is None if its entry in the index was sufficient. `configs` maps digests to the image
    configs that were read, so that none is requested twice.
    """

    desc: Descriptor
    manifest: Manifest | None
    configs: dict[Digest, bytes]


def select_image(repository: Repository, object_id: str, wanted: Platform) -> SelectedImage:
    """Find the manifest of an image for one platform.

    Follows nested indexes. If an entry, or a single image, does not name its platform, it is
    taken from the image's config. Raises NotFound, listing the available platforms, and
    LimitExceeded if more than ASKED_LIMIT manifests would have to be read.
    """
    hints = _MANIFEST._replace(other=(("platform", str(wanted)),))  # a layout may have several entries with one name
    search = _Search(repository, wanted)
    for _ in range(DEPTH_LIMIT):
        desc, manifest = read_manifest(repository, object_id, hints)
        if not manifest.is_index:
            search.check(manifest)
            return SelectedImage(desc, manifest, search.configs)
        desc = search.entry(manifest)
        if desc.media_type not in INDEX_TYPES:
            return SelectedImage(desc, search.manifests.get(desc.digest), search.configs)
        object_id, hints = str(desc.digest), hints_of(desc)
    raise LimitExceeded(f"indexes nested more than {DEPTH_LIMIT} deep")


def hints_of(entry: Descriptor) -> Hints:
    """The hints for requesting an index entry: its media type, if it is that of a manifest or index."""
    return _MANIFEST._replace(media_types=(entry.media_type,) if is_manifest_like(entry.media_type) else ())


def read_manifest(repository: Repository, object_id: str, hints: Hints = _MANIFEST) -> tuple[Descriptor, Manifest]:
    """Fetch and parse a manifest or index. Raises the errors of `Repository.fetch_to` and `parse_manifest`."""
    desc, data = read(repository, object_id, hints)
    media_type = desc.media_type if desc.media_type.endswith("+json") else ""
    return desc, parse_manifest(data, media_type)


def read(repository: Repository, object_id: str, hints: Hints) -> tuple[Descriptor, bytes]:
    """Fetch a manifest, index or config of at most MANIFEST_LIMIT bytes."""
    parts: list[bytes] = []
    limit = min(repository.options.limit or MANIFEST_LIMIT, MANIFEST_LIMIT)
    options = repository.options._replace(limit=limit)
    desc = repository.fetch_to(object_id, lambda data: parts.append(bytes(data)), hints, options)
    return desc, b"".join(parts)


class _Search:
    """Search for the manifest of one platform in an index and its nested indexes."""

    def __init__(self, repository: Repository, wanted: Platform) -> None:
        self._repository = repository
        self._wanted = wanted
        self.manifests: dict[Digest, Manifest] = {}  # read because their entries name no platform
        self.configs: dict[Digest, bytes] = {}

    def entry(self, index: Manifest) -> Descriptor:
        """The index entry that is, or may lead to, the manifest for the platform."""
        try:
            return select(index.manifests, self._wanted)
        except NotFound:
            for entry in index.manifests:
                if is_attestation(entry) or entry.platform is not None or entry.digest in self.manifests:
                    continue
                if entry.media_type in INDEX_TYPES or self._fits(self._child(entry)):
                    return entry
            raise

    def check(self, manifest: Manifest) -> None:
        """Raise NotFound if the config of a single image states another platform."""
        platform = self._platform(manifest)
        if platform is not None and not self._accepts(platform):
            raise NotFound(f"no manifest for platform {self._wanted}", hint=f"available: {platform}")

    def _child(self, entry: Descriptor) -> Manifest:
        if len(self.manifests) == ASKED_LIMIT:
            raise LimitExceeded(
                f"more than {ASKED_LIMIT} entries of the index name no platform",
                hint="give the digest of the manifest",
            )
        manifest = read_manifest(self._repository, str(entry.digest), hints_of(entry))[1]
        self.manifests[entry.digest] = manifest
        return manifest

    def _fits(self, manifest: Manifest) -> bool:
        platform = self._platform(manifest)
        return platform is not None and self._accepts(platform)

    def _accepts(self, platform: Platform) -> bool:
        return any(candidate.accepts(platform) for candidate in self._wanted.candidates())

    def _platform(self, manifest: Manifest) -> Platform | None:
        """The platform that an image's config states; None for other artifacts, never parsed (behaviours E12)."""
        config = manifest.config
        if config is None or config.media_type not in CONFIG_TYPES:
            return None
        if config.digest not in self.configs:
            self.configs[config.digest] = read(self._repository, str(config.digest), Hints(size=config.size))[1]
        value = parse_json(self.configs[config.digest])
        if not isinstance(value, dict):
            raise BadManifest("an image config is not a JSON object")
        return Platform.from_json(value)
