"""Spools: what one writes and others read, also when the writer has to begin anew."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.content import random_bytes

from dist_tool.errors import DigestMismatch, LocalFailure
from dist_tool.stream.pump import Rewindable
from dist_tool.stream.spool import Retracted, Spool, SpoolReader, rewindable

LARGE = random_bytes("spool", 1 << 20)


def write(spool: Rewindable, data: bytes) -> None:
    spool(memoryview(data))


def rest(reader: SpoolReader) -> bytes:
    return b"".join(iter(lambda: reader.read(70_000), b""))


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_written_bytes_can_be_read_repeatedly(data: bytes) -> None:
    out = bytearray()
    with Spool() as spool:
        for start in range(0, len(data), 100_000):
            write(spool, data[start : start + 100_000])
        spool.end()
        assert [rest(spool.reader()), rest(spool.reader())] == [data, data]
        spool.copy_to(out.extend)
    assert out == data


def test_a_small_spool_stays_in_memory() -> None:
    before = os.listdir("/proc/self/fd")
    with Spool() as spool:
        write(spool, b"small")
        assert os.listdir("/proc/self/fd") == before
        write(spool, LARGE)
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    assert os.listdir("/proc/self/fd") == before


def test_written_bytes_are_readable_before_the_end() -> None:
    with Spool() as spool, ThreadPoolExecutor(1) as threads:
        reader = spool.reader()
        waiting = threads.submit(reader.read, 100)
        write(spool, b"some")
        assert waiting.result(30) == b"some"
        end = threads.submit(reader.read, 100)
        spool.end()
        assert end.result(30) == b""


def test_written_bytes_are_readable_before_the_error() -> None:
    with Spool() as spool:
        write(spool, b"some bytes")
        spool.fail(DigestMismatch("wrong"))
        reader = spool.reader()
        assert [reader.read(4), reader.read(400)] == [b"some", b" bytes"]
        with pytest.raises(DigestMismatch):
            reader.read(1)


def test_a_spool_of_whole_objects_blocks_readers_until_the_end() -> None:
    with Spool(whole=True) as spool, ThreadPoolExecutor(1) as threads:
        write(spool, b"wrong")
        waiting = threads.submit(spool.reader().read, 100)
        spool.restart()
        write(spool, b"right")
        assert not waiting.done()
        spool.end()
        assert waiting.result(30) == b"right"


def test_a_failed_spool_of_whole_objects_returns_no_bytes() -> None:
    with Spool(whole=True) as spool:
        write(spool, b"wrong")
        spool.fail(DigestMismatch("wrong"))
        with pytest.raises(DigestMismatch):
            spool.reader().read(1)


@pytest.mark.parametrize("data", [b"wrong", LARGE], ids=["small", "large"])
def test_a_retraction_is_raised_to_readers_of_the_retracted_bytes_only(data: bytes) -> None:
    with Spool() as spool:
        early, late = spool.reader(), spool.reader()
        write(spool, data)
        assert early.read(3) == data[:3]
        spool.restart()
        write(spool, b"right")
        spool.end()
        with pytest.raises(Retracted):
            early.read(100)
        assert rest(late) == b"right"
        assert spool.retracted()


def test_a_retraction_is_raised_to_a_waiting_reader() -> None:
    with Spool() as spool, ThreadPoolExecutor(1) as threads:
        reader = spool.reader()
        write(spool, b"wrong")
        reader.read(100)
        waiting = threads.submit(reader.read, 100)
        spool.restart()
        with pytest.raises(Retracted):
            waiting.result(30)


def test_unread_bytes_are_retracted_without_an_error() -> None:
    with Spool() as spool:
        reader = spool.reader()
        write(spool, b"wrong")
        spool.restart()
        write(spool, b"right")
        spool.end()
        assert rest(reader) == b"right"
        assert not spool.retracted()


def test_whether_it_was_wrong_is_known_when_the_writer_is_done() -> None:
    with Spool() as spool, ThreadPoolExecutor(1) as threads:
        assert not spool.retracted()  # nobody has read anything
        write(spool, b"x")
        spool.reader().read(1)
        verdict = threads.submit(spool.retracted)
        assert not verdict.done()
        spool.restart()
        assert verdict.result(30)


def test_after_a_retraction_it_can_be_trusted_no_more_and_is_read_whole() -> None:
    with Spool() as spool:
        stale = spool.reader()
        write(spool, b"wrong")
        stale.read(1)
        spool.restart()
        spool.distrust()
        write(spool, b"right")
        spool.end()
        assert not spool.retracted()
        assert rest(spool.reader()) == b"right"
        with pytest.raises(Retracted):
            stale.read(1)


def test_closing_a_spool_refuses_writes_and_wakes_readers() -> None:
    spool = Spool()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(spool.reader().read, 1)
        spool.close()
        with pytest.raises(LocalFailure, match="is closed"):
            waiting.result(30)
    with pytest.raises(LocalFailure, match="it has no more readers"):
        write(spool, b"late")


def test_a_missing_directory_for_the_spool_is_a_local_failure(tmp_path: Path) -> None:
    with Spool(str(tmp_path / "gone")) as spool, pytest.raises(LocalFailure, match="temporary file"):
        write(spool, LARGE)


def test_a_sink_without_restart_gets_verified_bytes_only() -> None:
    out = bytearray()
    with rewindable(out.extend) as draft:
        write(draft, b"wrong")
        draft.restart()
        write(draft, b"right")
        assert not out
    assert out == b"right"


def test_a_sink_without_restart_gets_nothing_after_a_failure() -> None:
    out = bytearray()

    def fail() -> None:
        with rewindable(out.extend) as draft:
            write(draft, b"wrong")
            raise DigestMismatch("wrong")

    with pytest.raises(DigestMismatch):
        fail()
    assert not out


def test_a_draft_is_written_as_it_is() -> None:
    with Spool() as spool, rewindable(spool) as draft:
        assert draft is spool
