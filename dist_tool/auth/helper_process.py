"""One run of a credential helper: bounded in time and in output, and ended with its children."""

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
_TICK_S = 0.1  # how often the end of the program is looked for while its output stays open
_GRACE_S = 0.5  # for output after the program itself has ended: a child may hold the pipe
_STDERR = 2

_running: set[int] = set()  # process groups


class Output(NamedTuple):
    """What a program left: `status` as of subprocess, and its standard output."""

    status: int
    data: bytes


class OutOfTime(Exception):
    """The program had not ended at the given time."""


class TooMuch(Exception):
    """The program wrote more than the limit to its standard output."""


def run(
    argv: list[str], message: bytes, environ: Mapping[str, str], *, until: float, limit: int, operation: Run
) -> Output:
    """Run a program without a shell, in a process group of its own, and pass it `message` on standard input.

    `until` is on `time.monotonic`. Of its standard error the first `limit` bytes go to ours as they
    come, and the rest is dropped. Raises OSError if it cannot be started, OutOfTime, TooMuch for more
    than `limit` bytes, and as `Run.check` of the `operation`; the whole group has ended then.
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
            raise OutOfTime
        with suppress(subprocess.TimeoutExpired):
            process.wait(operation.slice(left))
    return status


def end_all() -> None:
    """End every program that still runs: this process is about to."""
    for group in list(_running):
        _end(group)


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class _Streams:
    """The three streams of one program."""

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
        """The whole standard output."""
        while self._open:
            left = until - monotonic()
            if left <= 0:
                raise OutOfTime
            self._serve_ready(operation.slice(min(_TICK_S, left)))
            if self._process.poll() is not None:
                self._finish(min(until, monotonic() + _GRACE_S))
                break
        return bytes(self._data)

    def _finish(self, until: float) -> None:
        """Read what a program that has ended left in its pipes, which a child may hold open."""
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
                raise TooMuch
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
        except OSError:  # it does not read: its answer may be good all the same
            self._message = self._message[len(self._message) :]
        if not self._message:
            self._poll.unregister(self._stdin)
            self._input.close()
