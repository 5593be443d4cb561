"""One of several places, and what is told of all of them when none will do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any

from dist_tool.api import Closable, Remote
from dist_tool.errors import DistError, Unsupported
from dist_tool.run import Notice, Report


class Mirror:
    """One mirror, opened when it is first used. `name` is for messages.

    `guard` raises PolicyRefused for a name that policy forbids at this mirror.
    """

    def __init__(
        self,
        name: str,
        opener: Callable[[], Remote],
        capabilities: Iterable[str],
        guard: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self._guard = guard
        self.capabilities = frozenset(capabilities)
        self._opener = opener
        self._opening = Lock()
        self._opened: Any = None

    @property
    def remote(self) -> Remote:
        """The remote itself, one for all threads. Raises what opening raises."""
        with self._opening:
            if self._opened is None:
                self._opened = self._opener()
            remote: Remote = self._opened
        return remote

    def check(self, object_id: str) -> None:
        """Raise PolicyRefused if policy forbids to request the name here."""
        if self._guard is not None:
            self._guard(object_id)

    def close(self) -> None:
        """Close it, if it was opened."""
        if isinstance(self._opened, Closable):
            self._opened.close()


class FailureLog:
    """What places came to, and the error that it makes of all of them together."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: list[str] = []
        self._failed: dict[Mirror, DistError] = {}

    def note(self, place: Mirror, error: DistError, level: str = "debug", notice: str = "") -> None:
        """A place failed. `notice` is what to report where that is not all."""
        self._failed[place] = error
        self.tell(f"{place.name}: {error.what}", level, notice)

    def tell(self, text: str, level: str, notice: str = "") -> None:
        """Something that belongs among the attempts."""
        self._told.append(text)
        self._report(Notice(level, notice or text))

    def failure(self, places: Sequence[Mirror], doing: str) -> DistError:
        """The error of the place that the name means, the last one, with every attempt (D13)."""
        found = next((self._failed[place] for place in reversed(places) if place in self._failed), None)
        if found is None:
            return Unsupported(f"no place is configured that may {doing}")
        hint = found.hint
        if len(self._failed) > 1 and not hint:
            hint = f"{len(self._failed)} places were asked; -v or --error-format json tells of each"
        return found.with_(attempts=self._told, hint=hint)
