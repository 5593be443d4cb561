"""Requests to one remote as its callers want them: authorised, retried, judged."""

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

_SMALL_BODY = 64 << 10  # bytes of an error or a token answer
_MOST_CHALLENGES = 3
# What may stand in a URL, without the backslash that some parsers take for a slash.
_VISIBLE = re.compile(r"[!-\[\]-~]+")


class Client:
    """Talks to one server, `home`.

    `account` is the host name that credentials are kept under; `probe` a path where the server
    is asked for a challenge when a 401 held none, "" for nowhere. Thread-safe for concurrent
    requests; `close` ends all connections.
    """

    def __init__(self, home: Origin, account: str, context: Context, *, probe: str = "") -> None:
        self.home = home
        self._probe = f"{home}{probe}" if probe else ""
        self._context = context
        self._session = HttpSession(home, context)
        self._warned: set[str] = set()
        auth = context.endpoint.auth
        means = TokenSources(
            context.once(("keychain", auth), lambda: Keychain(auth, context.settings.environ, context.run)),
            context.once("token cache", lambda: TokenCache(context.settings.cache_dir, run=context.run)),
            self._exchange,
        )
        verified = not context.endpoint.tls.skip_verify
        self._auth = Authenticator(home, account, means, run=context.run, verified=verified)

    def request(
        self,
        request: Request,
        scopes: tuple[str, ...],
        ok: Container[int],
        *,
        once: bool = False,
        otherwise: Callable[[DistError], Reply | None] = lambda _: None,
    ) -> Reply:
        """Send, answering challenges and trying again where that may help, unless it is only to be tried `once`.

        Returns an answer whose status is in `ok`, its body unread. Raises the error for any
        other: see `failures`. `scopes` are what a token must allow. `otherwise` may return an
        answer that it got in another way when a try has failed.
        """
        retry = replace(self._context.retry, attempts=1) if once else self._context.retry
        with Attempts(retry, self._context.run) as attempts:
            while True:
                try:
                    return self._judged(self._authorized(request, scopes), ok)
                except DistError as error:
                    if (reply := otherwise(error)) is not None:
                        return reply
                    attempts.failed(error)

    def _authorized(self, request: Request, scopes: tuple[str, ...]) -> Reply:
        """Follow the request, answering the registry's own challenges, and only those.

        A 401 or 403 from where a redirect led is no business of our credentials (B23, ggcr
        #2337): a signed URL may have expired on the way, so the front door is tried once more.
        """
        authorization = self._auth.authorization(scopes)
        moved = False
        for left in reversed(range(_MOST_CHALLENGES)):
            headers = {**request.headers, "Authorization": authorization} if authorization else request.headers
            reply = self._session.follow(request._replace(headers=headers))
            self._show_warnings(reply)
            self._show_rate_limit(reply)
            if reply.origin != self.home and reply.status in (401, 403) and not moved:
                moved = True
                reply.drain()
                continue
            if reply.status != 401 or reply.origin != self.home:
                self._auth.accepted(scopes, authorization)
                return reply
            if left:  # for the last nobody would use the answer
                authorization = self._answer(reply, scopes, authorization)
        return reply

    def _answer(self, reply: Reply, scopes: tuple[str, ...], sent: str) -> str:
        challenge = reply.headers.get("WWW-Authenticate")
        problem = self._error(reply)
        if challenge is None and reply.url != self._probe and self._probe:
            # Some servers challenge at the root of the API only (behaviours C1).
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

    def _judged(self, reply: Reply, ok: Container[int]) -> Reply:
        if reply.status in ok:
            return reply
        raise self._error(reply)

    def _error(self, reply: Reply) -> DistError:
        return failure_of(reply, error_body(reply))

    def _show_warnings(self, reply: Reply) -> None:
        for text in warning_texts(reply.headers.get("Warning", "")):
            if text not in self._warned:
                self._warned.add(text)
                self._context.run.report(Notice("warning", f"{reply.origin.netloc} says: {text}"))

    def _show_rate_limit(self, reply: Reply) -> None:
        if text := _rate_limit(reply.headers):
            self._context.run.report(Notice("debug", f"{reply.origin.netloc} {text}"))

    def fetch_url(self, url: str) -> Reply:
        """GET an absolute URL that content names (a foreign layer), with nothing of ours.

        CVE-2020-15157: such a host gets no credentials, whatever it answers, and what it names
        by a redirect gets none either, the registry itself included. Raises PolicyRefused where
        the registry could not have redirected there.
        """
        if not _VISIBLE.fullmatch(url):
            raise ProtocolError(f"{redact(url)[:200]!r}, the URL of a layer, is not an http(s) URL")
        origin = Origin.of(url)
        if origin == self.home:
            raise PolicyRefused(f"{redact(url)}: a foreign URL names the registry itself")
        from dist_tool.transport.session import check_redirect

        check_redirect(self.home, origin, self._context.endpoint, self._context.settings.policy)
        with Attempts(self._context.retry, self._context.run) as attempts:
            while True:
                try:
                    return self._judged(self._session.follow(Request("GET", url), foreign=True), (200,))
                except DistError as error:
                    attempts.failed(error)

    def _exchange(self, request: TokenRequest) -> TokenResponse:
        """Ask a token server once: `request` is what tries again.

        Elsewhere it has a session of its own: nothing of the registry's is known there.
        A POST holds secrets and is never redirected; a GET only within the rules for redirects
        (the Authorization stays with the realm's origin).
        """
        home = Origin.of(request.url)
        if home == self.home:
            return self._exchange_at(self._session, request)
        with closing(HttpSession(home, _for_realm(self._context))) as session:
            return self._exchange_at(session, request)

    def _exchange_at(self, session: HttpSession, request: TokenRequest) -> TokenResponse:
        send = session.send if request.method == "POST" else session.follow
        reply = send(Request(request.method, request.url, request.headers, request.form))
        body = reply.read(_SMALL_BODY)
        if len(body) > _SMALL_BODY:
            raise ProtocolError(f"{reply.origin.netloc}: a token answer of more than {_SMALL_BODY} bytes")
        # Without the body: a token server may echo a password, and this is said before auth can clean it.
        error = from_status(reply.status, reply.headers, b"", host=reply.origin.netloc, request=str(reply))
        if error.retryable and reply.status >= 400:
            raise error
        return TokenResponse(reply.status, reply.headers, body)

    def close(self) -> None:
        """Close every connection."""
        self._session.close()


def _rate_limit(headers: Mapping[str, str]) -> str:
    """What Docker Hub and others tell of a quota, such as `76;w=21600` of `100;w=21600` (B52)."""
    left, limit = (printable(headers.get(f"ratelimit-{name}", ""), 60) for name in ("remaining", "limit"))
    return f"rate limit: {left} left of {limit}" if left else ""


def _for_realm(context: Context) -> Context:
    """The context for a token server on another origin: trust in CAs and limits, nothing else."""
    mine = context.endpoint
    theirs = Endpoint(
        tls=replace(mine.tls, client=(), skip_verify=False),
        proxy=mine.proxy,
        timeout=mine.timeout,
        retry=mine.retry,
        redirect=replace(mine.redirect, to_private=False),
    )
    return replace(context, endpoint=theirs)


def error_body(reply: Reply) -> bytes:
    """What a failed answer says, bounded; closes it. Secrets that it repeats are hidden when it is shown."""
    if reply.request.method == "HEAD":
        reply.close()
        return b""
    try:
        return reply.read(_SMALL_BODY)
    except Cancelled:
        raise
    except DistError:
        return b""  # the status says enough


def failure_of(reply: Reply, body: bytes) -> DistError:
    """The error for an answer with a status that was not hoped for; `body` is its `error_body`."""
    if 300 <= reply.status < 400 or reply.status < 200:
        return ProtocolError(f"{reply.origin.netloc}: unexpected status {reply.status} ({reply})")
    error = from_status(reply.status, reply.headers, body, host=reply.origin.netloc, request=str(reply))
    return error.with_(hint=_rate_limit(reply.headers)) if isinstance(error, ResourceExhausted) else error


class HttpBody(Body):
    """The body of an answer. Raises Truncated and its kin, never an exception of a library."""

    def __init__(self, reply: Reply, where: Extent, media_type: str = "") -> None:
        super().__init__(offset=where.start, total=where.total, source=reply.origin.netloc, media_type=media_type)
        self._reply = reply
        self._left = _declared(reply.headers, reply.status)

    def readinto(self, view: memoryview) -> int:
        """Fill a part of `view`; 0 at the declared end or at an undeclared one."""
        if self._left == 0:
            self._reply.close()
            return 0
        got = self._reply.readinto(view)
        if self._left is not None:
            self._left -= got
            if not got:
                raise Truncated(f"{self.source}: the connection was cut, {self._left} bytes are missing")
        return got

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        self._reply.close()


def _declared(headers: Mapping[str, str], status: int) -> int | None:
    from dist_tool.transport.ranges import content_length

    return 0 if status == 416 else content_length(headers)
