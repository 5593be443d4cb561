"""The writer of the store on disk: direct I/O, a failing disk, its files."""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Callable, Sequence
from io import BytesIO

import pytest

from dist_tool.api import NamedStore
from dist_tool.errors import LocalFailure
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.store import open_store
from dist_tool.store.direct_io import BLOCK, PIECE
from dist_tool.stream.copy import ReaderFrom


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


def describe(data, algorithm="sha256"):
    return Descriptor(Digest.of(data, algorithm), len(data))


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def put(store, data, ref="put"):
    with store.writer(ref) as writer:
        writer.write(data)
        return writer.commit()


def read(store, desc):
    return store.read(desc, 1 << 30)


def test_the_writer_has_a_fast_path(store):
    with store.writer("ref") as writer:
        assert isinstance(writer, ReaderFrom)


def test_without_a_thread_large_pieces_are_hashed_all_the_same(store, few_threads):
    few_threads(0)
    data = content(1 << 20)
    put(store, data)
    assert read(store, describe(data)) == data


@pytest.mark.parametrize("ref", ["../../etc/passwd", "a/b", "ü", "x" * 4096, "layer-sha256:abc", "\udcff"])
def test_a_ref_is_never_a_path(store, tmp_path, ref):
    with store.writer(ref) as writer:
        writer.write(b"x")
    assert [status.ref for status in store.statuses()] == [ref]
    assert len(list((tmp_path / "store" / "ingest").iterdir())) == 1
    store.abort(ref)


@pytest.fixture
def direct_writes(monkeypatch):
    """Offset and size of every write past the cache; content over two blocks is large here."""
    seen = []
    real = os.write

    def write(fd, data):
        if fcntl.fcntl(fd, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0):
            seen.append((os.lseek(fd, 0, os.SEEK_CUR), len(data)))
        return real(fd, data)

    monkeypatch.setattr("dist_tool.store.direct_io._DIRECT_FROM", 2 * BLOCK)
    monkeypatch.setattr(os, "write", write)
    return seen


@pytest.mark.parametrize("before", [0, 1, BLOCK, 3 * BLOCK - 1])
@pytest.mark.parametrize("size", [0, BLOCK, 2 * PIECE, 3 * PIECE + BLOCK, 3 * PIECE + 5])
def test_direct_fill_reads_the_source_to_its_end(store, direct_writes, size, before):
    data = content(before + size)
    with store.writer("ref") as writer:
        writer.write(data[:before])
    with store.writer("ref") as writer:
        assert writer.fill(BytesIO(data[before:]), direct=True) == size
        assert writer.commit().digest == Digest.of(data)
    assert store.read(describe(data), len(data)) == data
    assert all(offset % BLOCK == 0 and count % BLOCK == 0 for offset, count in direct_writes)


def test_direct_fill_writes_past_the_page_cache(store, tmp_path, direct_writes):
    try:
        os.close(os.open(tmp_path / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except (AttributeError, OSError):
        pytest.skip("the system or its file system has no such writes")
    with store.writer("ref") as writer:
        writer.write(b"x" * 5000)
        writer.fill(BytesIO(content(3 * PIECE)), direct=True)
        assert sum(count for _, count in direct_writes) == 2 * PIECE
        direct_writes.clear()
        writer.write(b"x" * BLOCK)
        assert direct_writes == []


def test_a_direct_fill_can_be_committed_with_another_algorithm(store, direct_writes):
    data = content(3 * PIECE + 5)
    with store.writer("ref") as writer:
        writer.fill(BytesIO(data), direct=True)
        assert writer.commit(describe(data, "sha512")).digest == Digest.of(data, "sha512")


@pytest.mark.parametrize("refused", ["flag", "write", "second write"])
def test_direct_fill_uses_the_cache_if_direct_writes_are_refused(store, monkeypatch, refused):
    monkeypatch.setattr("dist_tool.store.direct_io._DIRECT_FROM", 0)
    direct = getattr(os, "O_DIRECT", 0)
    real_write, real_fcntl, refusals = os.write, fcntl.fcntl, []

    def write(fd, data):
        if refused != "flag" and real_fcntl(fd, fcntl.F_GETFL) & direct and os.lseek(fd, 0, 1) >= start:
            refusals.append(fd)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_write(fd, data)

    def set_flags(fd, command, argument=0):
        if refused == "flag" and command == fcntl.F_SETFL and argument & direct:
            refusals.append(fd)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_fcntl(fd, command, argument)

    start = PIECE if refused == "second write" else 0
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(fcntl, "fcntl", set_flags)
    data = content(3 * PIECE)
    with store.writer("ref", describe(data)) as writer:
        assert writer.fill(BytesIO(data), direct=True) == len(data)
        writer.commit()
    assert len(refusals) == (1 if direct else 0)  # it is asked once


def test_a_failed_write_closes_the_writer_and_keeps_the_progress(store, monkeypatch):
    import os

    data = content(256)
    writer = store.writer("ref", describe(data))
    writer.write(data[:100])
    real = os.write

    def full(fd, view):
        if len(view) > 28:
            return real(fd, view[:28])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LocalFailure, match=r"No space left.*free some space") as failure:
        writer.write(data[100:129])
    assert failure.value.exit_code == 9
    with pytest.raises(LocalFailure, match="earlier write"):
        writer.write(b"x")
    with pytest.raises(LocalFailure, match="earlier write"):
        writer.commit()
    writer.close()
    monkeypatch.undo()
    with store.writer("ref", describe(data)) as writer:
        assert writer.offset == 128
        writer.write(data[128:])
        writer.commit()


def test_data_that_could_not_be_synced_is_never_committed_later(store, monkeypatch):
    import os

    def broken(fd):
        raise OSError(5, "Input/output error")

    writer = store.writer("ref")
    writer.write(b"some")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(LocalFailure, match="Input/output"):
        writer.commit()
    monkeypatch.undo()
    with store.writer("ref") as writer:
        assert writer.offset == 0


def test_an_ingest_directory_that_cannot_be_created_is_an_error(store, tmp_path):
    store.prepare()
    key = Digest.of(b"ref").encoded
    (tmp_path / "store" / "ingest" / key).symlink_to(tmp_path / "nowhere")
    with pytest.raises(LocalFailure):
        store.writer("ref")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the buffers of all reads."""
    sizes: list[int] = []
    real: Callable[..., int] = os.readv

    def readv(descriptor: int, buffers: Sequence[memoryview]) -> int:
        sizes.append(sum(map(len, buffers)))
        return real(descriptor, buffers)

    monkeypatch.setattr(os, "readv", readv)
    return sizes


def test_new_ingest_is_hashed_again_in_large_pieces(store: NamedStore, reads: list[int]) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB
    digest = Digest.of(data, "sha512")
    with store.writer("ref") as writer:
        writer.write(data)
        reads.clear()
        assert writer.commit(Descriptor(digest, len(data))).digest == digest
    assert len(reads) == 5  # four of 512 KiB, and the end


def test_small_ingest_is_hashed_again_with_a_small_buffer(store: NamedStore, reads: list[int]) -> None:
    digest = Digest.of(b"small", "sha512")
    with store.writer("ref") as writer:
        writer.write(b"small")
        reads.clear()
        assert writer.commit(Descriptor(digest, 5)).digest == digest
    assert reads == [6, 6]
