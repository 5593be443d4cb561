"""Non-blocking client sockets, plain or TLS."""

from __future__ import annotations

import os
import socket
from errno import EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket

_COPY_BYTES = 64 << 10  # bytes per read if `sendfile` cannot be used
_NO_SENDFILE = frozenset({EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP})
_MORE = getattr(socket, "MSG_MORE", 0)
_HTTPS_REQUIRED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 27\r\nConnection: close\r\n\r\n"
    b"this server requires https\n"
)


class Blocked(Exception):
    """The operation would block: repeat it when the socket is ready for `events`."""

    def __init__(self, events: int) -> None:
        super().__init__(events)
        self.events = events


class Channel(Protocol):
    """A non-blocking byte stream. Methods raise Blocked instead of waiting, and OSError if the client disconnected."""

    fileno: int

    def handshake(self) -> None:
        """Perform the TLS handshake, if any."""

    def receive(self, size: int) -> bytes:
        """Receive up to `size` bytes; b"" at the end."""

    def send(self, data: memoryview, *, more: bool = False) -> int:
        """Send part of `data`; returns the number of bytes. `more`: another `send` follows immediately."""

    def send_file(self, fd: int, offset: int, size: int) -> int:
        """Send part of a file; returns the number of bytes, 0 at its end."""

    def unacknowledged(self) -> int:
        """Bytes that were sent and not yet acknowledged."""

    def end(self) -> None:
        """Shut down the sending direction."""

    def close(self) -> None:
        """Close the socket."""


def _queued(fileno: int) -> int:
    """Bytes in a socket's send queue; 0 if the system does not report them."""
    import termios
    from array import array
    from fcntl import ioctl

    number = array("i", [0])
    try:
        ioctl(fileno, termios.TIOCOUTQ, number)  # the portable name of SIOCOUTQ
    except OSError:
        return 0
    return max(number[0], 0)


class _SocketChannel:
    """The part of a channel that is the same with and without TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.fileno = sock.fileno()

    def unacknowledged(self) -> int:
        """See Channel."""
        return _queued(self.fileno)

    def end(self) -> None:
        """See Channel."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See Channel."""
        self._sock.close()


class PlainChannel(_SocketChannel):
    """TCP. Files are sent with `sendfile`, from the page cache without a copy through this process."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._copies = False

    def handshake(self) -> None:
        """Do nothing: there is no TLS."""

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
                self._copies = True  # some file systems do not support `sendfile`
        data = os.pread(fd, min(size, _COPY_BYTES), offset)
        return self.send(memoryview(data)) if data else 0


class TlsChannel(_SocketChannel):
    """TLS over TCP. A receive may have to wait until the socket is writable, and a send until it is readable."""

    def __init__(self, sock: socket.socket, context: SSLContext) -> None:
        super().__init__(context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False))
        self._sock: SSLSocket
        from ssl import SSLError, SSLWantReadError, SSLWantWriteError, SSLZeroReturnError

        self._failure = SSLError
        self._waits = ((SSLWantReadError, EVENT_READ), (SSLWantWriteError, EVENT_WRITE))
        self._wait_errors = (SSLWantReadError, SSLWantWriteError)
        self._ended = SSLZeroReturnError
        # After SSLWantWriteError the same bytes must be sent again: hold the block of a file until it is sent.
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
            self._block = memoryview(os.pread(fd, min(size, _COPY_BYTES), offset))
        if not self._block:
            return 0
        sent = self.send(self._block)
        self._block = self._block[sent:]
        return sent

    def _refuse_plain_http(self) -> None:
        """Answer a plain HTTP request with an error. Some clients then retry with TLS."""
        socket.socket.send(self._sock, _HTTPS_REQUIRED)
        socket.socket.recv(self._sock, _COPY_BYTES)  # a close with unread bytes would reset the connection

    def _blocked(self, error: OSError) -> Blocked:
        return Blocked(next(events for kind, events in self._waits if isinstance(error, kind)))
