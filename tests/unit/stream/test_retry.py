from __future__ import annotations

import time

import pytest

from dist_tool.errors import DeadlineExceeded, DigestMismatch, DistError, ResourceExhausted, ServerError, Unavailable
from dist_tool.run import Notice, Run
from dist_tool.stream.retry import Attempts, Retry, counted_apart, received, stall_left


class Waits:
    """A sleep that only takes notes, and a random number that is always `luck`."""

    def __init__(self, luck: float = 1.0, deadline: float | None = None, **options: float) -> None:
        self.slept: list[float] = []
        self.notices: list[Notice] = []
        run = Run(self.notices.append, deadline=deadline, pause=self.slept.append, random=lambda: luck)
        self.attempts = Attempts(Retry(**options), run)  # type: ignore[arg-type]


def _limited(seconds: float | None) -> ResourceExhausted:
    return ResourceExhausted("429").with_(retry_after=seconds)


def test_the_fifth_failure_is_the_last_and_the_waits_double() -> None:
    waits = Waits()
    for _ in range(4):
        waits.attempts.failed(Unavailable("refused"))
    with pytest.raises(Unavailable, match="refused"):
        waits.attempts.failed(Unavailable("refused"))
    assert waits.slept == [0.3, 0.6, 1.2, 2.4]


def test_waits_are_random_up_to_the_bound_and_the_bound_has_a_cap() -> None:
    waits = Waits(0.5, attempts=9)
    for _ in range(8):
        waits.attempts.failed(Unavailable("refused"))
    assert waits.slept == [0.15, 0.3, 0.6, 1.2, 2.4, 4.8, 5.0, 5.0]


def test_the_chance_of_real_retries_lies_between_nothing_and_one() -> None:
    assert all(0 <= Run().random() < 1 for _ in range(100))


@pytest.mark.parametrize("error", [DigestMismatch("wrong"), DistError("other"), DeadlineExceeded("late")])
def test_permanent_failures_are_not_retried(error: DistError) -> None:
    waits = Waits()
    with pytest.raises(type(error)):
        waits.attempts.failed(error)
    assert waits.slept == []


def test_progress_makes_earlier_failures_not_count() -> None:
    waits = Waits(attempts=2)
    for _ in range(10):
        waits.attempts.failed(Unavailable("cut"))
        waits.attempts.progressed()
    waits.attempts.failed(Unavailable("cut"))
    with pytest.raises(Unavailable):
        waits.attempts.failed(Unavailable("cut"))


def test_retry_after_is_kept_and_a_little_more() -> None:
    waits = Waits(0.0)
    waits.attempts.failed(_limited(7))
    waits.attempts.failed(_limited(60))
    waits.attempts.failed(_limited(0))
    assert waits.slept == [7, 60, 0]
    crowd = Waits(1.0)
    crowd.attempts.failed(_limited(7))
    assert 7 < crowd.slept[0] < 8


def test_an_absurd_retry_after_fails_at_once_and_says_so() -> None:
    """urllib3 would sleep for up to six hours (trap T10)."""
    waits = Waits()
    with pytest.raises(ResourceExhausted) as caught:
        waits.attempts.failed(_limited(86400))
    assert waits.slept == []
    assert caught.value.hint == "the server asks to wait 86400 s, more than the limit of 60 s"


def test_a_rate_limit_without_a_time_waits_like_everything_else() -> None:
    waits = Waits()
    waits.attempts.failed(_limited(None))
    assert waits.slept == [0.3]


def test_a_wait_beyond_the_deadline_is_not_started() -> None:
    waits = Waits(deadline=time.monotonic() + 30)
    waits.attempts.failed(ServerError("503"))
    with pytest.raises(DeadlineExceeded, match="last error: 429"):
        waits.attempts.failed(_limited(59))
    assert waits.slept == [0.3]


def test_an_expired_deadline_lists_every_attempt_and_the_host() -> None:
    waits = Waits(deadline=time.monotonic() + 30)
    waits.attempts.failed(ServerError("503"))
    last = _limited(59).with_(host="registry.example")
    with pytest.raises(DeadlineExceeded) as caught:
        waits.attempts.failed(last)
    assert (caught.value.attempts, caught.value.host) == (("503", "429"), "registry.example")


def test_each_wait_is_a_notice_and_the_last_error_lists_all_attempts() -> None:
    waits = Waits(attempts=3)
    waits.attempts.failed(Unavailable("first"))
    waits.attempts.failed(Unavailable("second"))
    with pytest.raises(Unavailable) as caught:
        waits.attempts.failed(Unavailable("third"))
    assert caught.value.attempts == ("first", "second", "third")
    assert [notice.text for notice in waits.notices] == [
        "first; trying again in 0.3 s (1/3)",
        "second; trying again in 0.6 s (2/3)",
    ]


class Clock:
    """A clock that stands still until something waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def _timed(clock: Clock, **options: float) -> Attempts:
    run = Run(clock=clock, pause=clock.wait, random=lambda: 1.0)
    return Attempts(Retry(**options), run)  # type: ignore[arg-type]


def _silent(attempts: Attempts, clock: Clock) -> int:
    """How often a request is sent to a server that is silent until its limit of 30 s, or less if less is left."""
    sent = 0
    with attempts:
        while True:
            sent += 1
            clock.wait(min(30.0, max(stall_left() or 0.0, 0.0)))
            try:
                attempts.failed(Unavailable("silence"))
            except Unavailable:
                return sent


@pytest.mark.parametrize("most", [5, 100])
def test_an_object_without_progress_is_given_up_after_75_seconds_whatever_the_attempts(most: int) -> None:
    clock = Clock()
    assert _silent(_timed(clock, attempts=most), clock) == 3
    assert clock.now == 1075.0


def test_the_limit_without_progress_is_settable() -> None:
    clock = Clock()
    assert _silent(_timed(clock, attempts=100, max_stall_s=200.0), clock) == 7
    assert clock.now == 1200.0


def test_waits_that_a_server_asks_for_count_as_time_without_progress() -> None:
    clock = Clock()
    with _timed(clock) as attempts:
        attempts.failed(_limited(60))
        with pytest.raises(ResourceExhausted) as caught:
            attempts.failed(_limited(60))
    assert clock.now < 1067
    assert "the server asks to wait 60 s; no progress for 75 s (retry.max_stall)" in caught.value.hint


def test_time_spent_elsewhere_is_not_time_without_progress() -> None:
    """A slow reader of standard output is not the server's fault."""
    clock = Clock()
    attempts = _timed(clock)
    for _ in range(10):
        clock.wait(60)
        with attempts:
            assert stall_left() == 75.0


def test_bytes_above_the_floor_make_up_for_the_time_that_they_took() -> None:
    clock = Clock()
    with _timed(clock):
        for _ in range(1000):
            clock.wait(29)
            received(29 << 10)
        assert stall_left() == 75.0
        clock.wait(10)
        received(1 << 10)
        assert stall_left() == 66.0


def test_without_a_floor_every_byte_is_progress() -> None:
    clock = Clock()
    with _timed(clock, floor=0):
        clock.wait(60)
        received(1)
        assert stall_left() == 75.0


def test_nested_attempts_count_together() -> None:
    retry, run = Retry(), Run(pause=[].append)
    with Attempts(retry, run) as outer:
        for what in ("no answer 1", "no answer 2"):
            with Attempts(retry, run) as inner:
                inner.failed(Unavailable(what))
        outer.failed(Unavailable("cut 3"))
        inner = Attempts(retry, run)
        inner.failed(Unavailable("no answer 4"))
        with pytest.raises(Unavailable) as caught:
            inner.failed(Unavailable("no answer 5"))
    assert caught.value.attempts == ("no answer 1", "no answer 2", "cut 3", "no answer 4", "no answer 5")


def test_a_permanent_failure_uses_no_attempt() -> None:
    retry, run = Retry(attempts=2), Run(pause=[].append)
    with Attempts(retry, run) as outer:
        with pytest.raises(DistError), Attempts(retry, run) as inner:
            inner.failed(DistError("not here"))
        outer.failed(Unavailable("cut"))


def test_several_sources_of_one_object_are_counted_apart_and_each_keeps_its_count() -> None:
    clock = Clock()
    outer = _timed(clock, attempts=3)
    with outer:
        for _ in range(2):
            for source in "ab":
                with counted_apart(source), _timed(clock, attempts=3) as inner:
                    clock.wait(20)
                    inner.failed(Unavailable("cut"))
        assert stall_left() == 75.0
        with pytest.raises(Unavailable), counted_apart("a"), _timed(clock, attempts=3) as inner:
            inner.failed(Unavailable("cut"))
        outer.progressed()
        with counted_apart("a"), _timed(clock, attempts=3) as inner:
            inner.failed(Unavailable("cut"))


def test_a_source_has_the_limit_without_progress_that_is_set_for_it() -> None:
    clock = Clock()
    with _timed(clock), counted_apart("mirror"):
        assert _silent(_timed(clock, attempts=100, max_stall_s=20.0), clock) == 1
        assert clock.now == 1020.0


def test_time_without_progress_is_not_limited_outside_a_fetch() -> None:
    received(1)
    with counted_apart("a"):
        assert stall_left() is None
