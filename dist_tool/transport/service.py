"""HTTP service of one host: detects its URL scheme, and sends requests by path."""

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
    """Requests to one host, with tokens for `scopes`. Thread-safe.

    `account` is the name under which its credentials are stored. `probe` is a path to request for
    a challenge if a 401 has none, "" for no such request.
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
        self._replaced: list[Client] = []  # other threads may still be using them
        self._client = self._connect(schemes[0])

    def _connect(self, scheme: str) -> Client:
        """The client of this host and scheme: one for all repositories of a session with the same endpoint."""
        home = Origin.of(f"{scheme}://{self._host}")
        key = ("http client", home, self._account, self._probe, self._context.endpoint)
        return self._context.once(key, lambda: Client(home, self._account, self._context, probe=self._probe))

    @property
    def home(self) -> Origin:
        """The origin that requests are sent to."""
        return self._client.home

    def url(self, path: str) -> str:
        """The URL of a path, which begins with `/`."""
        return f"{self.home}{path}"

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        """Send a request; see `Client.request`.

        On loopback, http is only a guess: https is tried if the server responds with TLS bytes, with
        a 400 without registry errors, or closes the connection without a response. For a host that
        registries.conf marks as `insecure`, http is tried if it cannot be reached by https. The
        scheme that first gets a response is used from then on, by all threads.
        """
        request, client = Request(method, path, headers), self._client
        once = self._insecure and not self._settled
        probe = _TlsProbe(self._try_other_scheme, client, request, ok, used=not self._guessed or self._settled)
        try:
            reply = self._send(client, request, ok, once=once, fallback=probe)
        except DistError as error:
            settled = self._settled and client is self._client
            if settled or error is probe.error or not self._may_use_other_scheme(client, error):
                raise
            return self._try_other_scheme(client, request, ok, error)
        self._settled = True
        return reply

    def _send(
        self,
        client: Client,
        request: Request,
        ok: Container[int],
        *,
        once: bool = False,
        fallback: Callable[[DistError], Reply | None] = lambda _: None,
    ) -> Reply:
        request = request._replace(url=f"{client.home}{request.url}")
        return client.request(request, self._scopes, ok, once=once, fallback=fallback)

    def _may_use_other_scheme(self, client: Client, error: DistError) -> bool:
        if client.home.scheme == "https":
            return self._insecure and isinstance(error, Unavailable)
        # A TLS server responds to plain http with TLS bytes, or with a 400 without a registry's error body.
        expects_tls = isinstance(error, NotHttp) or (error.status == 400 and not error.registry_errors)
        return self._guessed and expects_tls and error.host == client.home.netloc

    def _try_other_scheme(self, client: Client, request: Request, ok: Container[int], first: DistError) -> Reply:
        """Send by the other scheme, unless another thread has switched already.

        If both fail, raises `first`, the error of the first scheme, unless the other error is a TLS
        failure such as an untrusted certificate.
        """
        with self._switching:
            if self._client is client:
                return self._try_client(self._connect(_OTHER[client.home.scheme]), request, ok, first)
        return self._send(self._client, request, ok)

    def _try_client(self, other: Client, request: Request, ok: Container[int], first: DistError) -> Reply:
        try:
            reply = self._send(other, request, ok, once=self._guessed)
        except (Unavailable, NotHttp) as error:
            other.close()
            untrusted = isinstance(error, Unreachable) and not isinstance(error, NotTls)
            raise (error if untrusted else first) from error
        except DistError:  # the server responded, so the scheme is right
            self._switch_to(other)
            raise
        self._switch_to(other)
        return reply

    def _switch_to(self, client: Client) -> None:
        self._replaced.append(self._client)
        self._client = client
        self._settled = True

    def foreign(self, url: str) -> Reply:
        """GET one of a descriptor's `urls`; see `Client.fetch_url`."""
        return self._client.fetch_url(url)

    def close(self) -> None:
        """Close every connection that is not shared with others."""
        if self._context.shared is not None:
            return
        for client in (*self._replaced, self._client):
            client.close()


class _TlsProbe:
    """Sends the request by TLS, once, after a first attempt by http on loopback got no response.

    A connection closed without a response is usually an ordinary failure, not a TLS server. If TLS
    fails as well, http is retried as usual. `error` is the error of a server reached by TLS.
    """

    def __init__(
        self,
        send: Callable[[Client, Request, Container[int], DistError], Reply],
        client: Client,
        request: Request,
        ok: Container[int],
        *,
        used: bool,
    ) -> None:
        self._send = send
        self._client = client
        self._request = request
        self._ok = ok
        self._used = used
        self.error: DistError | None = None

    def __call__(self, first: DistError) -> Reply | None:
        """The response by TLS, None if there is none. Raises the error of a server reached by TLS."""
        if self._used or not isinstance(first, Truncated) or first.host != self._client.home.netloc:
            return None
        self._used = True
        try:
            return self._send(self._client, self._request, self._ok, first)
        except DistError as error:
            if error is first:
                return None
            self.error = error
            raise
