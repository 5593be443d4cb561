"""The context of one operation: notices, progress, deadline, cancellation and clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from dist_tool.errors import TIME_IS_OVER, Cancelled, DeadlineExceeded

_T = TypeVar("_T")

PAUSE_S = 0.25  # seconds: a waiting operation notices its cancellation within this time


class Notice(NamedTuple):
    """A message to the user while an operation runs. `level`: `warning`, `info` or `debug`."""

    level: str
    text: str


class Event(NamedTuple):
    """Progress of one object: `offset` of `total` bytes (None: not known).

    `resumed` counts the bytes that an earlier run fetched, so that rates are correct.
    `state`: `started`, `moving`, `waiting`, `done`, `exists` or `failed`.
    """

    ref: str
    offset: int
    total: int | None
    state: str
    resumed: int = 0


Report = Callable[[Notice], None]
Progress = Callable[[Event], None]


def no_report(notice: Notice) -> None:
    """No-op `Report`."""


def no_progress(event: Event) -> None:
    """No-op `Progress`."""


def _random() -> float:
    from random import random  # imports hashlib and more: only after a failure

    return random()


class Cancellation:
    """A flag that ends the operations that share it. Thread-safe: it is only ever set."""

    __slots__ = ("requested",)

    def __init__(self) -> None:
        self.requested = False


@dataclass(frozen=True, slots=True)
class Run:
    """The context of one operation, passed to all calls that it makes.

    `report` receives notices and `progress` events, from any thread. `deadline` is the time on
    `clock`, in seconds, by which the operation must end; None for no limit. `pause(seconds)`
    blocks; tests replace it, `clock` and `random`. Copies made with `dataclasses.replace` share the
    cancellation.
    """

    report: Report = no_report
    progress: Progress = no_progress
    deadline: float | None = None
    clock: Callable[[], float] = field(default=time.monotonic, compare=False)
    pause: Callable[[float], None] | None = field(default=None, compare=False)
    random: Callable[[], float] = field(default=_random, compare=False)
    cancellation: Cancellation = field(default_factory=Cancellation, compare=False)

    @property
    def cancelled(self) -> bool:
        """True after `cancel`."""
        return self.cancellation.requested

    def cancel(self) -> None:
        """End the operation soon: its waits and reads raise Cancelled. Callable from any thread; idempotent."""
        self.cancellation.requested = True

    def check(self) -> None:
        """Raise Cancelled or DeadlineExceeded if the operation must not go on."""
        self.remaining()

    def remaining(self) -> float | None:
        """Seconds until the deadline, None without one. Raises Cancelled, DeadlineExceeded after it."""
        if self.cancellation.requested:
            raise Cancelled("cancelled")
        if self.deadline is None:
            return None
        left = self.deadline - self.clock()
        if left <= 0:
            raise DeadlineExceeded(TIME_IS_OVER)
        return left

    def slice(self, limit_s: float) -> float:
        """The longest time in seconds to block at once: at most `limit_s`, and short enough to notice `cancel`.

        Raises as `remaining`.
        """
        left = self.remaining()
        return min(limit_s, PAUSE_S if left is None else min(PAUSE_S, left))

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Cancelled as soon as the operation is cancelled, DeadlineExceeded at the deadline."""
        if self.pause is not None:
            self.check()
            self.pause(seconds)
            return
        due = self.clock() + seconds
        while (left := due - self.clock()) > 0:
            time.sleep(self.slice(left))


class Shared:
    """Objects that the operations of one session share, such as connections. Thread-safe.

    Keys are compared by value. `close` closes all objects.
    """

    def __init__(self) -> None:
        from threading import RLock

        self._guard = RLock()  # reentrant: making an object may need another one
        self._made: list[tuple[object, Any]] = []

    def once(self, key: object, make: Callable[[], _T]) -> _T:
        """The object of `key`, made when it is first needed. Raises what `make` raises."""
        with self._guard:
            for existing_key, value in self._made:
                if existing_key == key:
                    return value  # type: ignore[no-any-return]
            made = make()
            self._made.append((key, made))
            return made

    def close(self) -> None:
        """Close every object that has a `close`, the last one first. Idempotent."""
        with self._guard:
            made, self._made = self._made, []
        for _, value in reversed(made):
            if callable(close := getattr(value, "close", None)):
                close()


NO_RUN = Run()
"""For calls that need no notices, no deadline and no cancellation. Never cancel it."""
