"""Reading everything back, to see whether each blob still has the digest that names it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.errors import DataLoss, LocalFailure, NotFound, Unsupported
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.stream.body import CHUNK

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


class Verdict(NamedTuple):
    """What became of one blob. `state`: `ok`, `corrupt`, `unreadable` or `unsupported`."""

    digest: Digest
    size: int
    state: str
    detail: str = ""


def verify(store: DiskStore, digests: Iterable[Digest]) -> Iterator[Verdict]:
    """Hash each blob again. Raises NotFound for one that is not here."""
    buffer = memoryview(bytearray(CHUNK))
    for digest in digests:
        yield _verdict(store, digest, buffer)


def is_sound(store: DiskStore, digest: Digest) -> bool:
    """Hash a blob again: False if it is damaged. Raises NotFound."""
    return all(verdict.state != "corrupt" for verdict in verify(store, [digest]))


def verify_all(store: DiskStore) -> Iterator[Verdict]:
    """Hash every blob again; those that are removed meanwhile are passed over."""
    buffer = memoryview(bytearray(CHUNK))
    for digest in store.blobs.digests():
        try:
            yield _verdict(store, digest, buffer)
        except NotFound:
            continue


def _verdict(store: DiskStore, digest: Digest, buffer: memoryview) -> Verdict:
    size = 0
    try:
        with store.open_verified(Descriptor(digest), is_use=False) as reader:
            while got := reader.readinto(buffer):
                size += got
    except DataLoss as error:
        return Verdict(digest, size, "corrupt", error.what)
    except Unsupported as error:
        return Verdict(digest, size, "unsupported", error.what)
    except LocalFailure as error:
        return Verdict(digest, size, "unreadable", error.what)
    return Verdict(digest, size, "ok")
