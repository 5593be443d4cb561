"""One client: reads a request, sends the answer, reads the next; never waits."""

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
_RECEIVED = 16 << 10
_TOGETHER = 64 << 10  # a body up to this size leaves in one piece with its head
_SENT = 1 << 20
_STEPS = 32  # what one client may do before the others have their turn
_LINGER_BYTES = 1 << 20
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """What a connection is doing."""

    HANDSHAKE = auto()
    HEAD = auto()
    BODY = auto()
    SEND = auto()
    LINGER = auto()
    CLOSED = auto()


class Service(NamedTuple):
    """What connections share. `answer` gets None for what was no request, with the refusal."""

    limits: ServerLimits
    answer: Callable[[ServerRequest | None, RequestRefused | None], ServerResponse]
    clock: Callable[[], float]
    date: Callable[[], str]


class Connection:
    """A state machine over a channel. Call `advance` when the socket is ready for `interest`.

    `client` is whose it is, `since` when it began to wait for the client's next request: see `eviction`.
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
        self._answered = False
        self._buffer = bytearray()
        self._request: ServerRequest | None = None
        self._out = memoryview(b"")
        self._file: FileSlice | None = None
        self._moved = 0
        self._handed = 0  # bytes of the answer that the kernel has
        self._window_from = 0  # of them, those that had arrived when the window began
        self._samples = ((0.0, 0), (0.0, 0))  # time and bytes arrived: one of a moment ago, one of before
        self._turn_used = False
        self._close_after = False

    @property
    def waits(self) -> bool:
        """True while it is the client's turn: nothing is lost but patience if it ends here."""
        return self.phase is not Phase.SEND

    def advance(self) -> None:
        """Do what can be done now. At the end `interest` says what to wait for, or `phase` is CLOSED."""
        self._turn_used = False
        try:
            for _ in range(_STEPS):
                if self.phase is Phase.CLOSED:
                    return
                _STEP[self.phase](self)
            self.interest = EVENT_WRITE  # more can be done: a socket is nearly always ready for this
        except Blocked as blocked:
            self.interest = blocked.events
        except OSError:  # the client is gone, TLS failures included
            self.phase = Phase.CLOSED
        except Exception:  # a bug costs one connection, never the server
            _log.exception("a connection failed")
            self.phase = Phase.CLOSED

    def expired(self, now: float) -> bool:
        """True where the client used up its time. A body that moves fast enough gets more."""
        if now < self._deadline:
            return False
        if self.phase is not Phase.SEND:
            return True
        arrived = self._arrived()
        if arrived - self._window_from < self._limits.floor * self._limits.send_window_s:
            return True
        self._window_from = arrived
        self._deadline = now + self._limits.send_window_s
        return False

    def sample(self, now: float) -> None:
        """Note how much of an answer has arrived, for `rate`. To be called more often than the span."""
        if self.phase is Phase.SEND and now - self._samples[0][0] >= self._span_s:
            self._samples = ((now, self._arrived()), self._samples[0])

    def rate(self, now: float) -> float | None:
        """Bytes a second that arrive of an answer under way; None while there is nothing to go by.

        Averaged over one span to two: a fifth of a send window, because a client's kernel
        acknowledges what a slow reader takes in bursts.
        """
        then, before = self._samples[1]
        return (self._arrived() - before) / (now - then) if now - then >= self._span_s else None

    def _arrived(self) -> int:
        """Bytes of the answer that the client's kernel acknowledged: what ours buffers is no progress."""
        return self._handed - self._channel.unacknowledged()

    def close(self) -> None:
        """Close socket and file. Idempotent."""
        self.phase = Phase.CLOSED
        self._drop_file()
        self._channel.close()

    def _handshake(self) -> None:
        self._channel.handshake()
        self.phase = Phase.HEAD

    def _head(self) -> None:
        if self._turn_used and self._buffer:  # one request a turn, however many a client sends together
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
        data = self._channel.receive(_RECEIVED)
        if not data:
            self.phase = Phase.CLOSED
            return
        if self._answered and self.phase is Phase.HEAD:  # the first byte of the next request
            self._answered = False
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
            raise Blocked(EVENT_WRITE) from None  # the others have their turn
        del self._buffer[: request.content_length]
        response.close = response.close or not request.keep_alive
        self._respond(response)

    def _oversized(self, request: ServerRequest) -> ServerResponse:
        """The refusal of a body that nobody will read: an upload to a read-only registry, mostly."""
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
            if body.length <= _TOGETHER:
                data = os.pread(body.fd, body.length, body.offset)
                self._drop_file()
                head += data
                self._close_after |= len(data) < body.length  # cut: the client must not wait for the rest
        else:
            head += body
        self._out = memoryview(head)
        now = self._service.clock()
        self._handed = self._window_from = 0
        self._samples = ((now, 0), (now, 0))
        self._deadline = now + self._limits.send_window_s
        self.phase = Phase.SEND

    def _send(self) -> None:
        if self._out:
            sent = self._channel.send(self._out, more=self._file is not None)
            self._out = self._out[sent:]
        elif self._file is not None and self._file.length:
            fd, offset, length = self._file
            sent = self._channel.send_file(fd, offset, min(length, _SENT))
            if not sent:  # the file became shorter: end the connection, so that the client notices
                self.phase = Phase.CLOSED
                return
            self._file = FileSlice(fd, offset + sent, length - sent)
        else:
            self._finish()
            return
        self._handed += sent

    def _finish(self) -> None:
        self._drop_file()
        now = self._service.clock()
        if self._close_after:
            self._channel.end()
            self.phase = Phase.LINGER
            self._moved = 0
            self._deadline = now + self._limits.linger_s
            return
        self.phase = Phase.HEAD
        self.since = now
        # What came with the request before is the next one's first byte.
        self._answered = not self._buffer
        self._deadline = now + (self._limits.idle_s if self._answered else self._limits.head_s)

    def _linger(self) -> None:
        """Read on for a moment: closing with bytes unread would reset the answer away (RFC 9112 9.6)."""
        data = self._channel.receive(_RECEIVED)
        self._moved += len(data)
        if not data or self._moved > _LINGER_BYTES:
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
