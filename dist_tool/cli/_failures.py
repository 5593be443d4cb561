"""Failures of commands that do many things: each is told at once, the rest goes on, and one exit code is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from dist_tool.cli._errors import write_error, write_trace

if TYPE_CHECKING:
    from dist_tool.errors import DistError


class Failures:
    """What went wrong so far."""

    def __init__(self) -> None:
        self._by_code: dict[int, DistError] = {}  # one of each: memory does not grow with their number

    @contextmanager
    def noted(self, object_id: str = "") -> Iterator[None]:
        """Note and report a DistError inside, and go on after the block."""
        from dist_tool.errors import DistError

        try:
            yield
        except DistError as error:
            self.note(error.with_facts(object_id=object_id))

    def note(self, error: DistError) -> None:
        """Report a failure at once, on a line of its own."""
        params = click.get_current_context().params
        if params.get("debug"):
            write_trace(error)
        write_error(error, as_json=params.get("error_format") == "json")
        self._by_code.setdefault(error.exit_code, error)

    def exit_code(self) -> int:
        """0 without failures, the code that all of them share, else 1."""
        from dist_tool.transfer.batch import shared_exit_code

        return shared_exit_code(self._by_code.values())
