"""One client connection: a non-blocking state machine that reads requests and sends responses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from enum import Enum, auto
from selectors import EVENT_READ, EVENT_WRITE
from typing import NamedTuple

from dist_tool.errors import RegistryError
from dist_tool.service.http.channel import Blocked, Channel
from dist_tool.service.http.message import (
    FileSlice,
    RequestRefused,
    ServerRequest,
    ServerResponse,
    parse_head,
    split_head,
)
from dist_tool.service.http.referrers import Unfinished
from dist_tool.service.http.settings import ServerLimits

_log = logging.getLogger(__name__)
_RECEIVE_BYTES = 16 << 10
_JOIN_BYTES = 64 << 10  # a file up to this size is sent in one buffer with its head
_SEND_FILE_BYTES = 1 << 20
_STEPS = 32  # steps of one connection before others are served
_LINGER_BYTES = 1 << 20
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """State of a connection."""

    HANDSHAKE = auto()
    HEAD = auto()
    BODY = auto()
    SEND = auto()
    LINGER = auto()
    CLOSED = auto()


class Service(NamedTuple):
    """Limits and functions that all connections share.

    `answer` gets a request and None, or None and the error of the parser. It may raise Unfinished.
    """

    limits: ServerLimits
    answer: Callable[[ServerRequest | None, RequestRefused | None], ServerResponse]
    clock: Callable[[], float]
    date: Callable[[], str]


class Connection:
    """A state machine over a channel. Call `advance` when the socket is ready for `interest`.

    `client` identifies the client, `since` is the time from which it waits for the next request: see `eviction`.
    """

    def __init__(self, channel: Channel, service: Service, client: str = "") -> None:
        self._channel = channel
        self.client = client
        self.fileno = channel.fileno
        self._service = service
        self._limits = service.limits
        self._span_s = self._limits.send_window_s / 5
        self.phase = Phase.HANDSHAKE
        self.interest = EVENT_READ
        self.since = service.clock()
        self._deadline = self.since + self._limits.head_s
        self._idle = False  # a request was answered, and no byte of the next one has arrived
        self._buffer = bytearray()
        self._request: ServerRequest | None = None
        self._out = memoryview(b"")
        self._file: FileSlice | None = None
        self._lingered = 0  # bytes discarded in LINGER
        self._sent = 0  # bytes of the response that were passed to the kernel
        self._window_start = 0  # bytes of the response that had arrived at the start of the send window
        self._samples = ((0.0, 0), (0.0, 0))  # (time, bytes arrived): the latest sample, and the one before
        self._turn_used = False
        self._close_after = False

    @property
    def waits(self) -> bool:
        """True while no response is being sent: the connection may be closed without cutting one."""
        return self.phase is not Phase.SEND

    def advance(self) -> None:
        """Run until the socket would block. Sets `interest` to the events to wait for, or `phase` to CLOSED."""
        self._turn_used = False
        try:
            for _ in range(_STEPS):
                if self.phase is Phase.CLOSED:
                    return
                _STEP[self.phase](self)
            self.interest = EVENT_WRITE  # more steps are possible now: a socket is nearly always writable
        except Blocked as blocked:
            self.interest = blocked.events
        except OSError:  # the client disconnected, or TLS failed
            self.phase = Phase.CLOSED
        except Exception:  # a bug must close one connection only, not stop the server
            _log.exception("a connection failed")
            self.phase = Phase.CLOSED

    def expired(self, now: float) -> bool:
        """True if the client exceeded its time limit. A response that is sent fast enough gets more time."""
        if now < self._deadline:
            return False
        if self.phase is not Phase.SEND:
            return True
        arrived = self._arrived()
        if arrived - self._window_start < self._limits.floor * self._limits.send_window_s:
            return True
        self._window_start = arrived
        self._deadline = now + self._limits.send_window_s
        return False

    def sample(self, now: float) -> None:
        """Record how much of the response has arrived, for `rate`. Call it more often than once per span."""
        if self.phase is Phase.SEND and now - self._samples[0][0] >= self._span_s:
            self._samples = ((now, self._arrived()), self._samples[0])

    def rate(self, now: float) -> float | None:
        """Bytes per second of the response that arrive; None until there is a sample.

        Averaged over one to two spans. A span is a fifth of the send window, because the kernel of a
        slow reader acknowledges in bursts.
        """
        then, before = self._samples[1]
        return (self._arrived() - before) / (now - then) if now - then >= self._span_s else None

    def _arrived(self) -> int:
        """Bytes of the response that the client's kernel has acknowledged; data in our send buffer is no progress."""
        return self._sent - self._channel.unacknowledged()

    def close(self) -> None:
        """Close the socket and the file. Idempotent."""
        self.phase = Phase.CLOSED
        self._drop_file()
        self._channel.close()

    def _handshake(self) -> None:
        self._channel.handshake()
        self.phase = Phase.HEAD

    def _head(self) -> None:
        if self._turn_used and self._buffer:  # one request per turn, even if the client sends several at once
            raise Blocked(EVENT_WRITE)
        try:
            head = split_head(self._buffer, self._limits)
            if head is None:
                self._receive()
                return
            self._begin_body(parse_head(head, self._limits))
        except RequestRefused as refused:
            self._respond(self._service.answer(None, refused))

    def _receive(self) -> None:
        data = self._channel.receive(_RECEIVE_BYTES)
        if not data:
            self.phase = Phase.CLOSED
            return
        if self._idle and self.phase is Phase.HEAD:  # the first byte of the next request
            self._idle = False
            self._deadline = self._service.clock() + self._limits.head_s
        self._buffer += data

    def _begin_body(self, request: ServerRequest) -> None:
        self._request = request
        if request.content_length > self._limits.body_bytes:
            self._respond(self._oversized(request))
            return
        if request.content_length > len(self._buffer) and request.expects_continue:
            self._channel.send(memoryview(_CONTINUE))
        self.phase = Phase.BODY
        self._deadline = self._service.clock() + self._limits.head_s

    def _body(self) -> None:
        request = self._request
        assert request is not None
        if len(self._buffer) < request.content_length:
            self._receive()
            return
        body = bytes(self._buffer[: request.content_length])
        try:
            response = self._service.answer(request._replace(body=body), None)
        except Unfinished:
            raise Blocked(EVENT_WRITE) from None  # serve the other connections first
        del self._buffer[: request.content_length]
        response.close = response.close or not request.keep_alive
        self._respond(response)

    def _oversized(self, request: ServerRequest) -> ServerResponse:
        """The error for a body that will not be read, usually that of an upload."""
        if request.method in ("GET", "HEAD") or request.segments == ("token",):
            error = RegistryError("SIZE_INVALID", "the body is too large")
            return self._service.answer(None, RequestRefused(413, error, close=True))
        response = self._service.answer(request, None)
        response.close = True
        return response

    def _respond(self, response: ServerResponse) -> None:
        self._request = None
        self._turn_used = True
        self._close_after = response.close
        head = response.head(self._service.date())
        body = response.body
        if isinstance(body, FileSlice):
            self._file = body
            if body.length <= _JOIN_BYTES:
                data = os.pread(body.fd, body.length, body.offset)
                self._drop_file()
                head += data
                self._close_after |= len(data) < body.length  # truncated: close, so that the client notices
        else:
            head += body
        self._out = memoryview(head)
        now = self._service.clock()
        self._sent = self._window_start = 0
        self._samples = ((now, 0), (now, 0))
        self._deadline = now + self._limits.send_window_s
        self.phase = Phase.SEND

    def _send(self) -> None:
        if self._out:
            sent = self._channel.send(self._out, more=self._file is not None)
            self._out = self._out[sent:]
        elif self._file is not None and self._file.length:
            fd, offset, length = self._file
            sent = self._channel.send_file(fd, offset, min(length, _SEND_FILE_BYTES))
            if not sent:  # the file was truncated: close, so that the client notices
                self.phase = Phase.CLOSED
                return
            self._file = FileSlice(fd, offset + sent, length - sent)
        else:
            self._finish()
            return
        self._sent += sent

    def _finish(self) -> None:
        self._drop_file()
        now = self._service.clock()
        if self._close_after:
            self._channel.end()
            self.phase = Phase.LINGER
            self._lingered = 0
            self._deadline = now + self._limits.linger_s
            return
        self.phase = Phase.HEAD
        self.since = now
        # Bytes left in the buffer are the start of the next request.
        self._idle = not self._buffer
        self._deadline = now + (self._limits.idle_s if self._idle else self._limits.head_s)

    def _linger(self) -> None:
        """Discard input for a moment: a close with unread bytes would reset the connection (RFC 9112 9.6)."""
        data = self._channel.receive(_RECEIVE_BYTES)
        self._lingered += len(data)
        if not data or self._lingered > _LINGER_BYTES:
            self.phase = Phase.CLOSED

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


_STEP: dict[Phase, Callable[[Connection], None]] = {
    Phase.HANDSHAKE: Connection._handshake,
    Phase.HEAD: Connection._head,
    Phase.BODY: Connection._body,
    Phase.SEND: Connection._send,
    Phase.LINGER: Connection._linger,
}
