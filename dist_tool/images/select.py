"""Choosing one platform's manifest out of an index (behaviours E3-E11)."""

from __future__ import annotations

from dist_tool.api import Remote
from dist_tool.errors import BadManifest, LimitExceeded, NotFound
from dist_tool.names.reference import Hints
from dist_tool.oci.descriptor import Descriptor
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


def resolve_platform(
    remote: Remote,
    object_id: str,
    wanted: Platform,
    options: FetchOptions = FetchOptions(),  # noqa: B008  immutable
) -> Descriptor:
    """The manifest that an image has for one platform.

    Follows nested indexes. Where an entry or a single image does not say its platform, its
    config does. Raises NotFound, listing what there is.
    """
    hints = _MANIFEST._replace(other=(("platform", str(wanted)),))  # a layout may hold several under one name
    for _ in range(DEPTH_LIMIT):
        desc, manifest = read_manifest(remote, object_id, options, hints)
        if not manifest.is_index:
            return _checked(remote, desc, manifest, wanted, options)
        desc = _entry(remote, manifest, wanted, options)
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


def _entry(remote: Remote, manifest: Manifest, wanted: Platform, options: FetchOptions) -> Descriptor:
    try:
        return select(manifest.manifests, wanted)
    except NotFound:
        for entry in manifest.manifests:
            if is_attestation(entry) or entry.platform is not None:
                continue
            if entry.media_type in INDEX_TYPES:
                return entry
            _, child = read_manifest(remote, str(entry.digest), options, hints_of(entry))
            if _fits(remote, child, wanted, options):
                return entry
        raise


def _checked(
    remote: Remote, desc: Descriptor, manifest: Manifest, wanted: Platform, options: FetchOptions
) -> Descriptor:
    platform = _config_platform(remote, manifest, options)
    if platform is not None and not any(candidate.accepts(platform) for candidate in wanted.candidates()):
        raise NotFound(f"no manifest for platform {wanted}", hint=f"available: {platform}")
    return desc


def _fits(remote: Remote, manifest: Manifest, wanted: Platform, options: FetchOptions) -> bool:
    platform = _config_platform(remote, manifest, options)
    return platform is not None and any(candidate.accepts(platform) for candidate in wanted.candidates())


def _config_platform(remote: Remote, manifest: Manifest, options: FetchOptions) -> Platform | None:
    """The platform that an image's config states; None for other artifacts, never parsed (E12)."""
    config = manifest.config
    if config is None or config.media_type not in CONFIG_TYPES:
        return None
    _, data = read(remote, str(config.digest), options, Hints(size=config.size))
    value = parse_json(data)
    if not isinstance(value, dict):
        raise BadManifest("an image config is not a JSON object")
    return Platform.from_json(value)
