"""The loop over all sockets: one thread, a bounded number of connections, no waiting for anybody.

A thread for each connection would let 200 clients that send nothing hold 200 threads; here they
hold a few kilobytes each until their time is over, or until somebody needs the place. Who loses
its place then is decided in `eviction`.
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

_AT_ONCE = 64  # connections accepted before others have their turn
_FILES_OF_OTHERS = 64
# Unsent bytes that the kernel buffers for a connection: enough to keep a fast one busy, little for 500 slow ones.
_UNSENT = 256 << 10
_UNSENT_OPTION = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_FULL = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


class Loop:
    """Serves a listening socket until stopped. Closes whatever it opened, the listener included."""

    def __init__(self, listener: socket.socket, service: Service, wrap: Callable[[socket.socket], Channel]) -> None:
        self._listener = listener
        self._service = service
        self._wrap = wrap
        self._capacity = _capacity(service.limits.connections)
        limits = service.limits
        self._tick_s = min(1.0, limits.head_s / 4, limits.idle_s / 4, limits.send_window_s / 10, limits.linger_s / 4)
        self._swept = service.clock()
        self._connections: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # in the order in which they began to wait
        self._selector = selectors.DefaultSelector()
        self._bell, self._pull = socket.socketpair()
        self._pull.setblocking(False)
        self._stopping = False
        self._accepting = False
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._listen()

    @property
    def connections(self) -> int:
        """How many are open. From any thread."""
        return len(self._connections)

    def run(self) -> None:
        """Serve until `stop`, then close."""
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
        """End `run` soon. From any thread, and from a signal handler."""
        self._stopping = True
        with suppress(OSError):  # full: it rings already; closed: it is over
            self._pull.send(b"\0")

    def close(self) -> None:
        """Close everything. Idempotent; not while `run` runs."""
        for connection in list(self._connections):
            self._remove(connection)
        self._selector.close()
        for sock in (self._listener, self._bell, self._pull):
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
        for _ in range(_AT_ONCE):
            full = len(self._connections) >= self._capacity
            victim = self._victim() if full else None
            if full and victim is None:
                self._pause()  # all are being served well: who comes now waits in the kernel's queue
                return
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL and not self._evict(victim or self._victim()):
                    self._pause()
                    return
                continue  # a client that was gone before it was accepted
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
        """End a connection to make room; False if there is none to end."""
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


def _capacity(wanted: int) -> int:
    """Connections that fit: each may hold a socket and a file."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(8, (soft - _FILES_OF_OTHERS) // 2))
