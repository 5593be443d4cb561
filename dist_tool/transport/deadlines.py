"""Time limits of connections: header deadline, idle timeout, minimum transfer rate, overall deadline.

The timeout of requests is only an idle timeout: a server that sends a byte a second, or endless
`100 Continue` responses, would never exceed it. The limits are enforced on each read from the
socket, below all buffering.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dist_tool.errors import TIME_IS_OVER
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import Timeouts
from dist_tool.stream.retry import stall_left, stall_limit
from dist_tool.transport.connecting import TimedConnection
from dist_tool.transport.framing import MalformedResponse, framing_of, parse_chunk_line, parse_fields, parse_status_line

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

    _Connection = HTTPConnection
    _ConnectionPool = HTTPConnectionPool
else:  # mixed into the classes for http and for https
    _Connection = _ConnectionPool = object

_BUFFER = 64 << 10
_LONGEST_HEAD = 256 << 10  # bytes of status line and header fields, including those of interim responses
_LONGEST_CHUNK_LINE = 4096
_MOST_TRAILERS = 64 << 10  # bytes in total
_MOST_OVERHEAD = 16 << 10  # bytes of chunk lines beyond 16 per chunk and twice its size; Go has the same limit


class TooSlow(TimeoutError):
    """A configured time limit was exceeded. `final`: it was the deadline of the whole operation."""

    def __init__(self, what: str, *, final: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.final = final


class ConnectionLimits(NamedTuple):
    """The time limits of one adapter's connections, and the operation that uses them."""

    timeouts: Timeouts
    run: Run = NO_RUN


class _TimedReader(io.RawIOBase):
    """Raw reader of a socket that limits the time of each read."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, limits: ConnectionLimits) -> None:
        self._raw = raw
        self._sock = sock
        self._limits = limits
        self._headers_due: float | None = time.monotonic() + limits.timeouts.headers_s
        self._waited = 0.0
        self._received = 0
        self._stopped = False

    def leftovers(self, reader: io.BufferedReader) -> bool:
        """True if more bytes have arrived than were read through `reader`. Disables further reads."""
        self._stopped = True
        decrypted = getattr(self._sock, "pending", None)
        return bool(reader.peek(1)) or bool(decrypted and decrypted())

    def exclude(self, count: int) -> None:
        """Exclude `count` bytes of framing from the measured transfer rate."""
        self._received -= count

    def headers_done(self) -> None:
        """Switch from the header deadline to the limits for the body."""
        self._headers_due = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        if self._stopped:
            return None  # as a non-blocking socket without data
        started = time.monotonic()
        allowed, reason = self._allowance(started)
        got = self._receive(buffer, started + allowed, reason)
        self._account(got, time.monotonic() - started)
        return got

    def _receive(self, buffer: memoryview, due: float, reason: TooSlow) -> int:
        """Read, waiting in short intervals. Raises `reason` at `due`, Cancelled if the run is cancelled.

        Reads from the socket itself, as `socket.SocketIO` cannot be read after a timeout.
        """
        while (left := due - time.monotonic()) > 0:
            self._sock.settimeout(max(self._limits.run.slice(left), 0.001))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError as error:
                if error.errno is not None:  # ETIMEDOUT from the system: the connection is dead, a read would return 0
                    raise reason from error
        raise reason

    def _allowance(self, now: float) -> tuple[float, TooSlow]:
        limits = self._limits.timeouts
        choices = [(limits.idle_s, TooSlow(f"no data received for {limits.idle_s:g} s"))]
        if self._headers_due is not None:
            choices.append((self._headers_due - now, TooSlow(f"no response within {limits.headers_s:g} s")))
        run = self._limits.run
        if run.deadline is not None:
            choices.append((run.deadline - run.clock(), TooSlow(TIME_IS_OVER, final=True)))
        stall = stall_left()
        if stall is not None:
            choices.append((stall, TooSlow(f"no progress for {stall_limit():g} s")))
        allowed, reason = min(choices, key=lambda choice: choice[0])
        if allowed <= 0:
            raise reason
        return allowed, reason

    def _account(self, got: int, waited: float) -> None:
        """Check the minimum rate. Only waiting time counts: a slow consumer of the data is not the server's fault."""
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


class TimedResponse(http.client.HTTPResponse):
    """A response with time limits on each read and strict framing, which can read into a caller's buffer."""

    limits = ConnectionLimits(Timeouts())
    fp: io.BufferedReader
    _complete = False
    _leftovers = False
    _overhead = 0
    _head_left = _LONGEST_HEAD

    def __init__(self, sock: socket.socket, *args: object, **kwargs: object) -> None:
        super().__init__(sock, *args, **kwargs)  # type: ignore[arg-type]
        raw = self.fp.detach()
        self._reader = _TimedReader(raw, sock, self.limits)
        self.fp = io.BufferedReader(self._reader, _BUFFER)

    def begin(self, *_: object, **__: object) -> None:
        """Read status and headers of the final response; interim responses are skipped (RFC 9110 15.2)."""
        if cast(Any, self.headers) is not None:
            return
        self._head_left = _LONGEST_HEAD
        while (status := parse_status_line(self._read_start())).status < 200:
            if status.status == 101:
                raise MalformedResponse("unexpected status 101 (Switching Protocols)")
            parse_fields(self._read_lines())
        fields = parse_fields(self._read_lines())
        framing = framing_of(self._method, status, fields)  # type: ignore[attr-defined]
        self.version, self.status, self.reason = status
        self.code = status.status
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in fields:
            self.headers[name] = value
        self.chunked, self.length, persistent = framing
        self.chunk_left = None
        self.will_close = not persistent
        self._reader.headers_done()

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of a proxy's response to CONNECT, which http.client reads by this method."""
        self._head_left = _LONGEST_HEAD
        status = parse_status_line(self._read_start())
        return f"HTTP/1.{status.version - 10}", status.status, status.reason

    def _read_start(self) -> bytes:
        start = self.fp.peek(1)[:1]
        if not start:
            raise RemoteDisconnected("closed the connection without a response")
        if start != b"H":  # TLS, or the rest of an earlier response: a line end may never follow
            raise BadStatusLine(start.hex())
        return self._read_line()

    def _read_lines(self) -> list[bytes]:
        lines = []
        while (line := self._read_line()) not in (b"\r\n", b"\n"):
            if not line.endswith(b"\n"):
                raise IncompleteRead(line)
            lines.append(line)
        return lines

    def _read_line(self) -> bytes:
        line = self.fp.readline(self._head_left + 1)
        self._head_left -= len(line)
        if self._head_left < 0:
            raise MalformedResponse(f"more than {_LONGEST_HEAD} bytes of headers")
        return line

    @property
    def finished(self) -> bool:
        """True if the body has been read to its declared end."""
        if self.length == 0 and not self.chunked and not self.isclosed():
            self._finish()
        return self._complete

    @property
    def reusable(self) -> bool:
        """True if the connection may carry another request: the body is complete and no bytes follow it."""
        return self.finished and not self._leftovers and not self.will_close

    def _finish(self) -> None:
        self._complete = True
        self._leftovers = self._leftovers or self._reader.leftovers(self.fp)
        self._close_conn()  # type: ignore[attr-defined]

    def _get_chunk_left(self) -> int | None:
        """Remaining bytes of this chunk, or of the next one; None after the last.

        Raises MalformedResponse for a malformed chunk, IncompleteRead for a truncated one.
        """
        if self.chunk_left == 0 and (end := self.fp.read(2)) != b"\r\n":
            raise MalformedResponse("missing line end after a chunk") if len(end) == 2 else IncompleteRead(b"")
        if not self.chunk_left:
            self.chunk_left = self._read_next_chunk_size() or None
            if self.chunk_left is None:
                self._read_and_discard_trailer()
                self._finish()
        return self.chunk_left

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(_LONGEST_CHUNK_LINE + 1)
        if not line.endswith(b"\n") and len(line) <= _LONGEST_CHUNK_LINE:
            raise IncompleteRead(b"")
        size = parse_chunk_line(line)
        self._reader.exclude(len(line) + 2)
        self._overhead = max(0, self._overhead + len(line) + 2 - 16 - 2 * size)
        if self._overhead > _MOST_OVERHEAD:
            raise MalformedResponse("too much overhead in chunk lines")
        return size

    def _read_and_discard_trailer(self) -> None:
        """Skip the trailer section after the last chunk.

        If it ends without a blank line, the body is valid, but the connection is not used again.
        """
        left = _MOST_TRAILERS
        while (line := self.fp.readline(left + 1)) not in (b"\r\n", b"\n"):
            left -= len(line)
            if left < 0:
                raise MalformedResponse(f"more than {_MOST_TRAILERS} bytes of trailers")
            if not line:
                self._leftovers = True
                return
            parse_fields([line])

    def receive(self, view: memoryview) -> int:
        """Read once into a part of `view`. Returns 0 at the end, also at a premature end unless chunked."""
        if self.isclosed():
            return 0
        left = self._get_chunk_left() if self.chunked else self.length
        if self.chunked and left is None:
            return 0
        got = self.fp.readinto1(view if left is None else view[:left])
        if self.chunked:
            if not got:
                raise IncompleteRead(b"")
            self.chunk_left = cast(int, left) - got
            return got
        if left is not None:
            self.length = left - got
        if self.length == 0:
            self._finish()
        elif not got:
            self._close_conn()  # type: ignore[attr-defined]
        return got


class _CountingConnection(_Connection):
    """A connection that counts the responses received since it was established."""

    responses = 0

    def connect(self) -> None:
        self.responses = 0
        super().connect()

    def getresponse(self) -> Any:
        response = super().getresponse()
        self.responses += 1
        return response


class _PlainConnection(_CountingConnection, TimedConnection):
    pass


class _SecureConnection(_CountingConnection, TimedConnection, HTTPSConnection):
    """A connection whose TLS context alone determines certificate verification.

    urllib3 would write a warning to standard error for each request with `skip_verify`, which
    the user has set.
    """

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _ExactPool(_ConnectionPool):
    """A pool that sends the request target unchanged, and retries if a reused connection returns invalid HTTP.

    Such bytes belong to the response to an earlier request, sent too late by the server: one
    retry on a new connection is safe and likely to succeed.
    """

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        kwargs["target"] = url
        return super().urlopen(method, url, *args, **kwargs)

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        target = kwargs.pop("target", url)
        reused = conn.responses > 0 and not conn.is_closed
        try:
            return super()._make_request(conn, method, target, *args, **kwargs)
        except RemoteDisconnected:
            raise
        except (BadStatusLine, MalformedResponse):
            if not reused or method not in ("GET", "HEAD"):
                raise
        conn.close()
        if self.proxy is not None and self.scheme == "https":
            self._prepare_proxy(conn)
        return super()._make_request(conn, method, target, *args, **kwargs)


class _PlainPool(_ExactPool, HTTPConnectionPool):
    pass


class _SecurePool(_ExactPool, HTTPSConnectionPool):
    def _validate_conn(self, conn: Any) -> None:
        """Only connect: urllib3 would also warn about an unverified connection, which the user has allowed."""
        if conn.is_closed:
            conn.connect()


def pool_classes(limits: ConnectionLimits) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pool classes for http and https, with time-limited responses."""
    response = type("TimedResponse", (TimedResponse,), {"limits": limits})
    plain = type("TimedConnection", (_PlainConnection,), {"response_class": response, "run": limits.run})
    secure = type("TimedConnection", (_SecureConnection,), {"response_class": response, "run": limits.run})
    return {
        "http": type("TimedPool", (_PlainPool,), {"ConnectionCls": plain}),
        "https": type("TimedPool", (_SecurePool,), {"ConnectionCls": secure}),
    }
