"""How an error is written: one line, or one JSON object, on standard error."""

from __future__ import annotations

import sys

from dist_tool.errors import DistError, printable


def write_error(error: DistError, *, as_json: bool) -> None:
    """Write an error. That nobody can read it changes nothing: the exit code still tells."""
    try:
        sys.stderr.write((_as_json(error) if as_json else f"dist: {error}") + "\n")
        sys.stderr.flush()
    except OSError:
        pass


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
        "host": error.host,
        "status": error.status,
        "registry_errors": [entry._asdict() for entry in error.registry_errors],
        "attempts": [printable(text) for text in error.attempts],
    }
    return json.dumps(facts, ensure_ascii=True)
