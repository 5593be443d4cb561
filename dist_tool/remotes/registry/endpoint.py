"""Where a registry's API is, and asking it: URLs, the scheme of loopback hosts, documents."""

from __future__ import annotations

from collections.abc import Container, Mapping
from urllib.parse import quote, urljoin, urlsplit

from dist_tool.errors import (
    DistError,
    LimitExceeded,
    NotHttp,
    NotTls,
    ProtocolError,
    RemoteFailed,
    Unavailable,
    Unreachable,
)
from dist_tool.retry import Attempts
from dist_tool.settings import Context
from dist_tool.spec.manifest import MANIFEST_LIMIT
from dist_tool.spec.reference import HUB, HUB_API
from dist_tool.stream import CHUNK, Body
from dist_tool.transport.auth import pull_scope
from dist_tool.transport.client import Client, HttpBody
from dist_tool.transport.encoding import spooled
from dist_tool.transport.origin import Origin, is_loopback
from dist_tool.transport.ranges import Extent, content_length
from dist_tool.transport.session import Reply, Request


class Endpoint:
    """The API of one repository. `host` and `path` are what is contacted, after any rewrite."""

    def __init__(self, host: str, path: str, context: Context) -> None:
        self.host = host
        self.path = path
        self._context = context
        self._scopes = (pull_scope(path),)
        plain = context.remote.plain_http
        # Plain http for loopback, as every registry client has it; others must be named (B51).
        self._guessed = plain is None and is_loopback(host) and not context.remote.tls.ca
        self._insecure = plain is None and context.remote.insecure and not self._guessed
        asked = context.asked.host if context.remote.ns and context.asked else ""
        self._ns = f"ns={quote(asked, safe=':')}" if asked else ""
        self._client = self._connect("http" if plain or self._guessed else "https")

    def _connect(self, scheme: str) -> Client:
        api = HUB_API if self.host == HUB else self.host
        return Client(Origin.of(f"{scheme}://{api}"), self.host, self._context)

    def url(self, tail: str) -> str:
        """The URL of something of this repository, such as `manifests/latest`."""
        url = f"{self._client.home}{self._root}{tail}"
        if not self._ns or "ns=" in tail.partition("?")[2]:
            return url
        return f"{url}{'&' if '?' in tail else '?'}{self._ns}"

    @property
    def _root(self) -> str:
        return f"{self._context.remote.api_path}/{self.path}/"

    def ask(self, method: str, tail: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        """Send a request about this repository; see `Client.request`.

        On loopback, where http was only a guess, a server that turns out to want TLS gets it. One
        that is `insecure` by registries.conf gets http where it cannot be reached by https.
        """
        if self._insecure:
            return self._ask_either_way(Request(method, tail, headers), ok)
        try:
            reply = self._client.request(Request(method, self.url(tail), headers), self._scopes, ok)
        except RemoteFailed as error:
            # A TLS server says so in bytes of its own, or in a 400 that a registry would explain.
            said_nothing = isinstance(error, NotHttp) or (error.status == 400 and not error.registry_errors)
            if not self._guessed or not said_nothing or error.host != self._client.home.netloc:
                raise
            reply = self._ask_securely(Request(method, tail, headers), ok, error)
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

    def document(self, tail: str, headers: Mapping[str, str], limit: int = MANIFEST_LIMIT) -> tuple[Reply, bytes]:
        """GET something small enough to hold, whole. A cut starts it again.

        Raises LimitExceeded above `limit` bytes, and what `ask` raises.
        """
        attempts = Attempts(self._context.retry, self._context.report)
        while True:
            reply = self.ask("GET", tail, headers, (200,))
            try:
                body = HttpBody(reply, Extent(0, content_length(reply.headers)))
                return reply, _read_whole(decoded(reply, body, limit=limit), limit)
            except DistError as error:
                attempts.failed(error)
            finally:
                reply.close()

    def next_page(self, reply: Reply) -> str | None:
        """The tail of the page that a `Link` header names, None for the last page.

        Another scheme, host or port is not followed (GHSA-h7vf-4x9w-h99v): ProtocolError.
        """
        target = _next_link(reply.headers.get("Link", ""))
        if target is None:
            return None
        try:
            url = urlsplit(urljoin(reply.request.url, target))
        except ValueError as error:
            raise ProtocolError(f"{self.host}: the next page has no usable URL") from error
        if Origin.of(url.geturl()) != self._client.home or not url.path.startswith(self._root):
            raise ProtocolError(f"{self.host}: the next page is elsewhere")
        return url.path.removeprefix(self._root) + (f"?{url.query}" if url.query else "")

    def close(self) -> None:
        """Close every connection."""
        self._client.close()


def decoded(reply: Reply, body: Body, digest: object = None, limit: int | None = None) -> Body:
    """`body`, with a Content-Encoding that nobody asked for resolved (behaviours B32)."""
    from dist_tool.spec.digest import Digest

    coding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return body
    return spooled(body, coding, digest if isinstance(digest, Digest) else None, limit)


def _read_whole(body: Body, limit: int) -> bytes:
    data = bytearray()
    view = memoryview(bytearray(min(CHUNK, limit + 1)))
    try:
        if body.total is not None and body.total > limit:
            raise LimitExceeded(f"{body.source} declares {body.total} bytes, over the limit of {limit}")
        while got := body.readinto(view):
            data += view[:got]
            if len(data) > limit:
                raise LimitExceeded(f"{body.source}: more than the limit of {limit} bytes")
    finally:
        body.close()
    return bytes(data)


def _next_link(value: str) -> str | None:
    """The target of `<target>; rel="next"` (RFC 8288) among the links of a header value."""
    rest = value
    while (start := rest.find("<")) >= 0 and (end := rest.find(">", start)) >= 0:
        target, rest = rest[start + 1 : end], rest[end + 1 :]
        parameters = rest[: rest.find("<")] if "<" in rest else rest
        for parameter in parameters.split(";"):
            name, _, content = parameter.partition("=")
            if name.strip().lower() == "rel" and "next" in content.strip(' ",').lower().split():
                return target
    return None
