"""HTTP client for one remote: authorization, retries and status checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from dist_tool.auth.authenticator import Authenticator, TokenRequest, TokenResponse, TokenSources
from dist_tool.auth.keychain import Keychain
from dist_tool.auth.token_cache import TokenCache
from dist_tool.context import Context
from dist_tool.errors import (
    Cancelled,
    DistError,
    PermissionDenied,
    PolicyRefused,
    ProtocolError,
    ResourceExhausted,
    Truncated,
    Unauthenticated,
    printable,
)
from dist_tool.names.origin import Origin, redact
from dist_tool.run import Notice
from dist_tool.settings import Endpoint
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Attempts
from dist_tool.transport.failures import from_status
from dist_tool.transport.ranges import Extent
from dist_tool.transport.session import HttpSession, Reply, Request
from dist_tool.transport.warning_header import warning_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Container

_SMALL_BODY = 64 << 10  # bytes of an error or token response
_MOST_CHALLENGES = 3
# Characters allowed in a URL. Excludes the backslash, which some parsers read as a slash.
_VISIBLE = re.compile(r"[!-\[\]-~]+")


class Client:
    """Client for one server, `home`. Thread-safe for concurrent requests.

    `account` is the host name under which credentials are stored. `probe` is a path to request
    for a challenge if a 401 has none, "" for no such request. `close` closes all connections.
    """

    def __init__(self, home: Origin, account: str, context: Context, *, probe: str = "") -> None:
        self.home = home
        self._probe = f"{home}{probe}" if probe else ""
        self._context = context
        self._session = HttpSession(home, context)
        self._warned: set[str] = set()
        auth = context.endpoint.auth
        sources = TokenSources(
            context.once(("keychain", auth), lambda: Keychain(auth, context.settings.environ, context.run)),
            context.once("token cache", lambda: TokenCache(context.settings.cache_dir, run=context.run)),
            self._exchange,
        )
        verified = not context.endpoint.tls.skip_verify
        self._auth = Authenticator(home, account, sources, run=context.run, verified=verified)

    def request(
        self,
        request: Request,
        scopes: tuple[str, ...],
        ok: Container[int],
        *,
        once: bool = False,
        fallback: Callable[[DistError], Reply | None] = lambda _: None,
    ) -> Reply:
        """Send a request, answer challenges and retry failures (only one attempt if `once`).

        `scopes` are the token scopes that the request needs. Returns a response whose status is in
        `ok`, its body unread. Raises the error for any other status; see `failures.from_status`.
        After a failed attempt, `fallback` may return a response obtained in another way, or None.
        """
        retry = replace(self._context.retry, attempts=1) if once else self._context.retry
        with Attempts(retry, self._context.run) as attempts:
            while True:
                try:
                    return self._check_status(self._authorized(request, scopes), ok)
                except DistError as error:
                    if (reply := fallback(error)) is not None:
                        return reply
                    attempts.failed(error)

    def _authorized(self, request: Request, scopes: tuple[str, ...]) -> Reply:
        """Send with redirects, answering only challenges from the registry itself.

        A 401 or 403 from a redirect's target is not answered with credentials (B23, ggcr #2337).
        Its signed URL may have expired, so the original URL is requested once more.
        """
        authorization = self._auth.authorization(scopes)
        moved = False
        for left in reversed(range(_MOST_CHALLENGES)):
            headers = {**request.headers, "Authorization": authorization} if authorization else request.headers
            reply = self._session.follow(request._replace(headers=headers))
            self._report_warnings(reply)
            self._report_rate_limit(reply)
            if reply.origin != self.home and reply.status in (401, 403) and not moved:
                moved = True
                reply.drain()
                continue
            if reply.status != 401 or reply.origin != self.home:
                self._auth.accepted(scopes, authorization)
                return reply
            if left:  # after the last attempt the authorization would not be used
                authorization = self._answer_challenge(reply, scopes, authorization)
        return reply

    def _answer_challenge(self, reply: Reply, scopes: tuple[str, ...], sent: str) -> str:
        challenge = reply.headers.get("WWW-Authenticate")
        problem = self._error(reply)
        if challenge is None and reply.url != self._probe and self._probe:
            # Some servers send a challenge only at the root of the API (behaviours C1).
            root = self._session.send(Request("GET", self._probe))
            challenge = root.headers.get("WWW-Authenticate") if root.status == 401 else None
            root.drain()
        if challenge is None:
            raise problem
        try:
            return self._auth.answer([challenge], scopes, sent)
        except (Unauthenticated, PermissionDenied) as error:
            raise error.with_(
                registry_errors=error.registry_errors or problem.registry_errors,
                status=error.status or 401,
                host=error.host or reply.origin.netloc,
            ) from error.cause

    def _check_status(self, reply: Reply, ok: Container[int]) -> Reply:
        if reply.status in ok:
            return reply
        raise self._error(reply)

    def _error(self, reply: Reply) -> DistError:
        return failure_of(reply, error_body(reply))

    def _report_warnings(self, reply: Reply) -> None:
        for text in warning_texts(reply.headers.get("Warning", "")):
            if text not in self._warned:
                self._warned.add(text)
                self._context.run.report(Notice("warning", f"{reply.origin.netloc} sent a warning: {text}"))

    def _report_rate_limit(self, reply: Reply) -> None:
        if text := _rate_limit(reply.headers):
            self._context.run.report(Notice("debug", f"{reply.origin.netloc} {text}"))

    def fetch_url(self, url: str) -> Reply:
        """GET an absolute URL from a descriptor (a foreign layer), without credentials or own headers.

        CVE-2020-15157: the host gets no credentials, whatever it responds, and neither do the
        targets of its redirects, the registry itself included. Raises PolicyRefused for a URL to
        which a redirect from the registry would be refused.
        """
        if not _VISIBLE.fullmatch(url):
            raise ProtocolError(f"{redact(url)[:200]!r}, the URL of a layer, is not an http(s) URL")
        origin = Origin.of(url)
        if origin == self.home:
            raise PolicyRefused(f"{redact(url)}: the URL of a foreign layer points to the registry itself")
        from dist_tool.transport.session import check_redirect

        check_redirect(self.home, origin, self._context.endpoint, self._context.settings.policy)
        with Attempts(self._context.retry, self._context.run) as attempts:
            while True:
                try:
                    return self._check_status(self._session.follow(Request("GET", url), foreign=True), (200,))
                except DistError as error:
                    attempts.failed(error)

    def _exchange(self, request: TokenRequest) -> TokenResponse:
        """Send one request to a token server, without retries: those are made by `request`.

        A token server on another origin gets a session of its own, without the registry's headers
        and client certificates. A POST holds secrets and follows no redirects; a GET follows them
        within the rules (Authorization is sent only to the realm's origin).
        """
        home = Origin.of(request.url)
        if home == self.home:
            return self._exchange_by(self._session, request)
        with closing(HttpSession(home, _for_realm(self._context))) as session:
            return self._exchange_by(session, request)

    def _exchange_by(self, session: HttpSession, request: TokenRequest) -> TokenResponse:
        send = session.send if request.method == "POST" else session.follow
        reply = send(Request(request.method, request.url, request.headers, request.form))
        body = reply.read(_SMALL_BODY)
        if len(body) > _SMALL_BODY:
            raise ProtocolError(f"{reply.origin.netloc}: the token response is larger than {_SMALL_BODY} bytes")
        # Without the body: a token server may echo a password, and this error is reported before `auth` can redact it.
        error = from_status(reply.status, reply.headers, b"", host=reply.origin.netloc, request=str(reply))
        if error.retryable and reply.status >= 400:
            raise error
        return TokenResponse(reply.status, reply.headers, body)

    def close(self) -> None:
        """Close every connection."""
        self._session.close()


def _rate_limit(headers: Mapping[str, str]) -> str:
    """The rate limit in the headers of Docker Hub and others, such as `76;w=21600` of `100;w=21600` (B52)."""
    left, limit = (printable(headers.get(f"ratelimit-{name}", ""), 60) for name in ("remaining", "limit"))
    return f"rate limit: {left} left of {limit}" if left else ""


def _for_realm(context: Context) -> Context:
    """The context for a token server on another origin: only trusted CAs, proxy, limits and redirect rules."""
    registry = context.endpoint
    realm = Endpoint(
        tls=replace(registry.tls, client=(), skip_verify=False),
        proxy=registry.proxy,
        timeout=registry.timeout,
        retry=registry.retry,
        redirect=replace(registry.redirect, to_private=False),
    )
    return replace(context, endpoint=realm)


def error_body(reply: Reply) -> bytes:
    """The body of an error response, up to a limit; closes it. Secrets in it are redacted when it is shown."""
    if reply.request.method == "HEAD":
        reply.close()
        return b""
    try:
        return reply.read(_SMALL_BODY)
    except Cancelled:
        raise
    except DistError:
        return b""  # the status is enough for an error


def failure_of(reply: Reply, body: bytes) -> DistError:
    """The error for a response with an unexpected status; `body` is its `error_body`."""
    if 300 <= reply.status < 400 or reply.status < 200:
        return ProtocolError(f"{reply.origin.netloc}: unexpected status {reply.status} ({reply})")
    error = from_status(reply.status, reply.headers, body, host=reply.origin.netloc, request=str(reply))
    return error.with_(hint=_rate_limit(reply.headers)) if isinstance(error, ResourceExhausted) else error


class HttpBody(Body):
    """The body of a response. Raises Truncated and other DistErrors, never an exception of a library."""

    def __init__(self, reply: Reply, extent: Extent, media_type: str = "") -> None:
        super().__init__(offset=extent.start, total=extent.total, source=reply.origin.netloc, media_type=media_type)
        self._reply = reply
        self._left = _declared(reply.headers, reply.status)

    def readinto(self, view: memoryview) -> int:
        """Read into a part of `view`. Returns 0 at the end of the body. Raises Truncated before its declared end."""
        if self._left == 0:
            self._reply.close()
            return 0
        got = self._reply.readinto(view)
        if self._left is not None:
            self._left -= got
            if not got:
                raise Truncated(f"{self.source}: the connection was cut with {self._left} bytes missing")
        return got

    def close(self) -> None:
        """Release the connection. Idempotent."""
        self._reply.close()


def _declared(headers: Mapping[str, str], status: int) -> int | None:
    from dist_tool.transport.ranges import content_length

    return 0 if status == 416 else content_length(headers)
