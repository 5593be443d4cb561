"""Remotes served by helper programs, `dist-remote-KIND` (docs/writing-a-remote.md, "A program")."""

from __future__ import annotations

from collections.abc import Callable

from dist_tool.context import Context
from dist_tool.names.locator import Locator
from dist_tool.remotes.program.remote import ProgramRemote

__all__ = ["ProgramRemote", "opener_of"]


def opener_of(program: str) -> Callable[[Locator, Context], ProgramRemote]:
    """A function that opens remotes served by the program at this path."""
    return lambda locator, context: ProgramRemote(program, locator.rest, context)
