"""TCP connect with one time limit for the name lookup and all addresses.

urllib3 allows the full limit for each address, and does not limit the lookup. The owner of the
name controls how many addresses it has.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from dist_tool.run import NO_RUN, Run
from dist_tool.threads import start_thread

if TYPE_CHECKING:
    from threading import Thread

_LEAST_S = 0.25  # most reachable addresses accept a connection within this time

Option = tuple[int, int, int | bytes]


def connect(host: str, port: int, allowed_s: float, options: Sequence[Option] = (), run: Run = NO_RUN) -> socket.socket:
    """Connect to the first address that accepts. The socket's timeout is set to the remaining time.

    Each address gets an equal share of the remaining time, but at least a quarter of a second.
    Raises TimeoutError after `allowed_s` seconds, socket.gaierror for a name without addresses,
    LocationParseError for an invalid name, otherwise the last address's OSError; Cancelled and
    DeadlineExceeded at the end of the `run`.
    """
    due = time.monotonic() + allowed_s
    addresses = _addresses(host, port, allowed_s, run)
    last: OSError = TimeoutError(f"{host}: timed out")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        left = due - time.monotonic()
        if left <= 0:
            raise last
        try:
            share = _share(left, len(addresses) - number)
            sock = _connected(family, kind, protocol, address, share, options, run)
        except OSError as error:
            last = error
        else:
            sock.settimeout(max(due - time.monotonic(), 0.001))
            return sock
    raise last


def _share(left: float, waiting: int) -> float:
    return min(left, max(left / waiting, _LEAST_S))


def _connected(
    family: int, kind: int, protocol: int, address: Any, allowed_s: float, options: Sequence[Option], run: Run
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        for option in options:
            sock.setsockopt(*option)
        sock.setblocking(False)
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:
            number = _wait_until_connected(sock, allowed_s, run)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


def _wait_until_connected(sock: socket.socket, allowed_s: float, run: Run) -> int:
    """Wait for a pending connect. Returns its error number, 0 for success. Raises TimeoutError."""
    due = time.monotonic() + allowed_s
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while (left := due - time.monotonic()) > 0:
        if poll.poll(run.slice(left) * 1000):
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    raise TimeoutError("timed out")


def _addresses(host: str, port: int, allowed_s: float, run: Run) -> list[Any]:
    host = host.strip("[]")
    try:
        host.encode("idna")
    except UnicodeError:
        raise LocationParseError(f"{host!r}, label empty or too long") from None
    lookup = _Lookup(host, port)
    if host.replace(".", "").isdigit() or ":" in host or not lookup.start():
        lookup.run()
    return lookup.result(allowed_s, run)


class _Lookup:
    """Name lookup in a separate thread: getaddrinfo has no time limit, and a signal does not end it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._thread: Thread | None = None
        self._found: list[Any] = []
        self._error: BaseException | None = None

    def start(self) -> bool:
        """Start the lookup in a thread; False if no thread can be started."""
        self._thread = start_thread(self.run, name="dist-lookup")
        return self._thread is not None

    def run(self) -> None:
        try:
            self._found = socket.getaddrinfo(*self._target, allowed_gai_family(), socket.SOCK_STREAM)
        except Exception as error:
            self._error = error

    def result(self, allowed_s: float, run: Run) -> list[Any]:
        if self._thread is not None:
            due = time.monotonic() + allowed_s
            while self._thread.is_alive() and (left := due - time.monotonic()) > 0:
                self._thread.join(run.slice(left))
            if self._thread.is_alive():
                raise TimeoutError(f"{self._target[0]}: name lookup timed out")
        if self._error is not None:
            raise self._error
        return self._found


class TimedConnection(HTTPConnection):
    """A connection whose `timeout` limits the lookup, all addresses and the TLS handshake together.

    Connecting ends with the `run`.
    """

    run: Run = NO_RUN

    def _new_conn(self) -> socket.socket:
        """Connect, or raise one of urllib3's exceptions, as its own connections do."""
        assert isinstance(self.timeout, int | float)
        options = self.socket_options or ()
        try:
            sock = connect(self._dns_host, self.port, self.timeout, options, self.run)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock
