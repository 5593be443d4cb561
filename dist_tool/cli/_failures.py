"""Failures of commands that do many things: each is told at once, the rest goes on, and one exit code is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dist_tool.errors import DistError


class Failures:
    """What went wrong so far."""

    def __init__(self) -> None:
        self._codes: set[int] = set()

    @contextmanager
    def noted(self, object_id: str = "") -> Iterator[None]:
        """Note and report a DistError inside, and go on after the block."""
        from dist_tool.errors import DistError

        try:
            yield
        except DistError as error:
            self.note(error.with_facts(object_id=object_id))

    def note(self, error: DistError) -> None:
        """Report a failure as `main` would, one line each."""
        from dist_tool.cli import fail

        params = click.get_current_context().params
        args = [f"--error-format={params.get('error_format', 'text')}"]
        self._codes.add(fail(args, error, debug=bool(params.get("debug"))))

    def exit_code(self) -> int:
        """0 without failures, the code that all of them share, else 1."""
        return self._codes.copy().pop() if len(self._codes) == 1 else int(bool(self._codes))
