"""Copying a stream into a writer."""

from __future__ import annotations

import io

import pytest

from dist_tool.oci.digest import Digest
from dist_tool.store.memory import MemoryStore
from dist_tool.stream.body import CHUNK
from dist_tool.stream.copy import ByteSource, copy_into


def data(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(size % 251)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK + 7])
def test_writer_without_a_fast_path_gets_all_bytes(size: int) -> None:
    with MemoryStore().writer("ref") as writer:
        writer.write(b"before")
        assert copy_into(writer, io.BytesIO()) == 0
        assert copy_into(writer, io.BytesIO(data(size))) == size
        assert writer.commit().digest == Digest.of(b"before" + data(size))


def test_fast_path_of_the_writer_is_used() -> None:
    class Filled:
        offset = 0

        def fill(self, source: ByteSource) -> int:
            return 42

    assert copy_into(Filled(), io.BytesIO(b"not read")) == 42  # type: ignore[arg-type]


def test_bytes_before_a_failure_of_the_source_are_written() -> None:
    class Broken(io.RawIOBase):
        def __init__(self) -> None:
            self.pieces = [b"one", b"two"]

        def readinto(self, view: memoryview) -> int:  # type: ignore[override]
            if not self.pieces:
                raise ConnectionResetError
            piece = self.pieces.pop(0)
            view[: len(piece)] = piece
            return len(piece)

    store = MemoryStore()
    with store.writer("ref") as writer, pytest.raises(ConnectionResetError):
        copy_into(writer, Broken())
    assert store.status("ref").offset == 6
