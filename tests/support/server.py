"""A scripted HTTP server on real sockets, for what no mock can do: cuts, resets, silence.

A script says what each request gets. A request that is not in the script, and a step that was
never used, fail the test when the server is closed. Nothing here knows HTTP better than the
script does: a step may write any bytes it likes. `faults` has the steps.

Requests in absolute form (`GET http://registry.test/v2/`) are looked up as such, so that the same
server is an HTTP proxy too.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple, cast
from urllib.parse import parse_qs, unquote

import pytest

_LONGEST_HEAD = 1 << 16
_JOIN_S = 10


class Request(NamedTuple):
    """One request as it came. `connection` counts connections; `certificate` is the client's common name."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    certificate: str = ""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.target.partition("?")[2])

    def header(self, name: str) -> str:
        """All values of a header, joined by ", "; "" where there is none."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def first_byte(self) -> int | None:
        """Where the Range that was asked for begins."""
        unit, _, range_ = self.header("range").partition("=")
        return int(range_.partition("-")[0]) if unit == "bytes" else None

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


class Exchange:
    """One request, and the connection to answer it on."""

    def __init__(self, server: FaultServer, connection: socket.socket, request: Request) -> None:
        self.server = server
        self.request = request
        self._connection = connection
        self.open = True

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def head(self, status: str, headers: Iterable[tuple[str, object]] = (), *, version: str = "HTTP/1.1") -> None:
        """Send a status line and headers."""
        lines = [f"{version} {status}", *(f"{name}: {value}" for name, value in headers)]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def body(self, data: bytes) -> None:
        """Send a part of a body, and count it."""
        self.send(data)
        self.server.count_body(len(data))

    def pour(self, piece: bytes, *, most: int = 64 << 20) -> None:
        """Send `piece` again and again, until the client has had enough. It must before `most` bytes."""
        poured = 0
        with suppress(OSError):
            while poured < most:
                self.body(piece)
                poured += len(piece)
            self.server.failures.append(f"{self.request}: the client took {poured} bytes and wants more")
        self.open = False

    def hang(self) -> None:
        """Say nothing until the client is gone or the server is closed."""
        with suppress(OSError):
            while self._connection.recv(4096):
                pass
        self.open = False

    def relay(self, address: tuple[str, int]) -> None:
        """Carry bytes between the client and `address` until both have closed, as a tunnel of a proxy."""

        def carry(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        with socket.create_connection(address) as upstream:
            back = threading.Thread(target=carry, args=(upstream, self._connection), daemon=True)
            back.start()
            carry(self._connection, upstream)
            back.join(_JOIN_S)
        self.open = False

    def wait(self, seconds: float) -> bool:
        """Wait; False where the server is being closed."""
        return not self.server.closing.wait(seconds)

    def close(self) -> None:
        """Let no further request come on this connection."""
        self.open = False

    def reset(self) -> None:
        """End the connection the hard way: the client gets ECONNRESET."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.open = False


Step = Callable[[Exchange], None]


PlainStep = Callable[[socket.socket], None]


class FaultServer:
    """Serves a script on 127.0.0.1. Use it as a context manager, or through the `servers` fixture."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, to_plain: PlainStep | None = None) -> None:
        self.log: list[Request] = []
        self.failures: list[str] = []
        self.closing = threading.Event()
        self.body_bytes = 0
        self.connections = 0
        self.bucket = ""  # S3 clients put one before every path, and quote what need not be
        self._tls = tls
        self._to_plain = to_plain  # what a server of TLS does with a client that speaks plain HTTP
        self._once: defaultdict[tuple[str, str], deque[Step]] = defaultdict(deque)
        self._always: dict[tuple[str, str], Step] = {}
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, socket.socket] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"fault-server-{self.port}", daemon=True)
        self._acceptor.start()

    # The script.

    def script(self, method: str, path: str, *steps: Step) -> None:
        """Answer the next requests for `path` with `steps`, one each."""
        self._once[method, path].extend(steps)

    def always(self, method: str, path: str, step: Step) -> None:
        """Answer every request for `path` that has no step of its own left."""
        self._always[method, path] = step

    # Where it is.

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self._tls else "http"

    def url(self, path: str = "", *, name: str = "127.0.0.1") -> str:
        """An absolute URL; `name` may be any `*.test`, which is this machine too."""
        return f"{self.scheme}://{name}:{self.port}{path}"

    # What happened.

    def requests(self, method: str = "", path: str = "") -> list[Request]:
        """The requests so far, all or those of a method and of a path."""
        with self._lock:
            return [r for r in self.log if method in ("", r.method) and path in ("", r.path, r.target)]

    @property
    def open_connections(self) -> int:
        """How many connections neither side has closed."""
        with self._lock:
            return len(self._live)

    def count_body(self, count: int) -> None:
        with self._lock:
            self.body_bytes += count

    def complaints(self) -> list[str]:
        """What went against the script."""
        unused = [f"never asked for: {method} {path}" for (method, path), steps in self._once.items() if steps]
        return self.failures + unused

    # Life.

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
        if kind is None and (complaints := self.complaints()):
            raise AssertionError("\n".join(complaints))

    def close(self) -> None:
        """End all connections and threads. Idempotent."""
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_JOIN_S)
        self._listener.close()
        with self._lock:
            live = dict(self._live)
        for thread, connection in live.items():
            with suppress(OSError):  # the plain shutdown: an SSLSocket's own is not for other threads
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join(_JOIN_S)
        alive = [thread for thread in (self._acceptor, *live) if thread.is_alive()]
        assert not alive, f"threads of the fault server do not end: {alive}"

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True)
            with self._lock:
                self._live[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if isinstance(connection, ssl.SSLSocket):
                if self._to_plain is not None and _first_byte(connection) != b"\x16":
                    self._to_plain(connection)
                    return
                connection.do_handshake()
            while (request := _read_request(connection, number)) is not None:
                exchange = Exchange(self, connection, request)
                self._take(request)(exchange)
                if not exchange.open:
                    return
        except OSError:
            pass  # the client is gone, or does not like our certificate: its own affair
        except Exception as error:
            self.failures.append(f"the script failed: {error!r}")
        finally:
            connection.close()
            with self._lock:
                self._live.pop(threading.current_thread(), None)

    def _take(self, request: Request) -> Step:
        if self.bucket:
            origin, found, key = request.target.partition(f"/{self.bucket}/")
            if found and (not origin or origin.count("/") == 2):
                request = request._replace(target=unquote(f"{origin}/{key}"))
        with self._lock:
            self.log.append(request)
            for path in (request.target, request.path):
                steps = self._once.get((request.method, path))
                if steps:
                    return steps.popleft()
                if step := self._always.get((request.method, path)):
                    return step
            self.failures.append(f"not in the script: {request}")
        return _unscripted


def _unscripted(exchange: Exchange) -> None:
    """A status that is not retried, so that the test ends soon."""
    exchange.head("400 Not In The Script", [("Content-Length", "0"), ("Connection", "close")])
    exchange.close()


def _first_byte(connection: socket.socket) -> bytes:
    """The first byte, left where it is: an SSLSocket reads the plain bytes of its descriptor through a copy only."""
    with socket.socket(fileno=os.dup(connection.fileno())) as plain:
        return plain.recv(1, socket.MSG_PEEK)


def _read_request(connection: socket.socket, number: int) -> Request | None:
    """The next request, None where the client has closed or sends no HTTP."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        if not data or len(received) > _LONGEST_HEAD:
            return None
        received += data
        if not received[:1].isalpha():  # TLS, for instance: a server of plain HTTP has nothing to say to it
            return None
    head, _, body = received.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    request = Request(method, target, headers, b"", number, _common_name(connection))
    length = int(request.header("content-length") or 0)
    while len(body) < length:
        body += connection.recv(65536)
    return request._replace(body=body)


def _common_name(connection: socket.socket) -> str:
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()) if certificate else ())
    return next((value for names in subject for name, value in names if name == "commonName"), "")


def closed_port() -> int:
    """A port of 127.0.0.1 without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


OpenServer = Callable[..., FaultServer]


@pytest.fixture
def servers() -> Iterator[OpenServer]:
    """Opens fault servers, closes them after the test, and fails it where a script was not followed."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(FaultServer(**options))


@pytest.fixture
def server(servers: OpenServer) -> FaultServer:
    """One fault server without TLS."""
    return servers()
