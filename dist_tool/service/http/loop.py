"""Event loop over all sockets: one thread, a limited number of connections, no blocking calls.

With a thread per connection, 200 idle clients would hold 200 threads; here each holds a few
kilobytes until its time limit, or until a new client needs a connection. `eviction` chooses
the connection to close then.
"""

from __future__ import annotations

import resource
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM

from dist_tool.service.http.channel import Channel
from dist_tool.service.http.connection import Connection, Phase, Service
from dist_tool.service.http.eviction import choose, client_of

_ACCEPTS_PER_TURN = 64  # connections accepted before others are served
_RESERVED_FILES = 64
# Unsent bytes buffered in the kernel per connection: enough for a fast client, and small if 500 clients are slow.
_UNSENT = 256 << 10
_UNSENT_OPTION = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_FULL = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


class Loop:
    """Serves a listening socket until stopped. Closes all its connections and the listener."""

    def __init__(self, listener: socket.socket, service: Service, wrap: Callable[[socket.socket], Channel]) -> None:
        self._listener = listener
        self._service = service
        self._wrap = wrap
        self._capacity = _capacity(service.limits.connections)
        limits = service.limits
        self._tick_s = min(1.0, limits.head_s / 4, limits.idle_s / 4, limits.send_window_s / 10, limits.linger_s / 4)
        self._swept = service.clock()
        self._connections: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # ordered by the start of the wait
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._stopping = False
        self._accepting = False
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._listen()

    @property
    def connections(self) -> int:
        """Number of open connections. May be called from any thread."""
        return len(self._connections)

    def run(self) -> None:
        """Serve until `stop` is called, then close."""
        try:
            while not self._stopping:
                for key, _ in self._selector.select(self._tick_s if self._connections else None):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.data, Connection) and key.data in self._connections:
                        self._advance(key.data)
                self._sweep()
        finally:
            self.close()

    def stop(self) -> None:
        """Make `run` return soon. May be called from any thread and from a signal handler."""
        self._stopping = True
        with suppress(OSError):  # the buffer is full: a wake-up is pending; or the socket is closed: `run` has ended
            self._wake_writer.send(b"\0")

    def close(self) -> None:
        """Close all sockets. Idempotent. Must not be called during `run`."""
        for connection in list(self._connections):
            self._remove(connection)
        self._selector.close()
        for sock in (self._listener, self._wake_reader, self._wake_writer):
            sock.close()

    def _listen(self) -> None:
        if not self._accepting:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._accepting = True

    def _pause(self) -> None:
        if self._accepting:
            self._selector.unregister(self._listener)
            self._accepting = False

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            full = len(self._connections) >= self._capacity
            victim = self._victim() if full else None
            if full and victim is None:
                self._pause()  # no connection may be closed: new clients wait in the kernel's queue
                return
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL and not self._evict(victim or self._victim()):
                    self._pause()
                    return
                continue  # the client disconnected before it was accepted
            self._evict(victim)
            self._add(sock, client_of(address[0]))

    def _add(self, sock: socket.socket, client: str) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _UNSENT_OPTION is not None:
                sock.setsockopt(socket.IPPROTO_TCP, _UNSENT_OPTION, _UNSENT)
            connection = Connection(self._wrap(sock), self._service, client)
        except OSError:
            sock.close()
            return
        self._connections.add(connection)
        self._selector.register(connection.fileno, connection.interest, connection)
        self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        before = connection.interest
        connection.advance()
        if connection.phase is Phase.CLOSED:
            self._remove(connection)
            return
        if connection.interest != before:
            self._selector.modify(connection.fileno, connection.interest, connection)
        if not connection.waits:
            self._waiting.pop(connection, None)
        elif self._waiting.get(connection) != connection.since:
            self._waiting.pop(connection, None)
            self._waiting[connection] = connection.since

    def _remove(self, connection: Connection) -> None:
        self._selector.unregister(connection.fileno)
        self._connections.discard(connection)
        self._waiting.pop(connection, None)
        connection.close()
        if not self._stopping:
            self._listen()

    def _victim(self) -> Connection | None:
        return choose(self._connections, self._waiting, self._service.clock(), self._service.limits)

    def _evict(self, connection: Connection | None) -> bool:
        """Close a connection in favour of a new one; False for None."""
        if connection is None:
            return False
        self._remove(connection)
        return True

    def _sweep(self) -> None:
        now = self._service.clock()
        if now - self._swept < self._tick_s:
            return
        self._swept = now
        for connection in [each for each in self._connections if each.expired(now)]:
            self._remove(connection)
        for connection in self._connections:
            connection.sample(now)
        if not self._stopping:
            self._listen()


def _capacity(limit: int) -> int:
    """The maximum number of connections, `limit` or less: each may need two descriptors, a socket and a file."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limit
    return min(limit, max(8, (soft - _RESERVED_FILES) // 2))
