"""The HTTP service of one host: which scheme it speaks, and asking it by path."""

from __future__ import annotations

from collections.abc import Container, Mapping

from dist_tool.errors import DistError, NotHttp, NotTls, RemoteFailed, Unavailable, Unreachable
from dist_tool.settings import Context
from dist_tool.transport.client import Client
from dist_tool.transport.origin import Origin, is_loopback
from dist_tool.transport.session import Reply, Request


class Site:
    """A host, asked with `scopes` on tokens. `account` is the name that its credentials are kept under.

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
        plain = context.remote.plain_http
        # Plain http for loopback, as every registry client has it; others must be named (B51).
        self._guessed = plain is None and is_loopback(host) and not context.remote.tls.ca
        self._insecure = plain is None and context.remote.insecure and not self._guessed
        self._client = self._connect("http" if plain or self._guessed else "https")

    def _connect(self, scheme: str) -> Client:
        return Client(Origin.of(f"{scheme}://{self._host}"), self._account, self._context, probe=self._probe)

    @property
    def home(self) -> Origin:
        """The origin that is asked."""
        return self._client.home

    def url(self, path: str) -> str:
        """The URL of a path, which begins with `/`."""
        return f"{self.home}{path}"

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        """Send a request; see `Client.request`.

        On loopback, where http was only a guess, a server that turns out to want TLS gets it. One
        that is `insecure` by registries.conf gets http where it cannot be reached by https.
        """
        if self._insecure:
            return self._ask_either_way(Request(method, path, headers), ok)
        try:
            reply = self._client.request(Request(method, self.url(path), headers), self._scopes, ok)
        except RemoteFailed as error:
            # A TLS server says so in bytes of its own, or in a 400 that a registry would explain.
            said_nothing = isinstance(error, NotHttp) or (error.status == 400 and not error.registry_errors)
            if not self._guessed or not said_nothing or error.host != self.home.netloc:
                raise
            reply = self._ask_securely(Request(method, path, headers), ok, error)
        self._guessed = False
        return reply

    def _ask_either_way(self, request: Request, ok: Container[int]) -> Reply:
        """https, then http; whichever is answered is kept. The first error counts where neither is."""
        first = self._client
        try:
            reply = first.request(request._replace(url=self.url(request.url)), self._scopes, ok, once=True)
        except Unavailable as error:
            self._client = self._connect("http")
            try:
                reply = self._client.request(request._replace(url=self.url(request.url)), self._scopes, ok)
            except (Unavailable, NotHttp):
                self._client.close()
                self._client = first
                raise error from None
            first.close()
        self._insecure = False
        return reply

    def _ask_securely(self, request: Request, ok: Container[int], first: DistError) -> Reply:
        plain, self._client = self._client, self._connect("https")
        plain.close()
        try:
            return self._client.request(request._replace(url=self.url(request.url)), self._scopes, ok, once=True)
        except Unavailable as error:
            untrusted = isinstance(error, Unreachable) and not isinstance(error, NotTls)
            raise (error if untrusted else first) from error

    def foreign(self, url: str) -> Reply:
        """GET what a descriptor's `urls` names; see `Client.fetch_url`."""
        return self._client.fetch_url(url)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
