"""HTTP session: sends requests, and follows redirects by our own rules.

The only module that uses requests' Session. It does not retry, and returns responses of any status.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from dist_tool import __version__
from dist_tool.context import Context
from dist_tool.errors import DistError, PolicyRefused, ProtocolError
from dist_tool.names.origin import Origin, host_class, redact, resolve_location, split_url
from dist_tool.run import Notice, Run
from dist_tool.settings import Endpoint, Policy, Tls
from dist_tool.stream.retry import stall_left
from dist_tool.transport.deadlines import ConnectionLimits, TimedResponse, pool_classes
from dist_tool.transport.failures import from_exception
from dist_tool.transport.proxies import proxies_for
from dist_tool.transport.redaction import remember_path, remember_proxy, remember_request
from dist_tool.transport.tls import tls_context

if TYPE_CHECKING:
    from requests.models import PreparedRequest

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DRAIN_LIMIT = 64 << 10  # a shorter body is read, so that its connection can be reused
_RETRY_NEVER = urllib3.Retry(0, read=False)
_NO_POLICY = Policy()
# Headers sent after a redirect to another origin: none that identifies the user or holds a secret (B21, T3).
_CROSS_ORIGIN = frozenset({"accept", "accept-encoding", "range", "if-range", "user-agent"})


class Request(NamedTuple):
    """An HTTP request. After a redirect to another origin, only harmless `headers` are sent.

    `moved`: the URL is from a redirect, and may contain a signature anywhere.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    form: Mapping[str, str] | None = None
    moved: bool = False

    def __str__(self) -> str:
        return f"{self.method} {redact(self.url, moved=self.moved)}"


class Reply:
    """A response: status and headers, and a body that has not been read yet."""

    def __init__(self, response: requests.Response, origin: Origin, request: Request) -> None:
        self._response = response
        self.origin = origin
        self.request = request
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = request.url

    def __str__(self) -> str:
        return str(self.request)

    def read(self, limit: int) -> bytes:
        """The body up to `limit` bytes, plus one byte if it is longer; closes the response.

        Raises Truncated and the other errors of `from_exception`.
        """
        data = bytearray(limit + 1)
        view = memoryview(data)
        filled = 0
        try:
            while filled <= limit and (got := self.readinto(view[filled:])):
                filled += got
        finally:
            self.close()
        return bytes(view[:filled])

    def readinto(self, view: memoryview) -> int:
        """Read raw, undecoded bytes into a part of `view`. Returns 0 at the end, also at a premature one."""
        raw = self._response.raw
        original = getattr(raw, "_original_response", None)
        try:
            if isinstance(original, TimedResponse):
                got = original.receive(view)
                if original.reusable:
                    raw.release_conn()
                return got
            data = raw.read(len(view), decode_content=False)
        except DistError:
            raise
        except Exception as error:
            raise from_exception(error, self.origin.netloc) from error
        view[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        """Read a short body, so that the connection can be reused. Closes the response."""
        length = self.headers.get("Content-Length", "")
        if self.request.method != "HEAD" and length.isascii() and length.isdigit() and int(length) <= _DRAIN_LIMIT:
            with suppress(DistError):
                self.read(_DRAIN_LIMIT)
        self.close()

    def close(self) -> None:
        """Release the connection, for reuse if it is reusable. Idempotent."""
        raw = self._response.raw
        original = getattr(raw, "_original_response", None)
        if isinstance(original, TimedResponse) and original.reusable:
            raw.release_conn()
        self._response.close()


class _Session(requests.Session):
    """A session that ignores redirects.

    requests reads and decodes the whole body of a redirect, even with stream=True and
    allow_redirects=False.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None


class _Adapter(HTTPAdapter):
    """Adapter with time-limited connections and our own TLS context, which is created on first use.

    All threads share one context: connections of different contexts are pooled separately.
    """

    def __init__(self, tls: Tls, environ: Mapping[str, str], limits: ConnectionLimits) -> None:
        self._tls = tls
        self._environ = environ
        self._guard = Lock()
        self._context: ssl.SSLContext | None = None
        self._run = limits.run
        self._pools = pool_classes(limits)
        super().__init__(pool_connections=4, pool_maxsize=64, max_retries=_RETRY_NEVER)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def build_connection_pool_key_attributes(
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ARG002  set in the TLS context
        cert: Any = None,  # noqa: ARG002
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, False)
        if host["scheme"] != "https":
            return host, {}
        with self._guard:
            if self._context is None:
                self._context = tls_context(self._tls, self._environ, self._run)
        pool: dict[str, Any] = {"ssl_context": self._context}
        if self._tls.skip_verify:
            pool |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        return host, pool

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """The request target exactly as in the URL; see `split_url`, which checks it."""
        url = request.url or ""
        origin, target = split_url(url)
        return target if super().request_url(request, proxies).startswith("/") else f"{origin}{target}"

    def close(self) -> None:
        """Close all idle connections: urllib3 does so only when its pools are garbage collected."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  it cannot be iterated over
                if (pool := manager.pools.get(key)) is not None:
                    pool.close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: verification is set in the TLS context."""


class HttpSession:
    """Connections for one remote: a pool for its own origin and one for all others. Thread-safe.

    `home` is the origin that gets the remote's headers and client certificates.
    """

    def __init__(self, home: Origin, context: Context) -> None:
        self.home = home
        self._endpoint: Endpoint = context.endpoint
        self._policy = context.settings.policy
        self._environ = context.settings.environ
        self._run: Run = context.run
        self._guard = Lock()
        own = context.endpoint.tls
        self._home_session = self._new(own)
        self._other_session: _Session | None = None

    def _new(self, tls: Tls) -> _Session:
        session = _Session()
        session.trust_env = False
        session.headers.clear()
        session.cookies.set_policy(_no_cookies())
        adapter = _Adapter(tls, self._environ, ConnectionLimits(self._endpoint.timeout, self._run))
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        return session

    def _session_for(self, is_home: bool) -> _Session:
        if is_home:
            return self._home_session
        with self._guard:
            if self._other_session is None:  # CAs are not secret; client certificates and skip_verify are for `home`
                self._other_session = self._new(Tls(ca=self._endpoint.tls.ca))
            return self._other_session

    def _timeout(self) -> tuple[float, float]:
        """Connect and idle timeouts in seconds. Connecting also ends with the run's deadline and the stall limit."""
        limits = self._endpoint.timeout
        left = [seconds for seconds in (self._run.remaining(), stall_left()) if seconds is not None]
        return max(min(limits.connect_s, *left), 0.001) if left else limits.connect_s, limits.idle_s

    def send(self, request: Request, *, foreign: bool = False) -> Reply:
        """Send one request and return the response, its body unread.

        A `foreign` request carries none of the remote's headers and client certificates, even to
        `home`. Raises the errors of `from_exception`, DeadlineExceeded if no time is left.
        """
        origin, target = split_url(request.url)
        is_home = origin == self.home and not foreign
        session = self._session_for(is_home)
        headers = {"User-Agent": f"dist/{__version__}", "Accept-Encoding": "identity", **request.headers}
        if is_home:
            headers |= self._endpoint.header
        remember_request(headers, self._endpoint.header if is_home else {}, (request.url,))
        if request.moved:
            remember_path(urlsplit(request.url).path)
        self._run.report(Notice("debug", f"> {request}"))
        try:
            proxies = proxies_for(origin, self._endpoint.proxy, self._environ)
            for proxy in proxies.values():
                remember_proxy(proxy)
            prepared = requests.Request(request.method, f"{origin}/", headers=headers, data=request.form).prepare()
            prepared.url = f"{origin}{target}"  # requests would normalise it
            response = session.send(
                prepared,
                stream=True,
                allow_redirects=False,
                timeout=self._timeout(),
                proxies=proxies,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
            raise from_exception(error, origin.netloc) from error
        self._run.report(Notice("debug", f"< {response.status_code} {redact(request.url, moved=request.moved)}"))
        return Reply(response, origin, request)

    def follow(self, request: Request, *, foreign: bool = False) -> Reply:
        """Send a GET or HEAD request and follow redirects (behaviours B21, B22).

        `foreign` applies to each hop; see `send`. Raises the errors of `follow_redirects`.
        """
        return self.follow_redirects(self.send(request, foreign=foreign), request.headers, foreign=foreign)

    def follow_redirects(self, reply: Reply, headers: Mapping[str, str], *, foreign: bool = False) -> Reply:
        """Follow the redirects of a response, sending `headers`. Returns `reply` if it is not a redirect.

        Raises PolicyRefused for a redirect that is not allowed, ProtocolError for an invalid one or
        too many, and the errors of `send`.
        """
        most = self._endpoint.redirect.max_hops
        for left in reversed(range(most + 1)):
            if reply.status not in _REDIRECTS or "Location" not in reply.headers:
                return reply
            reply.drain() if _is_short(reply) else reply.close()
            url = self._target(reply)
            if Origin.of(url) != reply.origin:
                headers = {name: value for name, value in headers.items() if name.lower() in _CROSS_ORIGIN}
            if left:
                reply = self.send(Request(reply.request.method, url, headers, moved=True), foreign=foreign)
        raise ProtocolError(f"{self.home.netloc}: more than {most} redirects")

    def _target(self, reply: Reply) -> str:
        url = resolve_location(reply.url, reply.headers["Location"])
        check_redirect(reply.origin, Origin.of(url), self._endpoint, self._policy)
        return url

    def close(self) -> None:
        """Close every connection."""
        self._home_session.close()
        if self._other_session is not None:
            self._other_session.close()


def _is_short(reply: Reply) -> bool:
    length = reply.headers.get("Content-Length", "")
    return length.isascii() and length.isdigit() and len(length) < 5


def check_redirect(source: Origin, target: Origin, endpoint: Endpoint, policy: Policy = _NO_POLICY) -> None:
    """Raise PolicyRefused if a redirect from `source` to `target` is not allowed (behaviours B22).

    Refused are: https to http; loopback, link-local and, unless `redirect.to_private`, private
    addresses as targets from another class of address, unless `redirect.allow_private`; hosts not
    in `redirect.allow_hosts` or `policy.redirect_hosts`, for each of these that is set.
    """
    if source.scheme == "https" and target.scheme == "http":
        raise PolicyRefused(f"{source.netloc} redirects from https to http ({target.netloc})")
    target_class, source_class = host_class(target.host), host_class(source.host)
    inner = ("loopback", "link-local") if endpoint.redirect.to_private else ("loopback", "link-local", "private")
    if target_class in inner and target_class != source_class and not endpoint.redirect.allow_private:
        raise PolicyRefused(
            f"{source.netloc} redirects to {target.netloc}, a {target_class} address",
            hint="redirect.allow_private = true allows it for this remote",
        )
    if target.host == source.host:
        return
    for name, allowed in (
        ("redirect.allow_hosts", endpoint.redirect.allow_hosts),
        ("policy.redirect_hosts", policy.redirect_hosts),
    ):
        if allowed and not any(_host_matches(target.host, pattern) for pattern in allowed):
            raise PolicyRefused(f"{source.netloc} redirects to {target.netloc}, which {name} does not list")


def _host_matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:].lower()) if pattern.startswith("*.") else host == pattern.lower()


def _no_cookies() -> Any:
    from http.cookiejar import DefaultCookiePolicy  # requests has loaded it

    return DefaultCookiePolicy(allowed_domains=[])
