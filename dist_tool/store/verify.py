"""Verified reads of blobs, and verification of stored blobs against their digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from dist_tool.errors import DataLoss, LimitExceeded, LocalFailure, NotFound, Unsupported
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.verify import VerifiedReader, Verifier


class BlobReader(Protocol):
    """The part of `api.Store` that reads blobs."""

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None if it is absent."""

    def open(self, desc: Descriptor, offset: int = 0, *, is_use: bool = True) -> Body:
        """The blob's bytes from `offset`, not verified. Raises NotFound, LocalFailure."""


class BlobLister(BlobReader, Protocol):
    """A `BlobReader` that lists its blobs."""

    def digests(self) -> Iterator[Digest]:
        """The digests of all blobs, in no order."""


def open_verified(blobs: BlobReader, desc: Descriptor, *, is_use: bool = True) -> VerifiedReader:
    """The whole blob as a file; reading it to the end raises DataLoss unless size and digest match.

    Raises NotFound, Unsupported for a digest algorithm that cannot be computed.
    """
    verifier = Verifier(desc.digest, desc.size, source="the store")
    return VerifiedReader(blobs.open(desc, is_use=is_use), verifier)


def read(blobs: BlobReader, desc: Descriptor, limit: int, *, is_use: bool = True) -> bytes:
    """The whole blob, verified. Raises NotFound, DataLoss, LimitExceeded over `limit` bytes."""
    with open_verified(blobs, desc, is_use=is_use) as reader:
        content = reader.read(limit + 1) if limit >= 0 else b""
        parts = [content]
        while content and sum(map(len, parts)) <= limit:
            content = reader.read(limit + 1)
            parts.append(content)
    whole = b"".join(parts)
    if len(whole) > limit:
        raise LimitExceeded(f"{desc.digest} is over the limit of {limit} bytes")
    return whole


class Verdict(NamedTuple):
    """Result of the verification of one blob. `state`: `ok`, `corrupt`, `unreadable` or `unsupported`.

    `size` is the number of bytes read; `detail` is the error message, "" for `ok`.
    """

    digest: Digest
    size: int
    state: str
    detail: str = ""


def verify(blobs: BlobReader, digests: Iterable[Digest]) -> Iterator[Verdict]:
    """Hash each blob again. Raises NotFound for an absent one."""
    buffer = memoryview(bytearray(CHUNK))
    for digest in digests:
        yield _verdict(blobs, digest, buffer)


def is_sound(blobs: BlobReader, digest: Digest) -> bool:
    """Hash a blob again: False if it is damaged. Raises NotFound."""
    return all(verdict.state != "corrupt" for verdict in verify(blobs, [digest]))


def verify_all(blobs: BlobLister) -> Iterator[Verdict]:
    """Hash every blob again; blobs that are removed meanwhile are skipped."""
    buffer = memoryview(bytearray(CHUNK))
    for digest in blobs.digests():
        try:
            yield _verdict(blobs, digest, buffer)
        except NotFound:
            continue


def _verdict(blobs: BlobReader, digest: Digest, buffer: memoryview) -> Verdict:
    size = 0
    try:
        with open_verified(blobs, Descriptor(digest), is_use=False) as reader:
            while got := reader.readinto(buffer):
                size += got
    except DataLoss as error:
        return Verdict(digest, size, "corrupt", error.what)
    except Unsupported as error:
        return Verdict(digest, size, "unsupported", error.what)
    except LocalFailure as error:
        return Verdict(digest, size, "unreadable", error.what)
    return Verdict(digest, size, "ok")
