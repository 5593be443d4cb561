"""Standard input: its bytes and its lines as they come, and what its failures are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dist_tool.errors import InvalidArgument
from dist_tool.files import os_errors

_STDIN = 0
_READ = 64 << 10
_LONGEST_LINE = 64 << 10


@contextmanager
def input_failures() -> Iterator[None]:
    """An OSError inside is one of standard input: LocalFailure."""
    with os_errors("standard input"):
        yield


def read_stdin(size: int = _READ) -> bytes:
    """What is there, `size` bytes at the most; nothing at the end. Raises LocalFailure."""
    with input_failures():
        return os.read(_STDIN, size)


def stdin_lines(separator: bytes = b"\n") -> Iterator[bytes]:
    """The lines as they come, without their ends.

    Raises LocalFailure, and InvalidArgument for a line without end: nothing here grows with the input.
    """
    rest = b""
    while data := read_stdin():
        *lines, rest = (rest + data).split(separator)
        yield from lines
        if len(rest) > _LONGEST_LINE:
            raise InvalidArgument(f"standard input: a line of more than {_LONGEST_LINE} bytes")
    yield rest
