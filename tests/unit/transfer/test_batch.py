"""Many lines at once: order, bounds, failures."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator

import pytest
from support.scarcity import FewThreads

from dist_tool.errors import DistError, InvalidArgument, NotFound, Unavailable
from dist_tool.transfer.batch import Line, in_order, shared_exit_code


def lines(count: int) -> Iterator[Line]:
    return (Line(number, str(number)) for number in range(1, count + 1))


def test_outcomes_come_in_the_order_of_the_lines_whatever_finishes_first() -> None:
    def work(line: Line) -> int:
        time.sleep(0.002 * (line.number % 5 == 1))
        return line.number

    assert [outcome.result for outcome in in_order(lines(60), work, 8)] == list(range(1, 61))


def test_no_more_than_the_jobs_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(line: Line) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1

    assert len(list(in_order(lines(40), work, 3))) == 40
    assert most == 3


@pytest.mark.parametrize("threads", range(6))
def test_with_fewer_threads_than_jobs_everything_is_done_all_the_same(threads: int, few_threads: FewThreads) -> None:
    few_threads(threads)
    outcomes = list(in_order(lines(50), lambda line: line.number, 4))
    assert [outcome.result for outcome in outcomes] == list(range(1, 51))


def test_without_threads_lines_are_answered_as_they_come(few_threads: FewThreads) -> None:
    few_threads(0)
    read: list[int] = []

    def asked() -> Iterator[Line]:
        for line in lines(3):
            read.append(line.number)
            yield line

    for outcome in in_order(asked(), lambda line: line.number, 4):
        assert read[-1] == outcome.result


@pytest.mark.parametrize("threads", [0, 1])
def test_without_threads_a_bug_is_raised_as_well(threads: int, few_threads: FewThreads) -> None:
    few_threads(threads)

    def work(line: Line) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_order(lines(1), work, 2))


def test_a_failure_is_an_outcome_and_stops_nobody() -> None:
    def work(line: Line) -> int:
        if line.number == 2:
            raise NotFound("gone")
        return line.number

    outcomes = list(in_order(lines(3), work, 2))
    assert [outcome.result for outcome in outcomes] == [1, None, 3]
    assert isinstance(outcomes[1].error, NotFound)


def test_a_bug_in_the_work_is_raised_and_not_swallowed() -> None:
    def work(line: Line) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_order(lines(1), work, 2))


def test_what_reading_lines_raises_comes_out_after_the_lines_before_it() -> None:
    def broken() -> Iterator[Line]:
        yield Line(1, "a")
        raise DistError("standard input failed")

    got = []
    with pytest.raises(DistError, match="standard input failed"):
        got += [outcome.result for outcome in in_order(broken(), lambda line: line.text, 2)]
    assert got == []  # the list was still being built; the generator gave its first outcome


def test_lines_are_answered_while_more_are_awaited_so_a_coprocess_can_ask_and_read() -> None:
    asked, answered = threading.Semaphore(0), []

    def conversation() -> Iterator[Line]:
        for number in range(1, 4):
            yield Line(number, "x")
            assert asked.acquire(timeout=10)  # not until the answer was seen

    for outcome in in_order(conversation(), lambda line: line.number, 4):
        answered.append(outcome.result)
        asked.release()
    assert answered == [1, 2, 3]


def test_reading_ahead_is_bounded_when_nobody_takes_the_outcomes() -> None:
    read = 0

    def counted() -> Iterator[Line]:
        nonlocal read
        for line in lines(1000):
            read += 1
            yield line

    outcomes = in_order(counted(), lambda line: line.number, 4)
    next(outcomes)
    time.sleep(0.05)
    assert read <= 2 * 4 + 1
    outcomes.close()


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([NotFound("a")], 3),
        ([NotFound("a"), NotFound("b")], 3),
        ([NotFound("a"), Unavailable("b")], 1),
    ],
)
def test_the_exit_code_is_the_one_that_all_failures_share(errors: list[DistError], code: int) -> None:
    assert shared_exit_code(errors) == code


def test_a_line_is_an_object_and_hints() -> None:
    object_id, hints = Line(1, "sha256:" + "a" * 64 + "  size:5 mediatype:a/b -").parse()
    assert (object_id[:8], hints.size, hints.media_types) == ("sha256:a", 5, ("a/b",))


def test_a_line_with_a_bad_hint_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="not a hint"):
        Line(1, "latest nonsense").parse()


def test_a_signal_that_comes_as_the_wait_begins_is_heard_all_the_same() -> None:
    """`interrupt_main` notes a signal without waking anybody: as if it had come a moment before the wait."""
    ended, overslept = threading.Event(), []

    def work(line: Line) -> None:
        time.sleep(0.05)  # until the wait has begun
        _thread.interrupt_main()
        overslept.append(not ended.wait(20))

    outcomes = in_order(lines(1), work, 1)
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    ended.set()
    assert overslept != [True]
