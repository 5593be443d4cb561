"""The registry server: `with RegistryServer("./img") as server: ... server.address`."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from errno import EADDRINUSE
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dist_tool.errors import InvalidArgument, LocalFailure, RegistryError
from dist_tool.run import Report, no_report
from dist_tool.service.http.access import BasicGate, Gate, OpenGate, ServerAccount, TokenGate
from dist_tool.service.http.channel import Channel, PlainChannel, TlsChannel
from dist_tool.service.http.connection import Service
from dist_tool.service.http.documents import Documents
from dist_tool.service.http.layout import ServedLayout, default_name, is_repository
from dist_tool.service.http.loop import Loop
from dist_tool.service.http.message import RequestRefused, ServerRequest, ServerResponse, malformed
from dist_tool.service.http.referrers import Referrers, Unfinished
from dist_tool.service.http.routes import Routes
from dist_tool.service.http.settings import AccessLogEntry, Observe, ServerLimits, no_observer

if TYPE_CHECKING:
    from ssl import SSLContext

_log = logging.getLogger(__name__)
_BACKLOG = 512
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(eq=False)
class RegistryServer:
    """A read-only registry over the image layout at `layout`.

    `name` is the repository of plain tags, "" for one derived from the directory's name; `port` 0
    selects a free one. With `user`, that name and `password` are required: by the token server if
    `token_auth` is set, else as Basic credentials. `tls` holds the paths of the certificate chain
    and the key (PEM). `observe` is called for each request before its response is sent, on the
    server's thread; `report` is called if index.json cannot be read.

    As a context manager it serves on a thread of its own. `open` raises NotFound if there is no
    layout, InvalidArgument if the directory is not one or for invalid settings, LocalFailure if it
    cannot listen on the address.
    """

    layout: str | os.PathLike[str]
    host: str = "127.0.0.1"
    port: int = 0
    name: str = ""
    token_auth: bool = False
    token_ttl_s: int = 300
    user: str = ""
    password: str = field(default="", repr=False)
    tls: tuple[str, str] | None = None
    observe: Observe = no_observer
    report: Report = no_report
    limits: ServerLimits = field(default_factory=ServerLimits)
    _routes: Routes = field(init=False, repr=False)
    _loop: Loop | None = field(default=None, init=False, repr=False)
    _thread: threading.Thread | None = field(default=None, init=False, repr=False)
    _address: tuple[str, int] = field(default=("", 0), init=False, repr=False)
    _date: tuple[int, str] = field(default=(0, ""), init=False, repr=False)

    @property
    def address(self) -> str:
        """The bound `HOST:PORT`, with which locators begin."""
        host, port = self._address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return self._loop.connections if self._loop is not None else 0

    @property
    def is_local(self) -> bool:
        """True if the address is loopback: only this machine can connect."""
        return ip_address(self._address[0].partition("%")[0]).is_loopback

    def __enter__(self) -> RegistryServer:
        self.open()
        self._thread = threading.Thread(target=self.serve, name=f"registry {self.address}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Read the layout and listen. Clients can connect from now on; `serve` answers them."""
        path = os.fspath(self.layout)
        self.name = self.name or default_name(path)
        if not is_repository(self.name):
            raise InvalidArgument(
                f"{self.name!r} is not a valid repository name", hint="use lower case, as in library/redis"
            )
        context = _tls_context(*self.tls) if self.tls else None
        layout = ServedLayout(path, self.name, self.report)
        documents = Documents(layout)
        referrers = Referrers(documents, time.monotonic)
        self._routes = Routes(layout, documents, referrers, self._gate(), self.limits.page)
        listener = _bound(self.host, self.port)
        self._address = listener.getsockname()[:2]

        def wrap(sock: socket.socket) -> Channel:
            return TlsChannel(sock, context) if context else PlainChannel(sock)

        self._loop = Loop(listener, Service(self.limits, self._answer, time.monotonic, self._now), wrap)

    def serve(self) -> None:
        """Answer requests until `stop`."""
        assert self._loop is not None, "call open first"
        self._loop.run()

    def stop(self) -> None:
        """Make `serve` return. May be called from any thread and from a signal handler."""
        if self._loop is not None:
            self._loop.stop()

    def close(self) -> None:
        """Stop, join the thread and close all sockets. Idempotent."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _gate(self) -> Gate:
        if self.user and not self.password:
            raise InvalidArgument(f"no password is set for user {self.user!r}")
        if ":" in self.user:
            raise InvalidArgument("a user name cannot contain a colon (RFC 7617)")
        if self.token_ttl_s < 1:
            raise InvalidArgument(f"invalid token lifetime of {self.token_ttl_s} seconds", hint="expected at least 1")
        account = ServerAccount(self.user, self.password) if self.user else None
        if self.token_auth:
            return TokenGate("https" if self.tls else "http", self.token_ttl_s, account)
        return BasicGate(account) if account else OpenGate()

    def _answer(self, request: ServerRequest | None, refused: RequestRefused | None) -> ServerResponse:
        """The response to a request, or to input that was refused; calls `observe`. Raises Unfinished."""
        response = None
        try:
            if request is None:
                response = (refused or malformed("no request")).response()
                entry = AccessLogEntry("", "", response.status, has_authorization=False)
            else:
                response = self._routes.answer(request)
                entry = AccessLogEntry(
                    request.method, request.target, response.status, "authorization" in request.headers
                )
            self.observe(entry)
        except Unfinished:
            raise
        except Exception:  # a bug here or in the observer must fail this request only, not the server
            _log.exception("a request failed")
            if response is not None:
                response.discard()
            return RequestRefused(500, RegistryError("UNKNOWN", "internal error"), close=True).response()
        return response

    def _now(self) -> str:
        """The value of the Date field, computed once per second. `strftime` would use the locale's names."""
        now = int(time.time())
        if now != self._date[0]:
            t = time.gmtime(now)
            day = f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
            self._date = (now, f"{day} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT")
        return self._date[1]


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InvalidArgument(f"{host!r} is not an address of this machine") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        hint = "choose another port, or 0 for a free one" if error.errno == EADDRINUSE else ""
        raise LocalFailure(f"cannot listen on {host} port {port}: {error.strerror}", hint=hint) from error
    return listener


def _tls_context(certificate: str, key: str) -> SSLContext:
    import ssl  # loads OpenSSL, needed for TLS only

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password="")  # no passphrase prompt for an encrypted key
    except OSError as error:  # includes SSLError
        reason = error.strerror or error
        raise InvalidArgument(f"cannot use certificate {certificate} with key {key}: {reason}") from error
    return context
