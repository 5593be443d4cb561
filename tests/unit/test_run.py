"""The context of an operation: its deadline, its cancellation and its clock."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from dist_tool.errors import Cancelled, DeadlineExceeded
from dist_tool.run import PAUSE_S, Run


def test_a_run_without_a_deadline_has_no_remaining_time() -> None:
    assert Run().remaining() is None
    Run().check()


def test_remaining_counts_down_to_the_deadline_and_then_raises() -> None:
    now = [100.0]
    run = Run(deadline=103.0, clock=lambda: now[0])
    assert run.remaining() == 3.0
    now[0] = 103.0
    with pytest.raises(DeadlineExceeded):
        run.remaining()


def test_copies_of_a_run_are_cancelled_together() -> None:
    run = Run()
    copy = replace(run, deadline=time.monotonic() + 100)
    run.cancel()
    assert copy.cancelled
    with pytest.raises(Cancelled):
        copy.check()
    assert not Run().cancelled


def test_a_wait_ends_soon_after_it_is_cancelled() -> None:
    run = Run()
    timer = threading.Timer(0.05, run.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        run.sleep(60)
    assert time.monotonic() - started < 30
    timer.join()


def test_a_wait_does_not_outlast_the_deadline() -> None:
    run = Run(deadline=time.monotonic() + 0.05)
    with pytest.raises(DeadlineExceeded):
        run.sleep(60)


def test_waits_of_tests_are_recorded_instead() -> None:
    waits: list[float] = []
    Run(pause=waits.append).sleep(60)
    assert waits == [60]


def test_a_slice_is_no_longer_than_its_limit_the_pause_and_the_deadline() -> None:
    assert Run().slice(100) == PAUSE_S
    assert Run().slice(0.1) == 0.1
    assert Run(deadline=0.05, clock=lambda: 0.0).slice(100) == 0.05
