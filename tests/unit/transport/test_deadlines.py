"""Reads with time limits, in short waits."""

from __future__ import annotations

import errno
import io
import os
import socket

import pytest

from dist_tool.run import Run
from dist_tool.settings import Timeouts
from dist_tool.transport.deadlines import ConnectionLimits, TooSlow, _TimedReader


class ScriptedSocket:
    """A socket whose reads have the given outcomes: an exception or bytes. `waits` lists its timeouts."""

    def __init__(self, *outcomes: BaseException | bytes) -> None:
        self._outcomes = list(outcomes)
        self.waits: list[float] = []

    def settimeout(self, seconds: float) -> None:
        self.waits.append(seconds)

    def recv_into(self, buffer: memoryview) -> int:
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        buffer[: len(outcome)] = outcome
        return len(outcome)


def pace(sock: ScriptedSocket) -> _TimedReader:
    return _TimedReader(io.BytesIO(), sock, ConnectionLimits(Timeouts(), Run()))  # type: ignore[arg-type]


def test_a_short_wait_without_bytes_is_repeated() -> None:
    sock = ScriptedSocket(TimeoutError("timed out"), TimeoutError("timed out"), b"abc")
    assert pace(sock).readinto(memoryview(bytearray(10))) == 3
    assert sock.waits == [0.25] * 3


def test_a_connection_that_the_system_has_timed_out_is_not_read_again() -> None:
    """The next read would return 0, as at the end of a body."""
    dead = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    with pytest.raises(TooSlow) as caught:
        pace(ScriptedSocket(dead, b"")).readinto(memoryview(bytearray(10)))
    assert caught.value.__cause__ is dead


def test_a_socket_can_be_read_after_a_timeout() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(0.01)
        with pytest.raises(TimeoutError) as caught:
            here.recv_into(bytearray(1))
        assert caught.value.errno is None
        there.send(b"x")
        assert here.recv_into(bytearray(1)) == 1
