"""What kind of object a blob is. A store of bytes does not know; what points to them does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dist_tool.errors import DistError, LocalFailure, NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT, document_type, parse_json
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCTET_STREAM, is_manifest_like
from dist_tool.run import Notice

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore

_COMPRESSED = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
_TAR_MAGIC = slice(257, 262)


def sniff(store: DiskStore, digest: Digest) -> str:
    """The media type that a blob's bytes suggest; `application/octet-stream` for no idea.

    Raises NotFound and LocalFailure.
    """
    with store.open(Descriptor(digest), is_use=False) as blob:
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
        value = parse_json(store.read(Descriptor(digest), MANIFEST_LIMIT, is_use=False))
        if not isinstance(value, dict):
            return OCTET_STREAM
        if "rootfs" in value and "architecture" in value:
            return OCI_CONFIG
        return document_type(value) or OCTET_STREAM
    except DistError:  # whatever it is, it is no document that anybody should act on
        return OCTET_STREAM


def media_types(store: DiskStore, wanted: Iterable[Digest]) -> dict[Digest, str]:
    """The media types of blobs: what `index.json` and manifests say of them, else `sniff`.

    The manifests are those among `wanted`, and those that names reach until every type is known:
    the rest of the store is not read. One that cannot be read says nothing.
    """
    entries = store.index.entries()
    told = {entry.digest: entry.media_type for entry in entries}
    found = {digest: told.get(digest) or _guess(store, digest) for digest in wanted}
    # A manifest says what it is; of anything else its bytes are only a guess.
    guessed = {digest for digest, kind in found.items() if digest not in told and not is_manifest_like(kind)}
    pending = [digest for digest, media_type in found.items() if is_manifest_like(media_type)]
    pending += [entry.digest for entry in entries if is_manifest_like(entry.media_type)]
    seen: set[Digest] = set()
    while pending and guessed:
        digest = pending.pop()
        if digest in seen:
            continue
        seen.add(digest)
        for child in _children(store, digest):
            if child.digest in guessed:
                found[child.digest] = child.media_type
                guessed.discard(child.digest)
            if is_manifest_like(child.media_type):
                pending.append(child.digest)
    return found


def _guess(store: DiskStore, digest: Digest) -> str:
    """As `sniff`, for a list that goes on without a blob that cannot be read."""
    try:
        return sniff(store, digest)
    except NotFound:  # removed meanwhile
        return OCTET_STREAM
    except LocalFailure as error:
        store.report(Notice("warning", str(error)))
        return OCTET_STREAM


def _children(store: DiskStore, digest: Digest) -> list[Descriptor]:
    from dist_tool.store.graph import links

    try:
        return links(store, digest)
    except DistError:
        return []
