"""Choosing one platform's manifest out of an index (behaviours E3-E11)."""

from __future__ import annotations

from dist_tool.api import Remote
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
from dist_tool.transfer.fetch import FetchOptions, fetch_to

_MANIFEST = Hints(kind="manifest")
ASKED_LIMIT = 100  # manifests of an index that are read because their entries name no platform
# Platforms that configs state, by the config's digest.
_Stated = dict[Digest, Platform | None]


def resolve_platform(
    remote: Remote,
    object_id: str,
    wanted: Platform,
    options: FetchOptions = FetchOptions(),  # noqa: B008  immutable
) -> Descriptor:
    """The manifest that an image has for one platform.

    Follows nested indexes. If an entry or a single image does not name its platform, its
    config does. Raises NotFound, listing what there is, LimitExceeded if more than ASKED_LIMIT
    manifests would have to be read.
    """
    hints = _MANIFEST._replace(other=(("platform", str(wanted)),))  # a layout may hold several under one name
    search = _Search(remote, wanted, options)
    for _ in range(DEPTH_LIMIT):
        desc, manifest = read_manifest(remote, object_id, options, hints)
        if not manifest.is_index:
            return search.checked(desc, manifest)
        desc = search.entry(manifest)
        if desc.media_type not in INDEX_TYPES:
            return desc
        object_id, hints = str(desc.digest), hints_of(desc)
    raise LimitExceeded(f"indexes nested more than {DEPTH_LIMIT} deep")


def hints_of(entry: Descriptor) -> Hints:
    """The hints with which to ask for what an index names: its type, if that is one of a manifest or an index."""
    return _MANIFEST._replace(media_types=(entry.media_type,) if is_manifest_like(entry.media_type) else ())


def read_manifest(
    remote: Remote, object_id: str, options: FetchOptions, hints: Hints = _MANIFEST
) -> tuple[Descriptor, Manifest]:
    """Fetch and read a manifest or index. Raises as `fetch_to` and `parse_manifest`."""
    desc, data = read(remote, object_id, options, hints)
    known = desc.media_type if desc.media_type.endswith("+json") else ""
    return desc, parse_manifest(data, known)


def read(remote: Remote, object_id: str, options: FetchOptions, hints: Hints) -> tuple[Descriptor, bytes]:
    """Fetch something small enough to hold: a manifest, an index or a config."""
    parts: list[bytes] = []
    limit = min(options.limit or MANIFEST_LIMIT, MANIFEST_LIMIT)
    desc = fetch_to(remote, object_id, lambda data: parts.append(bytes(data)), hints, options._replace(limit=limit))
    return desc, b"".join(parts)


class _Search:
    """The search for one platform's manifest: what was asked for so far, in all indexes together."""

    def __init__(self, remote: Remote, wanted: Platform, options: FetchOptions) -> None:
        self._remote = remote
        self._wanted = wanted
        self._options = options
        self._asked: set[Digest] = set()  # manifests of unknown platform
        self._stated: _Stated = {}

    def entry(self, index: Manifest) -> Descriptor:
        """The entry of an index that is, or may lead to, the wanted manifest."""
        try:
            return select(index.manifests, self._wanted)
        except NotFound:
            for entry in index.manifests:
                if is_attestation(entry) or entry.platform is not None or entry.digest in self._asked:
                    continue
                if entry.media_type in INDEX_TYPES or self._fits(self._child(entry)):
                    return entry
            raise

    def checked(self, desc: Descriptor, manifest: Manifest) -> Descriptor:
        """The descriptor of a single image, if its config does not state another platform."""
        platform = self._platform(manifest)
        if platform is not None and not self._accepts(platform):
            raise NotFound(f"no manifest for platform {self._wanted}", hint=f"available: {platform}")
        return desc

    def _child(self, entry: Descriptor) -> Manifest:
        self._asked.add(entry.digest)
        if len(self._asked) > ASKED_LIMIT:
            raise LimitExceeded(
                f"more than {ASKED_LIMIT} entries of the index name no platform",
                hint="name the manifest by its digest",
            )
        return read_manifest(self._remote, str(entry.digest), self._options, hints_of(entry))[1]

    def _fits(self, manifest: Manifest) -> bool:
        platform = self._platform(manifest)
        return platform is not None and self._accepts(platform)

    def _accepts(self, platform: Platform) -> bool:
        return any(candidate.accepts(platform) for candidate in self._wanted.candidates())

    def _platform(self, manifest: Manifest) -> Platform | None:
        """The platform that an image's config states; None for other artifacts, never parsed (E12)."""
        config = manifest.config
        if config is None or config.media_type not in CONFIG_TYPES:
            return None
        if config.digest not in self._stated:
            self._stated[config.digest] = self._read_platform(config)
        return self._stated[config.digest]

    def _read_platform(self, config: Descriptor) -> Platform:
        _, data = read(self._remote, str(config.digest), self._options, Hints(size=config.size))
        value = parse_json(data)
        if not isinstance(value, dict):
            raise BadManifest("an image config is not a JSON object")
        return Platform.from_json(value)
