"""What one operation reports while it runs: notices and progress events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Notice(NamedTuple):
    """Something worth telling a person while work goes on. `level`: `warning`, `info` or `debug`."""

    level: str
    text: str


Report = Callable[[Notice], None]


def unheard(notice: Notice) -> None:
    """The `Report` of whoever does not listen."""


class Event(NamedTuple):
    """Progress of one object: `offset` of `total` bytes (None: not known).

    `resumed` counts bytes that were there before this run, so that rates stay true.
    `state`: `started`, `moving`, `waiting`, `done`, `exists` or `failed`.
    """

    ref: str
    offset: int
    total: int | None
    state: str
    resumed: int = 0


Progress = Callable[[Event], None]


def unseen(event: Event) -> None:
    """The `Progress` of whoever does not watch."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who hears of notices and progress."""

    report: Report = field(default=unheard)
    progress: Progress = field(default=unseen)
