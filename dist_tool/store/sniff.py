"""What kind of object a blob is. A store of bytes does not know; what points to them does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dist_tool.errors import DistError, LocalFailure, NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT, document_type, parse_json
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCTET_STREAM, is_manifest_like
from dist_tool.run import NO_RUN, Notice, Run
from dist_tool.store.verify import BlobReader, read

_COMPRESSED = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
_TAR_MAGIC = slice(257, 262)


class NamedBlobs(BlobReader, Protocol):
    """A `BlobReader` with names for some blobs."""

    def entries(self) -> list[Descriptor]:
        """The descriptors that names mean."""


def sniff(blobs: BlobReader, digest: Digest) -> str:
    """The media type that a blob's bytes suggest; `application/octet-stream` for no idea.

    Raises NotFound and LocalFailure.
    """
    with blobs.open(Descriptor(digest), is_use=False) as blob:
        head = memoryview(bytearray(512))
        head = head[: blob.readinto(head)]
        size = blob.total or 0
    start = bytes(head)
    if start[:1] == b"{" and size <= MANIFEST_LIMIT:
        return _document(blobs, digest)
    for magic, suffix in _COMPRESSED:
        if start.startswith(magic):
            return OCI_LAYER + suffix
    return OCI_LAYER if start[_TAR_MAGIC] == b"ustar" else OCTET_STREAM


def _document(blobs: BlobReader, digest: Digest) -> str:
    try:
        value = parse_json(read(blobs, Descriptor(digest), MANIFEST_LIMIT, is_use=False))
        if not isinstance(value, dict):
            return OCTET_STREAM
        if "rootfs" in value and "architecture" in value:
            return OCI_CONFIG
        return document_type(value) or OCTET_STREAM
    except DistError:  # whatever it is, it is no document that anybody should act on
        return OCTET_STREAM


def media_types(blobs: NamedBlobs, wanted: Iterable[Digest], run: Run = NO_RUN) -> dict[Digest, str]:
    """The media types of blobs: what `index.json` and manifests say of them, else `sniff`.

    The manifests are those among `wanted`, and those that names reach until every type is known:
    the rest of the store is not read. Blobs that cannot be read are reported to `run` and skipped.
    """
    entries = blobs.entries()
    told = {entry.digest: entry.media_type for entry in entries}
    found = {digest: told.get(digest) or _guess(blobs, digest, run) for digest in wanted}
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
        for child in _children(blobs, digest):
            if child.digest in guessed:
                found[child.digest] = child.media_type
                guessed.discard(child.digest)
            if is_manifest_like(child.media_type):
                pending.append(child.digest)
    return found


def _guess(blobs: BlobReader, digest: Digest, run: Run) -> str:
    """As `sniff`, for a list that goes on without a blob that cannot be read."""
    try:
        return sniff(blobs, digest)
    except NotFound:  # removed meanwhile
        return OCTET_STREAM
    except LocalFailure as error:
        run.report(Notice("warning", str(error)))
        return OCTET_STREAM


def _children(blobs: BlobReader, digest: Digest) -> list[Descriptor]:
    from dist_tool.store.graph import links

    try:
        return links(blobs, digest)
    except DistError:
        return []
