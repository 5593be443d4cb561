"""Subprocess for a credential helper: limited in time and output, killed with its children."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from dist_tool.run import Run

_CHUNK = 16 << 10
_TICK_S = 0.1  # interval between checks for the program's exit while its output is open
_GRACE_S = 0.5  # for output after the program itself has exited: a child may hold the pipe open
_STDERR = 2

_running: set[int] = set()  # process groups


class Output(NamedTuple):
    """A program's exit `status`, as of subprocess, and its standard output."""

    status: int
    data: bytes


class HelperTimeout(Exception):
    """The program did not exit in time."""


class OutputTooLarge(Exception):
    """The program wrote more than the limit to its standard output."""


def run(
    argv: list[str], message: bytes, environ: Mapping[str, str], *, until: float, limit: int, operation: Run
) -> Output:
    """Run a program without a shell, in a process group of its own, and pass it `message` on standard input.

    `until` is on `time.monotonic`. The first `limit` bytes of its standard error are copied to this
    process's standard error as they arrive, the rest is dropped. Raises OSError if the program cannot
    be started, HelperTimeout, OutputTooLarge for more than `limit` bytes of output, and the errors of `Run.check`
    of the `operation`; the whole process group has been killed by then.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environ),
        bufsize=0,
        process_group=0,
    )
    _running.add(process.pid)
    try:
        data = _Streams(process, message, limit).gather(until, operation)
        return Output(_status(process, until, operation), data)
    finally:
        _running.discard(process.pid)
        if process.returncode is None:
            _end(process.pid)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()


def _status(process: subprocess.Popen[bytes], until: float, operation: Run) -> int:
    while (status := process.poll()) is None:
        left = until - monotonic()
        if left <= 0:
            raise HelperTimeout
        with suppress(subprocess.TimeoutExpired):
            process.wait(operation.slice(left))
    return status


def end_all() -> None:
    """Kill all programs that are still running, before this process exits."""
    for group in list(_running):
        _end(group)


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class _Streams:
    """The standard streams of one program, served by `poll`."""

    def __init__(self, process: subprocess.Popen[bytes], message: bytes, limit: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._input = process.stdin
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        self._message = memoryview(message)
        self._limit = limit
        self._data = bytearray()
        self._shown = 0
        self._open = {self._stdout, process.stderr.fileno()}
        self._poll = select.poll()
        for number, event in ((self._stdin, select.POLLOUT), *((number, select.POLLIN) for number in self._open)):
            os.set_blocking(number, False)
            self._poll.register(number, event)

    def gather(self, until: float, operation: Run) -> bytes:
        """The complete standard output. Raises HelperTimeout and OutputTooLarge."""
        while self._open:
            left = until - monotonic()
            if left <= 0:
                raise HelperTimeout
            self._serve_ready(operation.slice(min(_TICK_S, left)))
            if self._process.poll() is not None:
                self._finish(min(until, monotonic() + _GRACE_S))
                break
        return bytes(self._data)

    def _finish(self, until: float) -> None:
        """Read the rest from the pipes of an exited program, which a child may hold open."""
        while self._open and (left := until - monotonic()) > 0:
            self._serve_ready(left)

    def _serve_ready(self, wait_s: float) -> None:
        for number, _ in self._poll.poll(wait_s * 1000):
            self._serve(number)

    def _serve(self, number: int) -> None:
        if number == self._stdin:
            self._write()
            return
        try:
            data = os.read(number, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._open.discard(number)
            self._poll.unregister(number)
        elif number == self._stdout:
            self._data += data
            if len(self._data) > self._limit:
                _end(self._process.pid)
                raise OutputTooLarge
        elif self._shown < self._limit:
            shown = data[: self._limit - self._shown]
            self._shown += len(shown)
            with suppress(OSError):
                os.write(_STDERR, shown)

    def _write(self) -> None:
        try:
            self._message = self._message[os.write(self._stdin, self._message) :]
        except BlockingIOError:
            return
        except OSError:  # the program does not read its input: its output may be valid all the same
            self._message = self._message[len(self._message) :]
        if not self._message:
            self._poll.unregister(self._stdin)
            self._input.close()
