from __future__ import annotations

import io
import threading
from contextlib import AbstractContextManager, nullcontext

import pytest
from support.bodies import PATIENT, Answer, Collected, Scripted
from support.content import flip, random_bytes
from support.scarcity import FewThreads

from dist_tool.errors import (
    DigestMismatch,
    DistError,
    LimitExceeded,
    NotFound,
    ProtocolError,
    SizeMismatch,
    Truncated,
    Unavailable,
    UnexpectedSize,
)
from dist_tool.oci.digest import Digest
from dist_tool.run import Run
from dist_tool.stream import body, resume
from dist_tool.stream import pump as pump_module
from dist_tool.stream.body import Body, as_body
from dist_tool.stream.pump import pump
from dist_tool.stream.resume import ResumingReader
from dist_tool.stream.retry import Retry
from dist_tool.stream.verify import VerifiedReader, Verifier

CHUNK, SMALL = 16, 64
DATA = random_bytes("stream", 200)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same logic on sizes that a person can follow: 16 bytes a chunk, verified first up to 64."""
    for module in (body, pump_module, resume):
        monkeypatch.setattr(module, "CHUNK", CHUNK)
    monkeypatch.setattr(pump_module, "SMALL", SMALL)
    monkeypatch.setattr(resume, "_PROGRESS", CHUNK)


def _reader(reopen: Scripted, expected: bytes = DATA, size: int | None = None, **options: int) -> ResumingReader:
    return ResumingReader(reopen, Verifier(Digest.of(expected), size), Retry(), run=PATIENT, **options)  # type: ignore[arg-type]


def _pump(
    reopen: Scripted, sink: Collected, expected: bytes = DATA, size: int | None = None, small: int = SMALL
) -> int:
    verifier = Verifier(Digest.of(expected), size)
    source = ResumingReader(reopen, verifier, Retry(), run=PATIENT)
    try:
        return pump(source, verifier, sink, small=small)
    finally:
        source.close()


class TestPump:
    pytestmark = pytest.mark.usefixtures("small_chunks")

    @pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63, 64, 65, 79, 80, 81, 200])
    def test_an_undamaged_object_is_written_unchanged(self, size: int) -> None:
        sink = Collected()
        assert _pump(Scripted([Answer(DATA[:size])]), sink, DATA[:size], size) == size
        assert sink.data == DATA[:size]

    @pytest.mark.parametrize("size", [1, 16, 17, 63, 64])
    def test_nothing_is_written_of_a_small_wrong_object(self, size: int) -> None:
        sink = Collected()
        with pytest.raises(DigestMismatch):
            _pump(Scripted([Answer(flip(DATA[:size], size * 8 - 1))]), sink, DATA[:size])
        assert sink.writes == []

    @pytest.mark.parametrize("size", [65, 79, 80, 81, 96, 200])
    def test_the_last_chunk_of_a_large_wrong_object_is_withheld(self, size: int) -> None:
        sink = Collected()
        with pytest.raises(DigestMismatch):
            _pump(Scripted([Answer(flip(DATA[:size], 0))]), sink, DATA[:size])
        assert size - 2 * CHUNK < len(sink.data) <= size - CHUNK

    def test_writing_begins_long_before_the_end_of_a_large_object(self) -> None:
        written: list[int] = []
        reads: list[int] = []

        class Slow(Body):
            def readinto(self, view: memoryview) -> int:
                reads.append(sum(written))
                return super().readinto(view)

        verifier = Verifier(Digest.of(DATA))
        source = ResumingReader(lambda _: Slow(io.BytesIO(DATA)), verifier, Retry(), run=PATIENT)
        pump(source, verifier, lambda view: written.append(len(view)), small=SMALL)
        assert reads[6] >= SMALL - CHUNK
        assert sum(written) == len(DATA)

    def test_one_byte_too_many_is_an_error_before_the_end_is_seen(self) -> None:
        sink = Collected()
        with pytest.raises(SizeMismatch, match="more than the expected 64 bytes arrived from memory"):
            _pump(Scripted([Answer(DATA[:65])]), sink, DATA[:64], 64)
        assert sink.writes == []

    def test_one_byte_too_few_is_an_error(self) -> None:
        verifier = Verifier(Digest.of(DATA), len(DATA))
        with pytest.raises(SizeMismatch, match="199 bytes arrived, expected 200"):
            pump(_Once(DATA[:-1]), verifier, Collected())

    def test_a_right_object_smaller_than_expected_is_a_size_error(self) -> None:
        reopen, sink = Scripted([Answer(DATA)]), Collected()
        with pytest.raises(UnexpectedSize, match="has 200 bytes, expected 300"):
            _pump(reopen, sink, size=300)
        assert reopen.asked == [0]
        assert len(sink.data) <= 200 - CHUNK

    def test_the_error_names_source_and_both_digests(self) -> None:
        with pytest.raises(DigestMismatch) as caught:
            _pump(Scripted([Answer(b"wrong")]), Collected(), b"right")
        assert f"from memory: expected {Digest.of(b'right')}, got {Digest.of(b'wrong')} (5 bytes)" in caught.value.what

    @pytest.mark.parametrize("end", ["sound", "wrong", "sink"])
    def test_the_thread_that_hashes_ends_with_the_pump(self, end: str) -> None:
        running: list[bool] = []

        def sink(view: memoryview) -> None:
            running.append(any(thread.name == "dist-hash" for thread in threading.enumerate()))
            if end == "sink":
                raise BrokenPipeError

        verifier = Verifier(Digest.of(b"other" if end == "wrong" else DATA))
        source = ResumingReader(Scripted([Answer(DATA)]), verifier, Retry(), run=PATIENT)
        expected: dict[str, AbstractContextManager[object]] = {
            "sound": nullcontext(),
            "wrong": pytest.raises(DigestMismatch),
            "sink": pytest.raises(OSError),
        }
        with expected[end]:
            pump(source, verifier, sink, small=SMALL)
        assert running[0]
        assert not any(thread.name == "dist-hash" for thread in threading.enumerate())

    def test_sha512_verifies_as_well(self) -> None:
        sink = Collected()
        verifier = Verifier(Digest.of(DATA, "sha512"))
        pump(_Once(DATA), verifier, sink)
        assert sink.data == DATA


class _Once:
    """A source without any second chance."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readinto(self, view: memoryview, /) -> int:
        return self._file.readinto(view)

    def reopen_past_end(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()


def test_the_real_sizes_work_too() -> None:
    data = random_bytes("three chunks and more", 6 * (1 << 20) + 17)
    sink = Collected()
    assert _pump(Scripted([Answer(data, 5 << 20), Answer(data)]), sink, data, small=pump_module.SMALL) == len(data)
    assert sink.data == data
    wrong = Collected()
    with pytest.raises(DigestMismatch):
        _pump(Scripted([Answer(flip(data, 99))]), wrong, data, small=pump_module.SMALL)
    assert len(data) - (2 << 20) < len(wrong.data) <= len(data) - (1 << 20)
    small = Collected()
    with pytest.raises(DigestMismatch):
        _pump(Scripted([Answer(flip(data[: 4 << 20], 99))]), small, data[: 4 << 20], small=pump_module.SMALL)
    assert small.writes == []


class TestResumingReader:
    pytestmark = pytest.mark.usefixtures("small_chunks")

    def test_a_cut_is_resumed_from_the_byte_it_came_at(self) -> None:
        reopen, sink = Scripted([Answer(DATA, 70), Answer(DATA, 50), Answer(DATA)]), Collected()
        _pump(reopen, sink)
        assert sink.data == DATA
        assert reopen.asked == [0, 70, 120]
        assert all(body.closed for body in reopen.bodies)

    def test_a_source_that_starts_again_is_skipped_forward(self) -> None:
        reopen, sink = Scripted([Answer(DATA, 70), Answer(DATA, start=0)]), Collected()
        _pump(reopen, sink)
        assert sink.data == DATA

    def test_a_source_that_starts_earlier_is_skipped_forward(self) -> None:
        sink = Collected()
        _pump(Scripted([Answer(DATA, 70), Answer(DATA, start=33)]), sink)
        assert sink.data == DATA

    def test_a_restart_with_other_bytes_is_detected_early(self) -> None:
        """What was written before the cut cannot be taken back: better no more of another object."""
        reopen, sink = Scripted([Answer(DATA, 100), Answer(flip(DATA, 0), start=0)]), Collected()
        with pytest.raises(DigestMismatch, match="other bytes than before"):
            _pump(reopen, sink)
        assert len(sink.data) < 100

    def test_a_source_that_starts_after_the_offset_is_a_protocol_error(self) -> None:
        with pytest.raises(ProtocolError, match="answered from byte 71, requested from 70"):
            _pump(Scripted([Answer(DATA, 70), Answer(DATA, start=71)]), Collected())

    def test_a_source_that_is_cut_while_skipping_is_asked_again(self) -> None:
        reopen, sink = Scripted([Answer(DATA, 70), Answer(DATA, 10, start=0), Answer(DATA)]), Collected()
        _pump(reopen, sink)
        assert (sink.data, reopen.asked) == (DATA, [0, 70, 70])

    def test_five_failures_without_progress_end_the_transfer(self) -> None:
        reopen = Scripted([Answer(DATA, 70), Answer(DATA, 0)])
        with pytest.raises(Truncated) as caught:
            _pump(reopen, Collected())
        assert reopen.asked == [0, 70, 70, 70, 70]
        assert caught.value.attempts[-1] == "memory was cut"

    def test_progress_resets_the_count_of_attempts(self) -> None:
        reopen, sink = Scripted([Answer(DATA, CHUNK)]), Collected()
        _pump(reopen, sink)
        assert sink.data == DATA
        assert reopen.asked == list(range(0, len(DATA), CHUNK))

    def test_bytes_below_the_floor_are_no_progress(self) -> None:
        reopen = Scripted([Answer(DATA, 1)])
        with pytest.raises(Truncated):
            _pump(reopen, Collected())
        assert reopen.asked == [0, 1, 2, 3, 4]

    def test_an_end_before_the_known_total_is_a_cut(self) -> None:
        reopen, sink = Scripted([Answer(DATA, 70, loud=False), Answer(DATA)]), Collected()
        _pump(reopen, sink, size=len(DATA))
        assert (sink.data, reopen.asked) == (DATA, [0, 70])

    def test_a_repeated_end_before_the_expected_size_is_a_cut(self) -> None:
        with pytest.raises(Truncated):
            _pump(Scripted([Answer(DATA, 70, loud=False), Answer(DATA, 0, loud=False)]), Collected(), size=200)

    @pytest.mark.parametrize("again", [60, 70, 80])
    def test_a_source_without_ranges_that_ends_early_twice_is_not_read_again(self, again: int) -> None:
        reopen = Scripted([Answer(DATA, 70, loud=False), Answer(DATA, again, start=0, loud=False)])
        with pytest.raises(Truncated):
            _pump(reopen, Collected(), size=200)
        assert reopen.asked == [0, 70]

    def test_a_source_without_ranges_that_is_cut_is_read_again(self) -> None:
        reopen, sink = Scripted([Answer(DATA, 70), Answer(DATA, 70, start=0), Answer(DATA, start=0)]), Collected()
        _pump(reopen, sink, size=200)
        assert (sink.data, reopen.asked) == (DATA, [0, 70, 70])

    def test_what_was_declared_of_a_body_that_gave_nothing_binds_nobody(self) -> None:
        reopen = Scripted([Answer(DATA, 0, declared=300), Answer(DATA, declared=200)])
        with VerifiedReader(_reader(reopen), Verifier(Digest.of(DATA))) as file:
            assert file.readall() == DATA

    def test_a_smaller_total_than_before_is_an_error(self) -> None:
        reopen = Scripted([Answer(DATA, 70), Answer(DATA[:50], start=0, declared=50)])
        with pytest.raises(DigestMismatch, match="has 50 bytes, but 70 were received before"):
            _pump(reopen, Collected())

    def test_the_callback_of_a_lost_body_decides_whether_it_counts(self) -> None:
        lost: list[str] = []

        def note(error: DistError, body: Body, ended: bool) -> bool:
            lost.append(error.what)
            return len(lost) < 20

        verifier = Verifier(Digest.of(DATA), len(DATA))
        reader = ResumingReader(
            Scripted([Answer(DATA, 0)]), verifier, Retry(), run=Run(pause=lambda _: None), lost=note
        )
        with pytest.raises(Truncated):
            pump(reader, verifier, Collected())
        assert len(lost) == 20 + 4  # five that count

    def test_an_end_that_may_be_a_cut_is_asked_past_once(self) -> None:
        reopen = Scripted([Answer(DATA, 70, loud=False), Answer(DATA, declared=len(DATA))])
        sink = Collected()
        _pump(reopen, sink)
        assert (sink.data, reopen.asked) == (DATA, [0, 70])

    def test_an_end_is_accepted_if_a_second_request_has_no_more_bytes(self) -> None:
        reopen = Scripted([Answer(flip(DATA, 7)), Answer(DATA[:0], start=0, declared=None)])
        with pytest.raises(DigestMismatch):
            _pump(reopen, Collected())
        assert reopen.asked == [0, 200]

    def test_an_error_of_the_first_open_is_not_retried(self) -> None:
        calls: list[int] = []

        def reopen(offset: int) -> Body:
            calls.append(offset)
            raise NotFound("gone") if offset else Unavailable("refused")

        with pytest.raises(Unavailable, match="refused"):
            ResumingReader(reopen, Verifier(None), Retry(), run=PATIENT).readinto(memoryview(bytearray(10)))
        assert calls == [0]

    def test_a_declared_size_that_is_not_the_expected_one_fails_before_any_byte(self) -> None:
        reopen = Scripted([Answer(DATA, declared=200)])
        reader = _reader(reopen, size=199)
        with pytest.raises(SizeMismatch, match="memory declares 200 bytes, expected 199"):
            reader.open()
        assert reopen.bodies[0].closed

    def test_a_size_that_changes_between_answers_is_an_error(self) -> None:
        with pytest.raises(SizeMismatch, match="declares 201 bytes, expected 200"):
            _pump(Scripted([Answer(DATA, 70, declared=200), Answer(DATA, declared=201)]), Collected())

    def test_the_size_limit_applies_to_declared_and_received_bytes(self) -> None:
        with pytest.raises(LimitExceeded, match="limit of 100"):
            _reader(Scripted([Answer(DATA, declared=200)]), limit=100).open()
        reader = _reader(Scripted([Answer(DATA)], [50] * 10), limit=100)
        reader.open()
        with pytest.raises(LimitExceeded), VerifiedReader(reader, Verifier(Digest.of(DATA))) as file:
            file.readall()

    def test_opening_twice_makes_one_request(self) -> None:
        reopen = Scripted([Answer(DATA)])
        reader = _reader(reopen)
        reader.open()
        reader.open()
        reader.close()
        reader.close()
        assert reopen.asked == [0]


class TestVerifiedReader:
    pytestmark = pytest.mark.usefixtures("small_chunks")

    def _file(self, answers: list[Answer], expected: bytes = DATA, size: int | None = None) -> VerifiedReader:
        verifier = Verifier(Digest.of(expected), size)
        return VerifiedReader(ResumingReader(Scripted(answers), verifier, Retry(), run=PATIENT), verifier)

    def test_it_reads_like_a_file(self) -> None:
        with io.BufferedReader(self._file([Answer(DATA)])) as file:
            assert file.read(10) + file.read() == DATA
            assert file.read() == b""

    def test_wrong_bytes_never_end_a_read_without_an_error(self) -> None:
        with self._file([Answer(flip(DATA, 3))]) as file:
            assert file.read(200) == flip(DATA, 3)
            with pytest.raises(DigestMismatch):
                file.read(1)

    def test_it_stops_at_the_first_byte_too_many(self) -> None:
        with self._file([Answer(DATA + b"x")], size=200) as file, pytest.raises(SizeMismatch):
            file.readall()

    def test_reading_continues_after_a_silent_cut(self) -> None:
        answers = [Answer(DATA, 70, loud=False), Answer(DATA, declared=200)]
        with self._file(answers) as file:
            assert file.readall() == DATA

    def test_a_read_of_zero_bytes_does_not_verify(self) -> None:
        with self._file([Answer(b"wrong")]) as file:
            assert file.readinto(bytearray(0)) == 0


class TestVerifier:
    def test_bytes_without_a_digest_are_verified_by_size_only(self) -> None:
        verifier = Verifier(None, 3)
        verifier.update(b"ab")
        with pytest.raises(SizeMismatch):
            verifier.check()
        verifier.update(b"c")
        verifier.check()

    def test_without_a_thread_it_hashes_in_this_one(self, few_threads: FewThreads) -> None:
        few_threads(0)
        verifier = Verifier(Digest.of(DATA))
        verifier.start_background()
        verifier.update(DATA)
        verifier.start_background()
        verifier.check()

    def test_hashing_in_the_background_gives_the_same_result(self) -> None:
        one, other = Verifier(Digest.of(DATA)), Verifier(Digest.of(DATA))
        other.start_background()
        for start in range(0, 200, 7):
            one.update(DATA[start : start + 7])
            other.update(DATA[start : start + 7])
            assert one.snapshot() == other.snapshot()
        assert one.matches()
        assert other.matches()
        other.finish_background()


def test_a_plain_file_of_a_fetcher_begins_where_it_was_asked_to() -> None:
    body = as_body(io.BytesIO(b"rest"), 7, "place")
    assert (body.offset, body.total, body.source) == (7, None, "place")
    assert as_body(body, 0) is body
    view = memoryview(bytearray(10))
    assert [body.readinto(view), body.readinto(view), bytes(view[:4])] == [4, 0, b"rest"]
    body.close()
    body.close()


def test_a_body_without_a_file_is_empty() -> None:
    body = Body(total=0)
    assert body.readinto(memoryview(bytearray(1))) == 0
    body.close()
