"""What kind of object a blob is. A store of bytes does not know; what points to them does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dist_tool.errors import DistError
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT, document_type, parse_json
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCTET_STREAM, is_manifest_like

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore

_COMPRESSED = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
_TAR_MAGIC = slice(257, 262)


def sniff(store: DiskStore, digest: Digest) -> str:
    """The media type that a blob's bytes suggest; `application/octet-stream` for no idea.

    Raises NotFound and LocalFailure.
    """
    with store.open(Descriptor(digest)) as blob:
        head = memoryview(bytearray(512))
        head = head[: blob.readinto(head)]
        size = blob.total or 0
    start = bytes(head)
    if start[:1] == b"{" and size <= MANIFEST_LIMIT:
        return _document(store, digest)
    for magic, suffix in _COMPRESSED:
        if start.startswith(magic):
            return OCI_LAYER + suffix
    return OCI_LAYER if start[_TAR_MAGIC] == b"ustar" else OCTET_STREAM


def _document(store: DiskStore, digest: Digest) -> str:
    try:
        value = parse_json(store.read(Descriptor(digest), MANIFEST_LIMIT))
        if not isinstance(value, dict):
            return OCTET_STREAM
        if "rootfs" in value and "architecture" in value:
            return OCI_CONFIG
        return document_type(value) or OCTET_STREAM
    except DistError:  # whatever it is, it is no document that anybody should act on
        return OCTET_STREAM


def media_types(store: DiskStore, wanted: Iterable[Digest], tellers: Iterable[Digest] = ()) -> dict[Digest, str]:
    """The media types of blobs: what `index.json` and manifests say of them, else `sniff`.

    The manifests are those among `wanted` and `tellers`. One that cannot be read says nothing.
    """
    told = {entry.digest: entry.media_type for entry in store.index.entries()}
    found = {digest: told.get(digest) or sniff(store, digest) for digest in wanted}
    seen = dict(found)
    for digest in tellers:
        if digest not in seen:
            seen[digest] = told.get(digest) or sniff(store, digest)
    for digest in [digest for digest, media_type in seen.items() if is_manifest_like(media_type)]:
        for child in _children(store, digest):
            if child.digest in found and child.digest not in told:
                found[child.digest] = child.media_type
    return found


def _children(store: DiskStore, digest: Digest) -> list[Descriptor]:
    from dist_tool.store.graph import links

    try:
        return links(store, digest)
    except DistError:
        return []
