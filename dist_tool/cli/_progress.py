"""Progress on standard error: bars on a terminal, a plain line every few seconds, or JSON lines."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

import click

from dist_tool.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dist_tool.run import Event, Progress

_BARS_AFTER_S = 0.5  # shorter transfers draw nothing and do not load rich
_PLAIN_EVERY_S = 5.0
_JSON_EVERY_S = 0.25
_WIDE = 70  # minimum columns for speed and remaining time
_ENDED = frozenset({"done", "exists", "failed"})

progress_option = click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "plain", "json", "none"]),
    default="auto",
    help="Progress display on standard error. Default: auto, bars on a terminal, else a line every few seconds.",
)


class Tally:
    """Totals over all objects. Bytes of this run are counted separately from resumed bytes."""

    def __init__(self) -> None:
        self.objects: dict[str, Event] = {}
        self.done = 0
        self._moved = 0
        self._began = time.monotonic()

    def note(self, event: Event) -> None:
        """Update the totals with an event."""
        if event.state in _ENDED:
            self.objects.pop(event.ref, None)
            self.done += 1
            self._moved += event.offset - event.resumed
        else:
            self.objects[event.ref] = event

    def line(self) -> str:
        """A one-line summary."""
        moving = list(self.objects.values())
        moved = self._moved + sum(event.offset - event.resumed for event in moving)
        rate = moved / max(time.monotonic() - self._began, 0.001)
        parts = [f"{self.done} done"] if self.done else []
        if len(moving) == 1:
            event = moving[0]
            of = f" of {_size(event.total)}" if event.total is not None else ""
            parts.append(f"{printable(event.ref, 80)}: {_size(event.offset)}{of}")
        elif moving:
            parts.append(f"{len(moving)} in progress")
        return f"{', '.join(parts)}; {_size(moved)} in this run, {_size(rate)}/s"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


class Plain:
    """A summary line every few seconds, for logs."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._lock = Lock()
        self._next = time.monotonic() + _PLAIN_EVERY_S

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._tally.note(event)
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _PLAIN_EVERY_S
                _write(f"dist: {self._tally.line()}")

    def close(self) -> None:
        """Nothing to remove from the display."""


class Json:
    """One JSON object per event; `moving` events at most four times a second per object."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        import json

        now = time.monotonic()
        with self._lock:
            if event.state == "moving" and now < self._next.get(event.ref, 0):
                return
            self._next[event.ref] = now + _JSON_EVERY_S
            if event.state in _ENDED:
                del self._next[event.ref]
            _write(json.dumps({"progress": event._asdict()}))

    def close(self) -> None:
        """Nothing to remove from the display."""


class Bars:
    """Progress bars of rich, one for each object in progress, removed at the end."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = Lock()
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}
        self._early: dict[str, Event] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self._progress is None:
                self._early[event.ref] = event
                if time.monotonic() - self._began < _BARS_AFTER_S:
                    return
                self._start()
                for early in self._early.values():
                    self._show(early)
            else:
                self._show(event)

    def _start(self) -> None:
        from rich import progress as rich_progress
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True)  # do not wrap other output
        columns: list[rich_progress.ProgressColumn] = [
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(binary_units=True),
        ]
        if console.width >= _WIDE:  # on a narrow terminal a bar would take two lines
            columns += [rich_progress.TextColumn("{task.fields[rate]}"), rich_progress.TimeRemainingColumn()]
        self._progress = rich_progress.Progress(*columns, console=console, transient=True)
        self._progress.start()

    def _show(self, event: Event) -> None:
        task = self._tasks.get(event.ref)
        if event.state in _ENDED:
            if task is not None:
                self._progress.remove_task(self._tasks.pop(event.ref))
            return
        if task is None:
            name = printable(event.ref.partition(":")[2][:12] or event.ref, 40)
            task = self._tasks[event.ref] = self._progress.add_task(name, total=event.total, rate="")
        self._progress.update(task, completed=event.offset, total=event.total)
        speed = next((each.speed for each in self._progress.tasks if each.id == task), None)
        self._progress.update(task, rate=f"{_size(speed)}/s" if speed else "")

    def close(self) -> None:
        """Remove the bars."""
        with self._lock:
            if self._progress is not None:
                self._progress.stop()


def _write(text: str) -> None:
    with suppress(OSError):  # standard error is closed, which does not stop the transfer
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def choose(mode: str, environ: Mapping[str, str], *, quiet: bool) -> Plain | Json | Bars | None:
    """The display for `--progress`; None for no display. The caller closes it."""
    if mode == "none" or (quiet and mode == "auto"):
        return None
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() and environ.get("TERM", "dumb") != "dumb" else "plain"
    if mode == "bar":
        return Bars()
    return Json() if mode == "json" else Plain()


def as_progress(display: Plain | Json | Bars | None) -> Progress:
    """A display as a `Progress` callback; None becomes a no-op."""
    from dist_tool.run import no_progress

    return display or no_progress
