"""Remote helper process: requests on its standard input, response lines and framed bytes on its standard output.

It is started without a shell and killed together with its process group. It inherits standard error.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from dist_tool.errors import (
    DistError,
    InvalidArgument,
    LocalFailure,
    NotFound,
    PermissionDenied,
    ProtocolError,
    RemoteFailed,
    Truncated,
    Unauthenticated,
    Unavailable,
    Unsupported,
    printable,
)
from dist_tool.programs import without_secrets
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import Timeouts
from dist_tool.stream.retry import stall_left, stall_limit

VERSION = "1"
_LONGEST_LINE = 4096  # bytes, of a request or a response
_BUFFER = 64 << 10
_GRACE_S = 1.0  # for the helper to exit after its input is closed
_CLASSES: Mapping[str, type[DistError]] = {
    "notfound": NotFound,
    "denied": PermissionDenied,
    "unauthenticated": Unauthenticated,
    "unavailable": Unavailable,
    "unsupported": Unsupported,
    "invalid": InvalidArgument,
    "failed": RemoteFailed,
}


class HelperLimits(NamedTuple):
    """Time limits for a helper's output, and the operation that it serves."""

    timeouts: Timeouts
    run: Run = NO_RUN


class HelperRefusal(Exception):
    """The helper answered with an error line, converted to `error`. It can take the next request."""

    def __init__(self, error: DistError) -> None:
        super().__init__(error.what)
        self.error = error


class Helper:
    """A running helper.

    Its methods raise Unavailable if nothing arrives in time, Truncated if the helper exits,
    ProtocolError for an answer outside the protocol.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], limits: HelperLimits) -> None:
        self.name = os.path.basename(argv[0])
        self._limits = limits
        self._buffer = b""
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=without_secrets(environ),
                bufsize=0,
                process_group=0,
            )
        except OSError as error:
            raise LocalFailure(f"{argv[0]} cannot be run: {(error.strerror or 'unknown error').lower()}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def greet(self) -> frozenset[str]:
        """Exchange `hello`; returns the optional powers of the helper. Raises Unsupported for another version."""
        try:
            words = self.ask(f"hello {VERSION}")
        except Truncated as error:
            raise RemoteFailed(f"{error.what}, without an answer to hello", hint="is it a remote helper?") from error
        except HelperRefusal as refused:
            raise refused.error from None
        if words[:1] != [VERSION]:
            raise Unsupported(f"{self.name} does not support version {VERSION} of the helper protocol")
        return frozenset(words[1:])

    def ask(self, request: str) -> list[str]:
        """Send a request; returns the words after `ok`. Raises HelperRefusal for an `error`."""
        line = request.encode("utf-8", "surrogateescape")
        if not request.isprintable() or len(line) >= _LONGEST_LINE:
            raise InvalidArgument(
                f"{printable(request, 80)!r} cannot be sent to {self.name}: too long, or not printable text"
            )
        try:
            self._input.write(line + b"\n")
        except OSError as error:
            raise self._ended() from error
        words = self._line(self._limits.timeouts.headers_s).split()
        if words[:1] == ["ok"]:
            return words[1:]
        raise self._error_of(words)

    def frame(self) -> int:
        """The length of the next frame in bytes, 0 at the end. Raises HelperRefusal for an `error`."""
        words = self._line(self._limits.timeouts.idle_s).split()
        if words == ["end"]:
            return 0
        if len(words) == 2 and words[0] == "data":
            return number(words[1], self.name, least=1)
        raise self._error_of(words)

    def _error_of(self, words: Sequence[str]) -> Exception:
        """The error for a response that is not `ok`."""
        make = _CLASSES.get(words[1]) if words[:1] == ["error"] and len(words) > 1 else None
        if make is None:
            return ProtocolError(f"{self.name} answered {printable(' '.join(words), 80)!r}")
        return HelperRefusal(make(f"{self.name}: {printable(' '.join(words[2:]), 300) or words[1]}"))

    def readinto(self, view: memoryview) -> int:
        """Read bytes of a frame into `view`; returns their number, at least 1."""
        if self._buffer:
            got = min(len(view), len(self._buffer))
            view[:got] = self._buffer[:got]
            self._buffer = self._buffer[got:]
            return got
        self._wait(time.monotonic() + self._limits.timeouts.idle_s, self._limits.timeouts.idle_s)
        got = os.readv(self._output.fileno(), [view])
        if not got:
            raise self._ended()
        return got

    def _line(self, allowed_s: float) -> str:
        due = time.monotonic() + allowed_s
        while b"\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_LINE:
                raise ProtocolError(f"{self.name} answered with a line of more than {_LONGEST_LINE} bytes")
            self._wait(due, allowed_s)
            data = os.read(self._output.fileno(), _BUFFER)
            if not data:
                raise self._ended()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"{self.name} answered with a line that is not valid UTF-8") from error

    def _wait(self, due: float, allowed_s: float) -> None:
        """Wait for output. Raises Unavailable after `due`, and the errors of `Run.slice`."""
        stall = stall_left()
        if stall is not None and time.monotonic() + stall < due:
            due, allowed_s = time.monotonic() + stall, stall_limit()
        poll = select.poll()
        poll.register(self._output.fileno(), select.POLLIN)
        while True:
            left = max(0.0, due - time.monotonic())
            if poll.poll(self._limits.run.slice(left) * 1000):
                return
            if not left:
                break
        raise Unavailable(f"{self.name}: nothing came for {allowed_s:g} s")

    def _ended(self) -> Truncated:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        status = self._process.returncode
        return Truncated(f"{self.name} ended" + (f" with status {status}" if status else ""))

    def kill(self) -> None:
        """Kill the process group. Idempotent."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._input.close()
        self._output.close()
        self._process.wait()

    def finish(self) -> None:
        """Close its input, wait for it to exit, and kill it if it does not."""
        self._input.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self.kill()


def number(text: str, name: str, least: int = 0) -> int:
    """A number in a response. Raises ProtocolError for all but ASCII digits, and below `least`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= least):
        raise ProtocolError(f"{name} answered {printable(text, 40)!r}, expected a number")
    return int(text)
