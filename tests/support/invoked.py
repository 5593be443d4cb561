"""`dist` in this process, for what needs no process of its own: parsing, messages, exit codes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dist_tool import cli
from support.processes import Result

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(capfdbinary: pytest.CaptureFixture[bytes]) -> Invoke:
    """Runs `dist ARGS` up to its exit code; what was written to the real descriptors is in the result."""

    def run(*args: str) -> Result:
        capfdbinary.readouterr()
        code = cli._run(list(args))  # all of main but the end of the process
        out, err = capfdbinary.readouterr()
        return Result(out, err.decode("utf-8", "backslashreplace"), code)

    return run


def said(stderr: bytes) -> list[str]:
    """The lines on standard error, save those of progress: a busy machine is slow enough to get some."""
    return [line for line in stderr.decode().splitlines() if " in this run, " not in line]
