"""Write errors to standard error, as one line or one JSON object; exit code of several failures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dist_tool.errors import DistError, printable
from dist_tool.redaction import hide

# Modules whose exceptions may contain headers and URLs with secrets.
_UNQUOTED = ("requests", "urllib3", "http", "ssl", "socket", "_ssl", "_socket")


def write_error(error: DistError, *, as_json: bool) -> None:
    """Write an error. A failure to write is ignored: the exit code still reports the error."""
    try:
        sys.stderr.write((_as_json(error) if as_json else f"dist: {error}") + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def write_trace(error: BaseException) -> None:
    """Write the traceback of an error and its causes; for exceptions of HTTP libraries, only the type."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        lines[:0] = _traced(current, "\nwhich led to:\n" if lines else "")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    try:
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
    except OSError:
        pass


def _traced(error: BaseException, end: str) -> list[str]:
    from traceback import format_tb

    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.partition(".")[0] in _UNQUOTED:
        text = "(message not shown: it may contain secrets)"
    else:
        text = printable(str(error))
    return [
        "Traceback (most recent call last):\n",
        *map(hide, format_tb(error.__traceback__)),
        f"{name}: {text}\n",
        end,
    ]


def _as_json(error: DistError) -> str:
    """The error as one JSON object with stable keys (docs/exit-codes.md)."""
    import json

    facts = {
        "code": type(error).__name__,
        "exit": error.exit_code,
        "message": printable(error.what),
        "hint": printable(error.hint),
        "locator": error.locator,
        "object": error.object_id,
        "host": hide(error.host),
        "status": error.status,
        "registry_errors": [
            {name: printable(text) for name, text in entry._asdict().items()} for entry in error.registry_errors
        ],
        "attempts": [printable(text) for text in error.attempts],
    }
    return json.dumps(facts, ensure_ascii=True)


class Failures:
    """Failures of a command with many objects: each is reported immediately, and the others continue."""

    def __init__(self) -> None:
        self._by_code: dict[int, DistError] = {}  # one error per code: memory does not grow with the number of failures

    @contextmanager
    def noted(self, object_id: str = "") -> Iterator[None]:
        """Record and report a DistError raised in the block, and continue after it."""
        try:
            yield
        except DistError as error:
            self.note(error.with_facts(object_id=object_id))

    def note(self, error: DistError) -> None:
        """Record a failure and report it immediately."""
        params = click.get_current_context().params
        if params.get("debug"):
            write_trace(error)
        write_error(error, as_json=params.get("error_format") == "json")
        self._by_code.setdefault(error.exit_code, error)

    def exit_code(self) -> int:
        """0 without failures, the common exit code if all failures share one, else 1."""
        from dist_tool.transfer.batch import shared_exit_code

        return shared_exit_code(self._by_code.values())
