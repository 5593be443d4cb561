"""A mirror, and the combined error when all mirrors fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any

from dist_tool.api import Closable, Remote
from dist_tool.errors import DistError, Unsupported
from dist_tool.run import Notice, Report


class Mirror:
    """One endpoint of a name, opened on first use. `name` is for messages.

    `guard` raises PolicyRefused for an object that policy forbids at this endpoint.
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
        """The remote, shared by all threads. Raises what opening it raises."""
        with self._opening:
            if self._opened is None:
                self._opened = self._opener()
            remote: Remote = self._opened
        return remote

    def check(self, object_id: str) -> None:
        """Raise PolicyRefused if policy forbids requesting the object here."""
        if self._guard is not None:
            self._guard(object_id)

    def close(self) -> None:
        """Close the remote, if it was opened."""
        if isinstance(self._opened, Closable):
            self._opened.close()


class FailureLog:
    """The failures of mirrors, and the combined error."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._attempts: list[str] = []
        self._failed: dict[Mirror, DistError] = {}

    def note(self, mirror: Mirror, error: DistError, level: str = "debug", notice: str = "") -> None:
        """Record the failure of a mirror. `notice` replaces the reported text."""
        self._failed[mirror] = error
        self.add(f"{mirror.name}: {error.what}", level, notice)

    def add(self, text: str, level: str, notice: str = "") -> None:
        """Add a line to the attempts, and report it."""
        self._attempts.append(text)
        self._report(Notice(level, notice or text))

    def failure(self, mirrors: Sequence[Mirror], action: str) -> DistError:
        """The error of the last mirror that failed, with all attempts; the name's own endpoint is last (D13)."""
        found = next((self._failed[mirror] for mirror in reversed(mirrors) if mirror in self._failed), None)
        if found is None:
            return Unsupported(f"no configured endpoint may {action}", hint="see `capabilities` in the configuration")
        hint = found.hint
        if len(self._failed) > 1 and not hint:
            hint = f"{len(self._failed)} endpoints failed; -v or --error-format json lists each error"
        return found.with_(attempts=self._attempts, hint=hint)
