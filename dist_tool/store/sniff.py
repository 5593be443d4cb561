"""Media types of blobs. The store does not record them: they are in the descriptors that link to a blob."""

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
        """The descriptors of all names."""


def sniff(blobs: BlobReader, digest: Digest) -> str:
    """Guess the media type of a blob from its content; `application/octet-stream` if unrecognized.

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
    except DistError:  # damaged or not a valid document: not to be acted on
        return OCTET_STREAM


def media_types(blobs: NamedBlobs, digests: Iterable[Digest], run: Run = NO_RUN) -> dict[Digest, str]:
    """The media types of blobs: those declared in `index.json` and in manifests, else `sniff`.

    The manifests read are those among `digests`, and those reachable from names until every type is
    declared; the rest of the store is not read. A blob that cannot be read is reported to `run` and
    gets `application/octet-stream`.
    """
    entries = blobs.entries()
    declared = {entry.digest: entry.media_type for entry in entries}
    found = {digest: declared.get(digest) or _guess(blobs, digest, run) for digest in digests}
    # A manifest contains its media type; for any other blob the result of `sniff` is a guess.
    guessed = {digest for digest, kind in found.items() if digest not in declared and not is_manifest_like(kind)}
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
    """`sniff` for listings: a blob that cannot be read is reported and gets `application/octet-stream`."""
    try:
        return sniff(blobs, digest)
    except NotFound:  # removed by another process
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
