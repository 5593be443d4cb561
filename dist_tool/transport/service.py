"""The HTTP service of one host: which scheme it speaks, and asking it by path."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from threading import Lock

from dist_tool.context import Context
from dist_tool.errors import DistError, NotHttp, NotTls, Truncated, Unavailable, Unreachable
from dist_tool.names.origin import Origin
from dist_tool.transport.client import Client
from dist_tool.transport.schemes import schemes_for
from dist_tool.transport.session import Reply, Request

_OTHER = {"http": "https", "https": "http"}


class HttpService:
    """A host, asked with `scopes` on tokens. Thread-safe. `account` is the name that its credentials are kept under.

    `probe` is where it is asked for a challenge when an answer held none, "" for nowhere.
    """

    def __init__(
        self, host: str, context: Context, *, account: str = "", scopes: tuple[str, ...] = (), probe: str = ""
    ) -> None:
        self._host = host
        self._account = account or host
        self._context = context
        self._scopes = scopes
        self._probe = probe
        schemes = schemes_for(context.endpoint, host)
        self._guessed = schemes == ("http", "https")
        self._insecure = schemes == ("https", "http")
        self._settled = not self._guessed and not self._insecure
        self._switching = Lock()
        self._left: list[Client] = []  # other threads may be using them still
        self._client = self._connect(schemes[0])

    def _connect(self, scheme: str) -> Client:
        """The client of this host and scheme: one for all repositories of a session with the same endpoint."""
        home = Origin.of(f"{scheme}://{self._host}")
        key = ("http client", home, self._account, self._probe, self._context.endpoint)
        return self._context.once(key, lambda: Client(home, self._account, self._context, probe=self._probe))

    @property
    def home(self) -> Origin:
        """The origin that is asked."""
        return self._client.home

    def url(self, path: str) -> str:
        """The URL of a path, which begins with `/`."""
        return f"{self.home}{path}"

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        """Send a request; see `Client.request`.

        On loopback, where http was only a guess, a server that turns out to want TLS gets it: one that
        answers http by TLS bytes, by an unexplained 400, or by a connection without an answer. One
        that is `insecure` by registries.conf gets http where it cannot be reached by https. What is
        answered once is kept, for all threads.
        """
        request, client = Request(method, path, headers), self._client
        once = self._insecure and not self._settled
        probe = _TlsProbe(self._ask_otherwise, client, request, ok, used=not self._guessed or self._settled)
        try:
            reply = self._send(client, request, ok, once=once, otherwise=probe)
        except DistError as error:
            settled = self._settled and client is self._client
            if settled or error is probe.error or not self._may_speak_otherwise(client, error):
                raise
            return self._ask_otherwise(client, request, ok, error)
        self._settled = True
        return reply

    def _send(
        self,
        client: Client,
        request: Request,
        ok: Container[int],
        *,
        once: bool = False,
        otherwise: Callable[[DistError], Reply | None] = lambda _: None,
    ) -> Reply:
        request = request._replace(url=f"{client.home}{request.url}")
        return client.request(request, self._scopes, ok, once=once, otherwise=otherwise)

    def _may_speak_otherwise(self, client: Client, error: DistError) -> bool:
        if client.home.scheme == "https":
            return self._insecure and isinstance(error, Unavailable)
        # A TLS server says so in bytes of its own, or in a 400 that a registry would explain.
        said_nothing = isinstance(error, NotHttp) or (error.status == 400 and not error.registry_errors)
        return self._guessed and said_nothing and error.host == client.home.netloc

    def _ask_otherwise(self, client: Client, request: Request, ok: Container[int], first: DistError) -> Reply:
        """Ask by the other scheme, unless a thread did so by now. The first error counts where neither is right."""
        with self._switching:
            if self._client is client:
                return self._ask_by(self._connect(_OTHER[client.home.scheme]), request, ok, first)
        return self._send(self._client, request, ok)

    def _ask_by(self, other: Client, request: Request, ok: Container[int], first: DistError) -> Reply:
        try:
            reply = self._send(other, request, ok, once=self._guessed)
        except (Unavailable, NotHttp) as error:
            other.close()
            untrusted = isinstance(error, Unreachable) and not isinstance(error, NotTls)
            raise (error if untrusted else first) from error
        except DistError:  # an answer all the same
            self._keep(other)
            raise
        self._keep(other)
        return reply

    def _keep(self, client: Client) -> None:
        self._left.append(self._client)
        self._client = client
        self._settled = True

    def foreign(self, url: str) -> Reply:
        """GET what a descriptor's `urls` names; see `Client.fetch_url`."""
        return self._client.fetch_url(url)

    def close(self) -> None:
        """Close every connection that is not shared with others."""
        if self._context.shared is not None:
            return
        for client in (*self._left, self._client):
            client.close()


class _TlsProbe:
    """Asks by TLS, once, when the first try by a guessed http ended without an answer.

    Such an end is an ordinary cut more often than a server of TLS. When there is no TLS, http is
    tried again as usual. `error` is that of a server that was reached by TLS.
    """

    def __init__(
        self,
        ask: Callable[[Client, Request, Container[int], DistError], Reply],
        client: Client,
        request: Request,
        ok: Container[int],
        *,
        used: bool,
    ) -> None:
        self._ask = ask
        self._client = client
        self._request = request
        self._ok = ok
        self._used = used
        self.error: DistError | None = None

    def __call__(self, first: DistError) -> Reply | None:
        """The answer by TLS, None without one. Raises the error that a server gave by TLS."""
        if self._used or not isinstance(first, Truncated) or first.host != self._client.home.netloc:
            return None
        self._used = True
        try:
            return self._ask(self._client, self._request, self._ok, first)
        except DistError as error:
            if error is first:
                return None
            self.error = error
            raise
