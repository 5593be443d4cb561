from __future__ import annotations

import time

import pytest

from dist_tool.errors import DeadlineExceeded, DigestMismatch, DistError, ResourceExhausted, ServerError, Unavailable
from dist_tool.run import Notice
from dist_tool.stream.retry import Attempts, Retry


class Waits:
    """A sleep that only takes notes, and a random number that is always `luck`."""

    def __init__(self, luck: float = 1.0, **options: float) -> None:
        self.slept: list[float] = []
        self.notices: list[Notice] = []
        retry = Retry(sleep=self.slept.append, random=lambda: luck, **options)  # type: ignore[arg-type]
        self.attempts = Attempts(retry, self.notices.append)


def _limited(seconds: float | None) -> ResourceExhausted:
    error = ResourceExhausted("429")
    error.retry_after = seconds
    return error


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
    assert all(0 <= Retry().random() < 1 for _ in range(100))


@pytest.mark.parametrize("error", [DigestMismatch("wrong"), DistError("other"), DeadlineExceeded("late")])
def test_what_will_not_change_is_not_tried_again(error: DistError) -> None:
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


def test_a_wait_that_outlasts_the_deadline_is_not_begun() -> None:
    waits = Waits(deadline=time.monotonic() + 30)
    waits.attempts.failed(ServerError("503"))
    with pytest.raises(DeadlineExceeded, match="last: 429"):
        waits.attempts.failed(_limited(59))
    assert waits.slept == [0.3]


def test_running_out_of_time_still_tells_of_every_attempt_and_of_the_host() -> None:
    waits = Waits(deadline=time.monotonic() + 30)
    waits.attempts.failed(ServerError("503"))
    last = _limited(59)
    last.host = "registry.example"
    with pytest.raises(DeadlineExceeded) as caught:
        waits.attempts.failed(last)
    assert (caught.value.attempts, caught.value.host) == (("503", "429"), "registry.example")


def test_time_is_up_when_it_is_up() -> None:
    assert Retry().remaining() is None
    left = Retry(deadline=time.monotonic() + 100).remaining()
    assert left is not None
    assert 90 < left <= 100
    with pytest.raises(DeadlineExceeded):
        Retry(deadline=time.monotonic() - 1).remaining()


def test_each_wait_is_announced_and_the_last_error_knows_them_all() -> None:
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
