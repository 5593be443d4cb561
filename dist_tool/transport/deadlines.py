"""Connections that keep time: header deadline, silence, minimum rate, overall deadline.

The timeouts of requests are a silence limit only: a byte a second, or endless `100 Continue`,
would never end. The limits are kept where every byte passes, below buffering and TLS records.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any, NamedTuple, cast

from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dist_tool.errors import TIME_IS_OVER
from dist_tool.settings import Timeouts
from dist_tool.stream.retry import stall_left, stall_limit
from dist_tool.transport.connecting import TimedConnection

_BUFFER = 64 << 10
_MOST_TRAILERS = 64 << 10  # bytes of all together


class TooSlow(TimeoutError):
    """A limit of ours was passed. `final`: it was the user's own deadline."""

    def __init__(self, what: str, *, final: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.final = final


class ConnectionLimits(NamedTuple):
    """The limits of one adapter. `deadline` is on `time.monotonic`, None for none."""

    timeouts: Timeouts
    deadline: float | None = None


class _Pace(io.RawIOBase):
    """A socket's raw reader that gives each read only the time that is left for it."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, limits: ConnectionLimits) -> None:
        self._raw = raw
        self._sock = sock
        self._limits = limits
        self._headers_due: float | None = time.monotonic() + limits.timeouts.headers_s
        self._waited = 0.0
        self._received = 0

    def headers_done(self) -> None:
        """From now on the body's limits hold."""
        self._headers_due = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        started = time.monotonic()
        allowed, reason = self._allowance(started)
        self._sock.settimeout(max(allowed, 0.001))
        try:
            got = cast(int, self._raw.readinto(buffer))
        except TimeoutError as error:
            raise reason from error
        self._account(got, time.monotonic() - started)
        return got

    def _allowance(self, now: float) -> tuple[float, TooSlow]:
        limits = self._limits.timeouts
        choices = [(limits.idle_s, TooSlow(f"nothing came for {limits.idle_s:g} s"))]
        if self._headers_due is not None:
            choices.append((self._headers_due - now, TooSlow(f"no response within {limits.headers_s:g} s")))
        if self._limits.deadline is not None:
            due = self._limits.deadline - now
            choices.append((due, TooSlow(TIME_IS_OVER, final=True)))
        stall = stall_left()
        if stall is not None:
            choices.append((stall, TooSlow(f"no progress for {stall_limit():g} s")))
        allowed, reason = min(choices, key=lambda choice: choice[0])
        if allowed <= 0:
            raise reason
        return allowed, reason

    def _account(self, got: int, waited: float) -> None:
        """Only time spent waiting counts: a slow reader of our output is not the server's fault."""
        limits = self._limits.timeouts
        self._waited += waited
        self._received += got
        if self._headers_due is None and self._waited >= limits.floor_window_s and got:
            if self._received < limits.floor * limits.floor_window_s:
                raise TooSlow(f"slower than {limits.floor} bytes/s over {limits.floor_window_s:g} s")
            self._waited, self._received = 0.0, 0

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """A response whose every read is paced, and which can fill a caller's buffer."""

    limits = ConnectionLimits(Timeouts())

    def __init__(self, sock: socket.socket, *args: object, **kwargs: object) -> None:
        super().__init__(sock, *args, **kwargs)  # type: ignore[arg-type]
        raw = self.fp.detach()
        self._pace = _Pace(raw, sock, self.limits)
        self.fp = io.BufferedReader(self._pace, _BUFFER)

    def begin(self) -> None:
        """Read status and headers."""
        super().begin()
        self._pace.headers_done()

    def finished(self) -> bool:
        """True where nothing is left to read, so that the connection is fit for the next request."""
        bodiless = self._method == "HEAD" or (self.length == 0 and not self.chunked)  # type: ignore[attr-defined]
        if bodiless and not self.isclosed():
            self._close_conn()  # type: ignore[attr-defined]
        return self.isclosed()

    def _read_and_discard_trailer(self) -> None:
        """Read past what follows the last chunk. http.client's own has a limit for a line, none for their number."""
        left = _MOST_TRAILERS
        while (line := self.fp.readline(left + 1)) not in (b"\r\n", b"\n", b""):
            left -= len(line)
            if left < 0:
                raise http.client.LineTooLong("trailers")

    def receive(self, view: memoryview) -> int:
        """Fill a part of `view` with one read; 0 at the end, also at a premature one."""
        if self.isclosed():
            return 0
        if self.chunked:
            data = self.read1(len(view))
            view[: len(data)] = data
            return len(data)
        if self.length is not None:
            view = view[: self.length]
        got = self.fp.readinto1(view)
        if self.length is not None:
            self.length -= got
        if not got or self.length == 0:
            self._close_conn()  # type: ignore[attr-defined]
        return got


class _SecureConnection(TimedConnection, HTTPSConnection):
    """A connection whose TLS context decides about verification, once and without a word.

    urllib3 would write a warning to standard error for each request that the user's own
    `skip_verify` lets through.
    """

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _SecurePool(HTTPSConnectionPool):
    def _validate_conn(self, conn: Any) -> None:
        """Connect, and no more: an unverified connection is the user's decision, not a Python warning."""
        if conn.is_closed:
            conn.connect()


def pool_classes(limits: ConnectionLimits) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pool classes for http and https, with paced responses."""
    response = type("PacedResponse", (PacedResponse,), {"limits": limits})
    plain = type("PacedConnection", (TimedConnection,), {"response_class": response})
    secure = type("PacedConnection", (_SecureConnection,), {"response_class": response})
    return {
        "http": type("PacedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("PacedPool", (_SecurePool,), {"ConnectionCls": secure}),
    }
