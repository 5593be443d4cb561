"""One client's socket, plain or TLS, that never blocks."""

from __future__ import annotations

import os
import socket
from errno import EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket

_COPIED = 64 << 10  # bytes read at a time where the kernel cannot send a file itself
_NO_SENDFILE = frozenset({EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP})
_MORE = getattr(socket, "MSG_MORE", 0)
_NO_TLS_SPOKEN = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nConnection: close\r\n\r\n"
    b"this server wants https\n"
)


class Blocked(Exception):
    """Nothing can be done until the socket is ready for `events`."""

    def __init__(self, events: int) -> None:
        super().__init__(events)
        self.events = events


class Channel(Protocol):
    """Moves bytes. Every method raises Blocked rather than wait, and OSError when the client is gone."""

    fileno: int

    def handshake(self) -> None:
        """Agree on keys, where there are any."""

    def receive(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""

    def send(self, data: memoryview, *, more: bool = False) -> int:
        """Send a part; `more` follows at once."""

    def send_file(self, fd: int, offset: int, size: int) -> int:
        """Send a part of a file; 0 at its end."""

    def unacknowledged(self) -> int:
        """Bytes that were sent, and are not known to have arrived."""

    def end(self) -> None:
        """Say that nothing more will be sent."""

    def close(self) -> None:
        """Let go."""


def _queued(fileno: int) -> int:
    """Bytes in a socket's send queue; 0 if the system does not give their number."""
    import termios
    from array import array
    from fcntl import ioctl

    number = array("i", [0])
    try:
        ioctl(fileno, termios.TIOCOUTQ, number)  # SIOCOUTQ, by its portable name
    except OSError:
        return 0
    return max(number[0], 0)


class PlainChannel:
    """TCP. Files go from the page cache to the socket without passing through us."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.fileno = sock.fileno()
        self._copies = False

    def handshake(self) -> None:
        """Nothing to agree on."""

    def receive(self, size: int) -> bytes:
        """See Channel."""
        try:
            return self._sock.recv(size)
        except BlockingIOError:
            raise Blocked(EVENT_READ) from None

    def send(self, data: memoryview, *, more: bool = False) -> int:
        """See Channel."""
        try:
            return self._sock.send(data, _MORE if more else 0)
        except BlockingIOError:
            raise Blocked(EVENT_WRITE) from None

    def send_file(self, fd: int, offset: int, size: int) -> int:
        """See Channel."""
        if not self._copies:
            try:
                return os.sendfile(self._sock.fileno(), fd, offset, size)
            except BlockingIOError:
                raise Blocked(EVENT_WRITE) from None
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                self._copies = True  # some file systems cannot
        data = os.pread(fd, min(size, _COPIED), offset)
        return self.send(memoryview(data)) if data else 0

    def unacknowledged(self) -> int:
        """See Channel."""
        return _queued(self.fileno)

    def end(self) -> None:
        """See Channel."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See Channel."""
        self._sock.close()


class TlsChannel:
    """TLS over TCP. Either direction may have to wait for the other."""

    def __init__(self, sock: socket.socket, context: SSLContext) -> None:
        self._sock: SSLSocket = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self.fileno = self._sock.fileno()
        from ssl import SSLError, SSLWantReadError, SSLWantWriteError, SSLZeroReturnError

        self._failure = SSLError
        self._waits = ((SSLWantReadError, EVENT_READ), (SSLWantWriteError, EVENT_WRITE))
        self._wait_errors = (SSLWantReadError, SSLWantWriteError)
        self._ended = SSLZeroReturnError
        # After WantWrite the same bytes must be offered again: a block of a file is kept until it went out.
        self._block = memoryview(b"")

    def handshake(self) -> None:
        """See Channel."""
        try:
            self._sock.do_handshake()
        except self._wait_errors as error:
            raise self._blocked(error) from None
        except self._failure as error:
            if error.reason == "HTTP_REQUEST":
                self._refuse_plain_http()
            raise

    def receive(self, size: int) -> bytes:
        """See Channel."""
        try:
            return self._sock.recv(size)
        except self._wait_errors as error:
            raise self._blocked(error) from None
        except self._ended:
            return b""

    def send(self, data: memoryview, *, more: bool = False) -> int:
        """See Channel."""
        del more
        try:
            return self._sock.send(data)
        except self._wait_errors as error:
            raise self._blocked(error) from None

    def send_file(self, fd: int, offset: int, size: int) -> int:
        """See Channel."""
        if not self._block:
            self._block = memoryview(os.pread(fd, min(size, _COPIED), offset))
        if not self._block:
            return 0
        sent = self.send(self._block)
        self._block = self._block[sent:]
        return sent

    def unacknowledged(self) -> int:
        """See Channel."""
        return _queued(self.fileno)

    def end(self) -> None:
        """See Channel."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See Channel."""
        self._sock.close()

    def _refuse_plain_http(self) -> None:
        """Tell a client that speaks plain http what is wanted. Some then try again with TLS."""
        socket.socket.send(self._sock, _NO_TLS_SPOKEN)
        socket.socket.recv(self._sock, _COPIED)  # what is left unread at the end resets the connection, answer and all

    def _blocked(self, error: OSError) -> Blocked:
        return Blocked(next(events for kind, events in self._waits if isinstance(error, kind)))
