"""Retries: number of attempts, waits between them, and when to give up (behaviours B38-B42).

Retry loops are nested: a reader reopens a body, which sends a request, which may be sent again.
All of them share one budget per object, of attempts and of time: `Attempts` made while others are
running join them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from dist_tool.errors import TIME_IS_OVER, DeadlineExceeded, DistError, RemoteFailed
from dist_tool.run import NO_RUN, Notice, Run

# Retryable HTTP statuses, besides 429 (behaviours B39; 425: RFC 8470 5.2).
PASSING_STATUSES = frozenset({408, 425, 499, 500, 502, 503, 504, 522})


@dataclass(frozen=True, slots=True)
class Retry:
    """Retry limits. All times are in seconds.

    `max_stall_s` bounds the time without progress of one object, over all attempts and waits;
    `floor` is the rate in bytes per second that counts as progress.
    """

    attempts: int = 5
    base_s: float = 0.3
    cap_s: float = 10.0
    max_wait_s: float = 60.0
    max_stall_s: float = 75.0
    floor: int = 1024


class _Budget:
    """The failures and the stalled time of one object from one source since its last progress."""

    def __init__(self, retry: Retry, clock: Callable[[], float], *, joined: bool = True) -> None:
        self.retry = retry
        self.clock = clock
        self._joined = joined
        self.failures = 0
        self.history: list[str] = []
        self.sources: dict[object, _Budget] = {}
        self._stalled = 0.0
        self._since: float | None = None  # start of the running interval
        self._depth = 0

    def join(self, retry: Retry) -> None:
        """Use the limits of the first `Attempts`, if none were given."""
        if not self._joined:
            self.retry, self._joined = retry, True

    def start(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._since = self.clock()

    def stop(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._stalled, self._since = self._waited(), None

    def _waited(self) -> float:
        return self._stalled + (0.0 if self._since is None else self.clock() - self._since)

    def left(self) -> float:
        """Seconds until the object has stalled for too long; negative afterwards."""
        return self.retry.max_stall_s - self._waited()

    def credit(self, seconds: float) -> None:
        """Deduct seconds that were not spent waiting for this source."""
        self._stalled = max(0.0, self._waited() - seconds)
        if self._since is not None:
            self._since = self.clock()

    def received(self, count: int) -> None:
        floor = self.retry.floor
        self.credit(count / floor if floor else self.retry.max_stall_s if count else 0.0)

    def slept(self, seconds: float) -> None:
        """Count a wait, unless an interval is running, which includes it."""
        if self._since is None:
            self._stalled += seconds

    def progressed(self) -> None:
        self.failures = 0
        self.sources.clear()


_running: ContextVar[_Budget | None] = ContextVar("running", default=None)


def stall_left() -> float | None:
    """Seconds left without progress of the current object; None without a limit."""
    budget = _running.get()
    return None if budget is None else budget.left()


def stall_limit() -> float:
    """The limit that `stall_left` counts down from, in seconds."""
    budget = _running.get()
    return (budget.retry if budget else Retry()).max_stall_s


def received(count: int) -> None:
    """Count received bytes of the current object: `Retry.floor` of them offset one second of waiting."""
    budget = _running.get()
    if budget is not None:
        budget.received(count)


@contextmanager
def counted_apart(source: object) -> Iterator[None]:
    """Count failures and time inside the block for `source` only, one of several sources of the object.

    The limits are those of the first `Attempts` made inside: each source has its own.
    """
    outer = _running.get()
    if outer is None:
        yield
        return
    budget = outer.sources.setdefault(source, _Budget(outer.retry, outer.clock, joined=False))
    started = outer.clock()
    budget.start()
    token = _running.set(budget)
    try:
        yield
    finally:
        _running.reset(token)
        budget.stop()
        outer.credit(outer.clock() - started)


class Attempts:
    """The attempts of one operation. Call `failed` after each failure; it waits, or raises.

    As a context manager it runs the clock of `Retry.max_stall_s`, and other `Attempts` made
    inside share its budget. Not thread-safe, but each `with` block may run in another thread.
    """

    def __init__(self, retry: Retry, run: Run = NO_RUN) -> None:
        self._retry = retry
        self._run = run
        self._budget = _running.get() or _Budget(retry, run.clock)
        self._budget.join(retry)
        self._outer: list[_Budget | None] = []

    def __enter__(self) -> Attempts:
        self._outer.append(_running.get())
        _running.set(self._budget)
        self._budget.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.stop()
        _running.set(self._outer.pop())

    def progressed(self) -> None:
        """Record progress: earlier failures no longer count."""
        self._budget.progressed()

    def failed(self, error: DistError) -> None:
        """Wait before the next attempt, or raise `error` if there is none left.

        A server's Retry-After is honored up to the limit; a longer one ends the operation at
        once instead of sleeping for hours. Raises DeadlineExceeded if the wait would outlast
        the deadline of the run, Cancelled when the run is cancelled. An error that is not
        retryable is raised at once and not counted.
        """
        budget = self._budget
        error = error.with_(attempts=(*budget.history, error.what))
        if not error.retryable:
            raise error from error.cause
        self.wasted(error)
        wait = self._wait(error)
        left = self._run.remaining()
        if left is not None and wait >= left:
            text = f"{TIME_IS_OVER} before the next attempt; last error: {error.what}"
            raise DeadlineExceeded(text, host=error.host, attempts=error.attempts) from error
        if wait >= budget.left():
            limit = f"no progress for {budget.retry.max_stall_s:g} s (retry.max_stall)"
            hint = "; ".join(part for part in (error.hint, self._requested_wait(error), limit) if part)
            raise error.with_(hint=hint) from error.cause
        count = f"{budget.failures}/{self._retry.attempts}"
        self._run.report(Notice("info", f"{error.what}; trying again in {wait:.1f} s ({count})"))
        self._run.sleep(wait)
        budget.slept(wait)

    def wasted(self, error: DistError) -> None:
        """Count a failed attempt, without a wait. Raises `error` if it was the last."""
        self._budget.failures += 1
        self._budget.history.append(error.what)
        if self._budget.failures >= self._retry.attempts:
            raise error.with_(attempts=self._budget.history) from error.cause

    def _requested_wait(self, error: DistError) -> str:
        asked = error.retry_after if isinstance(error, RemoteFailed) else None
        return f"the server asks to wait {asked:.0f} s" if asked else ""

    def _wait(self, error: DistError) -> float:
        asked = error.retry_after if isinstance(error, RemoteFailed) else None
        if asked is not None and asked > self._retry.max_wait_s:
            hint = f"the server asks to wait {asked:.0f} s, more than the limit of {self._retry.max_wait_s:.0f} s"
            raise error.with_(hint=hint) from error.cause
        backoff = self._run.random() * min(self._retry.cap_s, self._retry.base_s * 2.0 ** (self._budget.failures - 1))
        return backoff if asked is None else asked + backoff / 10


def parse_retry_after(text: str, *, now: float | None = None) -> float | None:
    """Seconds to wait, from a Retry-After value: a number or an HTTP date (behaviours B38).

    None for a past date and for anything else.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    from email.utils import parsedate_to_datetime
    from time import time

    try:
        wait = parsedate_to_datetime(text).timestamp() - (time() if now is None else now)
    except (ValueError, TypeError, OverflowError):
        return None
    return wait if wait > 0 else None
