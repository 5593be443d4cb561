"""One HTTP exchange at a time: sending, and following redirects by our own rules.

The only place that touches requests' HttpSession. Nothing is retried here, no status is judged.
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
from dist_tool.transport.deadlines import ConnectionLimits, PacedResponse, pool_classes
from dist_tool.transport.failures import from_exception
from dist_tool.transport.proxies import proxies_for
from dist_tool.transport.redaction import remember_path, remember_proxy, remember_request
from dist_tool.transport.tls import tls_context

if TYPE_CHECKING:
    from requests.models import PreparedRequest

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DRAIN_LIMIT = 64 << 10  # a short body is read to keep its connection; a longer one is dropped
_RETRY_NEVER = urllib3.Retry(0, read=False)
_NO_POLICY = Policy()
# What may follow a redirect to another origin: nothing that identifies or belongs to somebody (B21, T3).
_TRAVELLING = frozenset({"accept", "accept-encoding", "range", "if-range", "user-agent"})


class Request(NamedTuple):
    """A request as its caller means it; `headers` go to the first origin only, save the harmless.

    `moved`: a redirect named the URL, which may then hold a signature anywhere.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    form: Mapping[str, str] | None = None
    moved: bool = False

    def __str__(self) -> str:
        return f"{self.method} {redact(self.url, moved=self.moved)}"


class Reply:
    """Status and headers of an answer whose body has not been read yet."""

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
        """The body up to `limit` bytes, and one more where there is more; closes.

        Raises Truncated and its kin where it is cut.
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
        """Fill a part of `view` with raw, undecoded bytes; 0 at the end, also a premature one."""
        raw = self._response.raw
        original = getattr(raw, "_original_response", None)
        try:
            if isinstance(original, PacedResponse):
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
        """Read a short body, so that the connection can be used again; drop a long or broken one."""
        length = self.headers.get("Content-Length", "")
        if self.request.method != "HEAD" and length.isascii() and length.isdigit() and int(length) <= _DRAIN_LIMIT:
            with suppress(DistError):
                self.read(_DRAIN_LIMIT)
        self.close()

    def close(self) -> None:
        """Let go of the connection, for the next request if it is fit for one. Idempotent."""
        raw = self._response.raw
        original = getattr(raw, "_original_response", None)
        if isinstance(original, PacedResponse) and original.reusable:
            raw.release_conn()
        self._response.close()


class _Session(requests.Session):
    """A session that never looks at a redirect.

    requests reads the whole body of one, decoded, even with stream=True and allow_redirects=False.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None


class _Adapter(HTTPAdapter):
    """Paced connections with exactly the TLS context that is given, made on first use.

    One context for all threads: connections of another would be pooled apart.
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
        verify: Any,  # noqa: ARG002  the context decides
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
        """The target exactly as in the URL, which is whole and safe: see `split_url`."""
        whole = request.url or ""
        origin, target = split_url(whole)
        return target if super().request_url(request, proxies).startswith("/") else f"{origin}{target}"

    def close(self) -> None:
        """Close every idle connection now: urllib3 leaves that to the garbage collection of its pools."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  it cannot be iterated over
                if (pool := manager.pools.get(key)) is not None:
                    pool.close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context decides."""


class HttpSession:
    """Connections for one remote: one set for its own origin, one for everywhere else. Thread-safe.

    `home` is where headers, client certificates and authorisation belong to.
    """

    def __init__(self, home: Origin, context: Context) -> None:
        self.home = home
        self._endpoint: Endpoint = context.endpoint
        self._policy = context.settings.policy
        self._environ = context.settings.environ
        self._run: Run = context.run
        self._guard = Lock()
        own = context.endpoint.tls
        self._at_home = self._new(own)
        self._away: _Session | None = None

    def _new(self, tls: Tls) -> _Session:
        session = _Session()
        session.trust_env = False
        session.headers.clear()
        session.cookies.set_policy(_no_cookies())
        adapter = _Adapter(tls, self._environ, ConnectionLimits(self._endpoint.timeout, self._run))
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        return session

    def _session_for(self, at_home: bool) -> _Session:
        if at_home:
            return self._at_home
        with self._guard:
            if self._away is None:  # trust in a CA is no secret; certificates and skip_verify stay at home
                self._away = self._new(Tls(ca=self._endpoint.tls.ca))
            return self._away

    def _timeout(self) -> tuple[float, float]:
        """Seconds for connecting and for silence; connecting ends with the time of the whole command or object."""
        limits = self._endpoint.timeout
        left = [seconds for seconds in (self._run.remaining(), stall_left()) if seconds is not None]
        return max(min(limits.connect_s, *left), 0.001) if left else limits.connect_s, limits.idle_s

    def send(self, request: Request, *, foreign: bool = False) -> Reply:
        """Send one request and return the answer's head.

        What is `foreign` has nothing of ours, not even where it leads home. Raises as
        `from_exception` maps, DeadlineExceeded where no time is left.
        """
        origin, target = split_url(request.url)
        at_home = origin == self.home and not foreign
        session = self._session_for(at_home)
        headers = {"User-Agent": f"dist/{__version__}", "Accept-Encoding": "identity", **request.headers}
        if at_home:
            headers |= self._endpoint.header
        remember_request(headers, self._endpoint.header if at_home else {}, (request.url,))
        if request.moved:
            remember_path(urlsplit(request.url).path)
        self._run.report(Notice("debug", f"> {request}"))
        try:
            proxies = proxies_for(origin, self._endpoint.proxy, self._environ)
            for proxy in proxies.values():
                remember_proxy(proxy)
            prepared = requests.Request(request.method, f"{origin}/", headers=headers, data=request.form).prepare()
            prepared.url = f"{origin}{target}"  # not as requests would rewrite it
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
        """Send, and follow redirects (behaviours B21, B22). GET and HEAD only.

        `foreign` holds for every hop; see `send`. Raises as `follow_redirects`.
        """
        return self.follow_redirects(self.send(request, foreign=foreign), request.headers, foreign=foreign)

    def follow_redirects(self, reply: Reply, headers: Mapping[str, str], *, foreign: bool = False) -> Reply:
        """The answer that another one leads to, asked for with `headers`; itself where it is no redirect.

        Raises PolicyRefused for a redirect that must not be followed, ProtocolError for one that
        cannot be, and what `send` raises.
        """
        most = self._endpoint.redirect.max_hops
        for left in reversed(range(most + 1)):
            if reply.status not in _REDIRECTS or "Location" not in reply.headers:
                return reply
            reply.drain() if _is_short(reply) else reply.close()
            url = self._target(reply)
            if Origin.of(url) != reply.origin:
                headers = {name: value for name, value in headers.items() if name.lower() in _TRAVELLING}
            if left:
                reply = self.send(Request(reply.request.method, url, headers, moved=True), foreign=foreign)
        raise ProtocolError(f"{self.home.netloc}: more than {most} redirects")

    def _target(self, reply: Reply) -> str:
        url = resolve_location(reply.url, reply.headers["Location"])
        check_redirect(reply.origin, Origin.of(url), self._endpoint, self._policy)
        return url

    def close(self) -> None:
        """Close every connection."""
        self._at_home.close()
        if self._away is not None:
            self._away.close()


def _is_short(reply: Reply) -> bool:
    length = reply.headers.get("Content-Length", "")
    return length.isascii() and length.isdigit() and len(length) < 5


def check_redirect(source: Origin, target: Origin, endpoint: Endpoint, policy: Policy = _NO_POLICY) -> None:
    """Raise PolicyRefused where `source` must not send us to `target` (behaviours B22).

    Never from https to http; never to loopback or link-local from anywhere else, unless
    `redirect.allow_private`; only to `redirect.allow_hosts` where those are given, and to
    `policy.redirect_hosts` where those are.
    """
    if source.scheme == "https" and target.scheme == "http":
        raise PolicyRefused(f"{source.netloc} redirects from https to http ({target.netloc})")
    to, here = host_class(target.host), host_class(source.host)
    inner = ("loopback", "link-local") if endpoint.redirect.to_private else ("loopback", "link-local", "private")
    if to in inner and to != here and not endpoint.redirect.allow_private:
        raise PolicyRefused(
            f"{source.netloc} redirects to {target.netloc}, a {to} address",
            hint="redirect.allow_private = true allows it for this remote",
        )
    if target.host == source.host:
        return
    for name, allowed in (
        ("redirect.allow_hosts", endpoint.redirect.allow_hosts),
        ("policy.redirect_hosts", policy.redirect_hosts),
    ):
        if allowed and not any(_host_fits(target.host, pattern) for pattern in allowed):
            raise PolicyRefused(f"{source.netloc} redirects to {target.netloc}, which {name} does not name")


def _host_fits(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:].lower()) if pattern.startswith("*.") else host == pattern.lower()


def _no_cookies() -> Any:
    from http.cookiejar import DefaultCookiePolicy  # requests has loaded it

    return DefaultCookiePolicy(allowed_domains=[])
