"""Whether to try again, and when: the one place that waits (behaviours B38-B42)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dist_tool.errors import (
    TIME_IS_OVER,
    DeadlineExceeded,
    DistError,
    RemoteFailed,
)
from dist_tool.run import Notice, Report, unheard

# HTTP statuses that are worth another try, beside 429 (behaviours B39; 425: RFC 8470 5.2).
PASSING_STATUSES = frozenset({408, 425, 499, 500, 502, 503, 504, 522})


def _random() -> float:
    from random import random  # loads hashlib and more: only once something failed

    return random()


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently. All times in seconds; `deadline` is on `time.monotonic`."""

    attempts: int = 5
    base_s: float = 0.3
    cap_s: float = 10.0
    max_wait_s: float = 60.0
    deadline: float | None = None
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)
    random: Callable[[], float] = field(default=_random, compare=False)

    def remaining(self) -> float | None:
        """Seconds until the deadline, None without one. Raises DeadlineExceeded after it."""
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(TIME_IS_OVER)
        return left


class Attempts:
    """The tries of one operation. Ask `failed` after each failure; it waits, or raises."""

    def __init__(self, retry: Retry, report: Report = unheard) -> None:
        self._retry = retry
        self._report = report
        self._failures = 0
        self.history: list[str] = []

    def progressed(self) -> None:
        """The operation moved forward: earlier failures no longer count."""
        self._failures = 0

    def failed(self, error: DistError) -> None:
        """Wait before another try, or raise `error` when there is to be none.

        A server's Retry-After is kept, up to the limit; a longer one ends the operation at
        once rather than sleeping for hours. Raises DeadlineExceeded where the wait would
        outlast the time that the user gave.
        """
        self._failures += 1
        self.history.append(error.what)
        error.attempts = tuple(self.history)
        if not error.retryable or self._failures >= self._retry.attempts:
            raise error
        wait = self._wait(error)
        left = self._retry.remaining()
        if left is not None and wait >= left:
            late = f"{TIME_IS_OVER} before another try; last: {error.what}"
            raise DeadlineExceeded(late, host=error.host, attempts=error.attempts) from error
        self._report(
            Notice("info", f"{error.what}; trying again in {wait:.1f} s ({self._failures}/{self._retry.attempts})")
        )
        self._retry.sleep(wait)

    def _wait(self, error: DistError) -> float:
        asked = error.retry_after if isinstance(error, RemoteFailed) else None
        if asked is not None and asked > self._retry.max_wait_s:
            error.hint = f"the server asks to wait {asked:.0f} s, more than the limit of {self._retry.max_wait_s:.0f} s"
            raise error
        backoff = self._retry.random() * min(self._retry.cap_s, self._retry.base_s * 2.0 ** (self._failures - 1))
        return backoff if asked is None else asked + backoff / 10


def parse_retry_after(text: str, *, now: float | None = None) -> float | None:
    """Seconds to wait from a Retry-After value: a number or an HTTP date (behaviours B38).

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
