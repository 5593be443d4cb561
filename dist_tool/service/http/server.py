"""The registry as an object: `with RegistryServer("./img") as server: ... server.address`."""

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
from dist_tool.service.http.settings import AccessLogEntry, Observe, ServerLimits, unobserved

if TYPE_CHECKING:
    from ssl import SSLContext

_log = logging.getLogger(__name__)
_BACKLOG = 512
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(eq=False)
class RegistryServer:
    """A read-only registry over the image layout at `layout`.

    `name` is the repository of plain tags, "" for one made from the directory's name; `port` 0
    takes a free one. With `user` that name and `password` are demanded: by the token server with
    `token_auth`, as Basic without. `tls` holds the paths of certificate chain and key (PEM).
    `observe` hears of each request before its answer leaves, on the server's thread; `report`
    of an index.json that cannot be read.

    As a context manager it serves on a thread of its own. Opening raises NotFound where there is
    no layout, InvalidArgument where it is none or the settings make no sense, LocalFailure where
    the address cannot be had.
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
    observe: Observe = unobserved
    report: Report = no_report
    limits: ServerLimits = field(default_factory=ServerLimits)
    _routes: Routes = field(init=False, repr=False)
    _loop: Loop | None = field(default=None, init=False, repr=False)
    _thread: threading.Thread | None = field(default=None, init=False, repr=False)
    _address: tuple[str, int] = field(default=("", 0), init=False, repr=False)
    _date: tuple[int, str] = field(default=(0, ""), init=False, repr=False)

    @property
    def address(self) -> str:
        """`HOST:PORT` as it was bound: the beginning of a locator."""
        host, port = self._address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._loop.connections if self._loop is not None else 0

    @property
    def is_local(self) -> bool:
        """True where only this machine can connect."""
        return ip_address(self._address[0].partition("%")[0]).is_loopback

    def __enter__(self) -> RegistryServer:
        self.open()
        self._thread = threading.Thread(target=self.serve, name=f"registry {self.address}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Read the layout and take the address. From now on connections are accepted, if not answered."""
        path = os.fspath(self.layout)
        self.name = self.name or default_name(path)
        if not is_repository(self.name):
            raise InvalidArgument(f"the name {self.name!r} is not a repository", hint="lower case, as in library/redis")
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
        assert self._loop is not None, "open comes first"
        self._loop.run()

    def stop(self) -> None:
        """End `serve`. From any thread, and from a signal handler."""
        if self._loop is not None:
            self._loop.stop()

    def close(self) -> None:
        """Stop, join the thread and let go of everything. Idempotent."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _gate(self) -> Gate:
        if self.user and not self.password:
            raise InvalidArgument(f"there is no password for user {self.user!r}")
        if ":" in self.user:
            raise InvalidArgument("a user name cannot hold a colon (RFC 7617)")
        if self.token_ttl_s < 1:
            raise InvalidArgument(f"a token cannot live for {self.token_ttl_s} seconds")
        account = ServerAccount(self.user, self.password) if self.user else None
        if self.token_auth:
            return TokenGate("https" if self.tls else "http", self.token_ttl_s, account)
        return BasicGate(account) if account else OpenGate()

    def _answer(self, request: ServerRequest | None, refused: RequestRefused | None) -> ServerResponse:
        """The response to a request, or to what was none; observed. Raises Unfinished."""
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
        except Exception:  # a bug of ours, or of the observer's: this request fails, the server does not
            _log.exception("a request failed")
            if response is not None:
                response.discard()
            return RequestRefused(500, RegistryError("UNKNOWN", "the registry failed"), close=True).response()
        return response

    def _now(self) -> str:
        """The Date field, made once a second. strftime would write it in the user's language."""
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
    import ssl  # loads OpenSSL: only where it is asked for

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password="")  # an encrypted key must not ask at the terminal
    except OSError as error:  # SSLError is one
        why = error.strerror or error
        raise InvalidArgument(f"cannot use certificate {certificate} with key {key}: {why}") from error
    return context
