"""The user's configuration as values. `config` reads them from files and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from dist_tool.errors import InvalidArgument, PolicyRefused
from dist_tool.names.locator import Locator, is_path, parse_locator
from dist_tool.names.prefix import is_below, is_same_server_below, with_other_port
from dist_tool.names.reference import ObjectName, Reference, parse_reference
from dist_tool.oci.digest import VERIFIABLE, Digest
from dist_tool.stream.retry import Retry

_DEFAULT_KIND = "registry"
# Kinds with a default location.
_DEFAULT_LOCATION = frozenset({"containerd", "store"})
# Kinds with a single location for all names: the part of a name after the prefix is ignored.
_FLAT_KINDS = frozenset({"archive", "containerd", "store"})
CAPABILITIES = ("pull", "resolve", "push", "referrers")
EVERYTHING = frozenset(CAPABILITIES)


@dataclass(frozen=True, slots=True)
class Tls:
    """Trusted CAs and client certificates of one endpoint. Paths are absolute, files are PEM.

    `client` pairs are offered only to the endpoint's own origin (GHSA-h3wm-jjqf-8jm2);
    `skip_verify` applies only to it too.
    """

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits in seconds; `floor` in bytes per second, averaged over `floor_window_s`."""

    connect_s: float = 10.0
    headers_s: float = 30.0
    idle_s: float = 30.0
    floor: int = 1024
    floor_window_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Redirects:
    """Limits of redirects. `allow_hosts`: empty means any host, a `*.` prefix is allowed.

    `allow_private` permits loopback and link-local addresses. `to_private=False` refuses
    private addresses too: it is not configurable and applies to token servers (behaviours C16).
    """

    max_hops: int = 10
    allow_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    to_private: bool = True


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Sources of credentials. `source`: `auto`, `docker`, `containers` or `none`.

    `helper` names a docker credential helper; `file` is a docker or containers file that is
    read instead of all others; `realm_hosts` restricts the hosts of token servers.
    """

    source: str = "auto"
    helper: str = ""
    file: str = ""
    realm_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One source of objects: that of a `[[remote]]` table or of its `[[remote.mirror]]`. `where` is FILE:LINE.

    `kind` "" means `registry`. `location` "" is the location given by the name; with `flat` the
    location itself serves every name below the prefix. `header` and `proxy` may contain secrets
    and are used for this endpoint only; `proxy` "" means a direct connection, None the proxy of
    the environment.

    `capabilities` are what the endpoint is trusted to do: tags are resolved only by endpoints
    with `resolve` (behaviours D3). `api_path` is the path of a registry's API; with `ns` the
    host of the name is sent as `?ns=`. `insecure` is as in registries.conf: https without
    verification, and http if the server has no TLS (behaviours D10).
    """

    kind: str = ""
    location: str = ""
    plain_http: bool | None = None
    tls: Tls = field(default_factory=Tls)
    header: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    timeout: Timeouts = field(default_factory=Timeouts)
    retry: Retry = field(default_factory=Retry)
    redirect: Redirects = field(default_factory=Redirects)
    auth: AuthSettings = field(default_factory=AuthSettings)
    capabilities: frozenset[str] = EVERYTHING
    ns: bool = False
    api_path: str = "/v2"
    flat: bool = False
    insecure: bool = False
    where: str = ""

    @property
    def retry_limits(self) -> Retry:
        """The retry limits, with the minimum rate of this endpoint."""
        return replace(self.retry, floor=self.timeout.floor)

    def can(self, capability: str) -> bool:
        """True if the endpoint is trusted with a capability, one of CAPABILITIES."""
        return capability in self.capabilities


@dataclass(frozen=True, slots=True)
class Route:
    """The endpoints of the names below a prefix: one `[[remote]]` table. `where` is its FILE:LINE.

    `prefix` is canonical: `HOST[:PORT][/PATH]` or `*.HOST[:PORT]`, the host in lower case.
    `endpoints` are tried in order: the mirrors first, last the endpoint of the name itself.
    """

    prefix: str = ""
    endpoints: tuple[Endpoint, ...] = (Endpoint(),)
    blocked: bool = False
    where: str = ""

    @property
    def own(self) -> Endpoint:
        """The endpoint of the name itself."""
        return self.endpoints[-1]

    @property
    def mirrors(self) -> tuple[Endpoint, ...]:
        """The endpoints that are tried before the name's own."""
        return self.endpoints[:-1]

    @property
    def is_wildcard(self) -> bool:
        """True for a `*.` prefix, which matches many hosts."""
        return self.prefix.startswith("*.")

    def matches(self, locator: Locator) -> bool:
        """True if the locator's name is below the prefix; see `names.prefix.is_below`.

        A locator that names its kind (`KIND::REST`) matches only routes of that kind.
        """
        if locator.kind and locator.kind != (self.own.kind or _DEFAULT_KIND):
            return False
        return is_below(locator, self.prefix)

    def rewrite(self, locator: Locator, endpoint: Endpoint) -> Locator:
        """The locator of the same objects at an endpoint: its location and the rest of the name (behaviours D10).

        A `{rest}` in the location is replaced by the rest; a location with other braces is a
        template of its kind. The kind of the result is never "". Raises InvalidArgument if the
        result is not a valid name.
        """
        # A mirror may be of another kind than the name that it serves.
        kind = endpoint.kind or (_DEFAULT_KIND if locator.kind in ("", _DEFAULT_KIND) else locator.kind)
        if not endpoint.location:
            # A kind with a default location uses it for every name, unless `KIND::REST` gives another.
            return Locator(kind, "" if kind in _DEFAULT_LOCATION and locator.kind != kind else locator.rest)
        rest = locator.path.removeprefix(self.prefix.partition("/")[2]).removeprefix("/")
        location = _location_of(endpoint, kind, rest)
        if kind != _DEFAULT_KIND:
            return Locator(kind, location)
        if "/" not in location:  # a host without a path would be parsed as an image of docker.io
            raise InvalidArgument(f"{endpoint.where}: location {location!r} leaves {locator} without a repository")
        try:
            return parse_locator(f"{kind}::{location}")
        except InvalidArgument as error:
            raise InvalidArgument(f"{endpoint.where}: location: {error.what}", hint=error.hint) from error


def _location_of(endpoint: Endpoint, kind: str, rest: str) -> str:
    if "{" in endpoint.location:
        return endpoint.location.replace("{rest}", rest)
    if endpoint.flat or kind in _FLAT_KINDS:
        return endpoint.location
    return f"{endpoint.location.rstrip('/')}/{rest}" if rest else endpoint.location


@dataclass(frozen=True, slots=True)
class Policy:
    """`[policy]`: restrictions that override all other configuration. Sizes in bytes, None for no limit.

    `require_digest` and `blocked` are prefixes as in a remote, or `*`. `redirect_hosts` are the
    only other hosts that any remote may redirect to, empty for any. `where` has the FILE:LINE
    of each key.
    """

    require_digest: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = VERIFIABLE
    max_manifest: int | None = None
    max_size: int | None = None
    redirect_hosts: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict, compare=False)

    def digest_required_by(self, locator: Locator) -> str:
        """The prefix that requires a digest for this name, "" for none."""
        return _first_above(locator, self.require_digest)

    def check_name(self, locator: Locator) -> None:
        """Raise PolicyRefused for a blocked name."""
        prefix = _first_above(locator, self.blocked)
        if prefix:
            raise PolicyRefused(f"{locator} is blocked by {prefix!r}", hint=f"by {self.where.get('blocked', 'policy')}")

    def check_object(self, locator: Locator, name: ObjectName) -> None:
        """Raise PolicyRefused for a tag if a digest is required, and what `check_digest` raises."""
        if name.digest is not None:
            self.check_digest(name.digest)
            return
        prefix = self.digest_required_by(locator)
        if prefix:
            raise PolicyRefused(
                f"{locator}: {prefix!r} requires a digest, not the tag {name.tag!r}",
                hint=f"by {self.where.get('require_digest', 'policy')}; run dist pin {locator}:{name.tag}",
            )

    def check_digest(self, digest: Digest) -> None:
        """Raise Unsupported for an algorithm that cannot be verified, PolicyRefused for one that is not allowed."""
        if digest.algorithm not in self.algorithms:
            digest.hasher()
            raise PolicyRefused(
                f"digests of {digest.algorithm} are not allowed", hint=f"by {self.where.get('algorithms', 'policy')}"
            )


def _first_above(locator: Locator, prefixes: tuple[str, ...]) -> str:
    if locator.kind == "path":
        return ""
    return next((prefix for prefix in prefixes if is_same_server_below(locator, prefix)), "")


class Pin(NamedTuple):
    """One entry of `[pin]`: the digest that a tag must resolve to. `where` is its FILE:LINE."""

    digest: Digest
    where: str = ""


class ForeignConfig(Protocol):
    """The configuration of other programs (behaviours D1-D12). Read on first use."""

    def route_for(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The route for a name, None if no other program configures one."""

    def blocking(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The route that blocks a name, None if none does; see `route_for`."""

    def singles_out(self, locator: Locator) -> bool:
        """True if tags or digests of a repository have routes of their own."""

    def with_certificates(self, route: Route | None, locator: Locator) -> Route | None:
        """`route`, with certificates found by host for endpoints that have no TLS settings."""

    def alias(self, short: str) -> str:
        """The full name of a short-name alias, "" for none."""


class NoForeignConfig:
    """A `ForeignConfig` without any configuration (null object)."""

    def route_for(self, locator: Locator, name: ObjectName | None) -> Route | None:  # noqa: ARG002
        """None."""
        return None

    def blocking(self, locator: Locator, name: ObjectName | None) -> Route | None:  # noqa: ARG002
        """None."""
        return None

    def singles_out(self, locator: Locator) -> bool:  # noqa: ARG002
        """False."""
        return False

    def with_certificates(self, route: Route | None, locator: Locator) -> Route | None:  # noqa: ARG002
        """`route`."""
        return route

    def alias(self, short: str) -> str:  # noqa: ARG002
        """The empty string."""
        return ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The complete configuration: routes, policy, pins and the relevant environment.

    `environ` is a snapshot of the environment, for credentials, proxies and trust stores;
    `cache_dir` is "" if access tokens must not be cached; `token_dir` is the token directory
    of other runs. `store`: use the local store as a cache; it is in `store_path`, "" for the
    default. `pins` is keyed by canonical `NAME:TAG`.
    """

    routes: tuple[Route, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache_dir: str = ""
    token_dir: str = ""
    timeout_s: float | None = None
    max_size: int | None = None
    lenient: bool = False
    store: bool = False
    store_path: str = ""
    policy: Policy = field(default_factory=Policy)
    pins: Mapping[str, Pin] = field(default_factory=dict)
    others: ForeignConfig = field(default_factory=NoForeignConfig, repr=False, compare=False)

    def at_home(self, path: str) -> str:
        """A path with `~` replaced by the home directory of `environ`."""
        if path == "~" or path.startswith("~/"):
            return self.environ.get("HOME", "~") + path[1:]
        return path

    def route_for(self, locator: Locator, name: ObjectName | None = None) -> Route | None:
        """The route for a locator: the longest matching prefix; wildcards have the lowest precedence.

        Our own routes take precedence over other programs' files, which are used if none matches
        (behaviours D17), but a name that those files block stays blocked. Some of them distinguish
        tags from digests, which matters if `name` is given. A host with and without the https port
        is one server: a route for the spelling of the locator takes precedence. None if no route
        matches, and for local paths. The caller refuses a `blocked` route, and opens
        `rewrite(locator, endpoint)` for each of the `endpoints`. Raises InvalidArgument for an
        invalid file of another program.
        """
        if locator.kind == "path":
            return None
        is_name = locator.kind in ("", _DEFAULT_KIND)
        other = with_other_port(locator) if is_name else None
        for spelling in filter(None, (locator, other)):
            blocking = self.others.blocking(spelling, name)
            if blocking is not None:
                return blocking
        found = self._own_route(locator)
        if found is None and other is not None:
            found = self._own_route(other)
            if found is not None and found.own.plain_http and not found.blocked:
                found = None  # over plain http these are two servers
        if not is_name:
            return found
        return self.others.with_certificates(found or self.others.route_for(locator, name), locator)

    def _own_route(self, locator: Locator) -> Route | None:
        matching = (route for route in self.routes if route.matches(locator))
        return max(matching, key=lambda route: (not route.is_wildcard, len(route.prefix)), default=None)

    def pin_for(self, locator: Locator, tag: str) -> Digest | None:
        """The digest that a tag must resolve to, None if it is not pinned."""
        if locator.kind not in ("", _DEFAULT_KIND) or not tag:
            return None
        spellings = filter(None, (locator, with_other_port(locator)))
        return next((self.pins[key].digest for s in spellings if (key := f"{s.rest}:{tag}") in self.pins), None)

    def check_object(self, locator: Locator, name: ObjectName) -> None:
        """Raise PolicyRefused for an object that policy forbids. A pinned tag counts as a digest."""
        pinned = None if name.digest else self.pin_for(locator, name.tag)
        self.policy.check_object(locator, ObjectName(name.tag, pinned) if pinned else name)
        route = self.route_for(locator, name)
        if route is not None and route.blocked:
            raise PolicyRefused(f"{locator} {name} is blocked", hint=f"by {route.where}")

    def locator(self, text: str) -> Locator:
        """Parse a locator after resolving short-name aliases (behaviours D12)."""
        return parse_locator(self._full(text))

    def reference(self, text: str) -> Reference:
        """Parse a reference after resolving short-name aliases; tag and digest are unchanged."""
        return parse_reference(self._full(text))

    def _full(self, text: str) -> str:
        name = text.partition("@")[0].partition(":")[0]
        head, rest = name.partition("/")[0], text[len(name) :]
        has_host = "." in head or head.lower() == "localhost" or "/" in rest.partition("@")[0]
        if not name or has_host or is_path(text) or "::" in text:
            return text
        full = self.others.alias(name)
        return f"{full}{rest}" if full else text
