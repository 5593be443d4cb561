"""What the user configured, as values. Reading files and the environment is `config`'s."""

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
# Kinds that have a place of their own where no location is given.
_OWN_PLACE = frozenset({"containerd", "store"})
# One place for every name: what follows the prefix in a name means nothing there.
_FLAT_KINDS = frozenset({"archive", "containerd", "store"})
CAPABILITIES = ("pull", "resolve", "push", "referrers")
EVERYTHING = frozenset(CAPABILITIES)


@dataclass(frozen=True, slots=True)
class Tls:
    """Trust and client certificates of one endpoint. Paths are absolute, files are PEM.

    `client` pairs are offered to the endpoint's own origin only (GHSA-h3wm-jjqf-8jm2);
    `skip_verify` ends there too.
    """

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds; `floor` in bytes a second, averaged over `floor_window_s`."""

    connect_s: float = 10.0
    headers_s: float = 30.0
    idle_s: float = 30.0
    floor: int = 1024
    floor_window_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Redirects:
    """Where an endpoint may send us. `allow_hosts`: empty means any, `*.` prefix allowed.

    `allow_private` lifts the refusal of loopback and link-local addresses. `to_private` False
    refuses private ones too: nobody configures that, token servers are held to it (C16).
    """

    max_hops: int = 10
    allow_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    to_private: bool = True


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Where credentials come from. `source`: `auto`, `docker`, `containers` or `none`.

    `helper` names a docker credential helper; `file` is a docker or containers file that is
    read instead of all others; `realm_hosts` narrows who may be a token server.
    """

    source: str = "auto"
    helper: str = ""
    file: str = ""
    realm_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One source of objects: that of a `[[remote]]` table, or a `[[remote.mirror]]` of it. `where` is FILE:LINE.

    `kind` "" means `registry`. `location` "" is the place that the name gives; with `flat` the
    location itself serves every name below the prefix. `header` and `proxy` may hold secrets
    and are sent here only; `proxy` "" means a direct connection, None the environment's.

    `capabilities` limit what the endpoint is trusted with: tags are resolved only by endpoints
    with `resolve` (behaviours D3). `api_path` is the path of a registry's API; with `ns` the
    host of the name is sent as `?ns=`. `insecure` is that of registries.conf: https without
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
        """The limits of retrying, with the rate that counts as progress here."""
        return replace(self.retry, floor=self.timeout.floor)

    def can(self, capability: str) -> bool:
        """True if the endpoint is trusted with one of CAPABILITIES."""
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
        """The endpoints that are tried before it."""
        return self.endpoints[:-1]

    @property
    def is_wildcard(self) -> bool:
        """True for a prefix that stands for many hosts."""
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
            # Such a kind has one location for every name; `KIND::REST` itself gives another.
            return Locator(kind, "" if kind in _OWN_PLACE and locator.kind != kind else locator.rest)
        rest = locator.path.removeprefix(self.prefix.partition("/")[2]).removeprefix("/")
        location = _location_of(endpoint, kind, rest)
        if kind != _DEFAULT_KIND:
            return Locator(kind, location)
        if "/" not in location:  # a lone host would be read as an image of docker.io
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
    """`[policy]`: what is refused whatever else is configured. Sizes in bytes, None for no limit.

    `require_digest` and `blocked` are prefixes as of a remote, or `*`. `redirect_hosts` are the
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
        """The prefix under which a name may be asked for by digest only, "" for none."""
        return _first_above(locator, self.require_digest)

    def check_name(self, locator: Locator) -> None:
        """Raise PolicyRefused for a name that is blocked."""
        prefix = _first_above(locator, self.blocked)
        if prefix:
            raise PolicyRefused(f"{locator} is blocked by {prefix!r}", hint=f"by {self.where.get('blocked', 'policy')}")

    def check_object(self, locator: Locator, name: ObjectName) -> None:
        """Raise PolicyRefused for a tag where a digest is required, and for an algorithm not allowed."""
        if name.digest is not None:
            self.check_digest(name.digest)
            return
        prefix = self.digest_required_by(locator)
        if prefix:
            raise PolicyRefused(
                f"{locator}: {prefix!r} takes digests only, not the tag {name.tag!r}",
                hint=f"by {self.where.get('require_digest', 'policy')}; dist pin {locator}:{name.tag} would do",
            )

    def check_digest(self, digest: Digest) -> None:
        """Raise PolicyRefused for a digest of an algorithm that is not allowed."""
        if digest.algorithm not in self.algorithms:
            raise PolicyRefused(
                f"digests of {digest.algorithm} are not allowed", hint=f"by {self.where.get('algorithms', 'policy')}"
            )


def _first_above(locator: Locator, prefixes: tuple[str, ...]) -> str:
    if locator.kind == "path":
        return ""
    return next((prefix for prefix in prefixes if is_same_server_below(locator, prefix)), "")


class Pin(NamedTuple):
    """One entry of `[pin]`: the digest that a tag must mean. `where` is its FILE:LINE."""

    digest: Digest
    where: str = ""


class ForeignConfig(Protocol):
    """What other programs' configuration says (behaviours D1-D12). Read when first asked."""

    def route_for(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The table for a name, None where nobody else has one."""

    def blocking(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The table that blocks a name, None when none does; see `route_for`."""

    def singles_out(self, locator: Locator) -> bool:
        """True where single tags or digests of a repository have tables of their own."""

    def with_certificates(self, route: Route | None, locator: Locator) -> Route | None:
        """`route`, with certificates found by host for endpoints whose table has nothing on TLS."""

    def alias(self, short: str) -> str:
        """The full name that a short one stands for, "" for none."""


class NoForeignConfig:
    """No other configuration at all."""

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
        """Nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything: the routes and the environment's part that concerns fetching.

    `environ` is a snapshot of the environment, for credentials, proxies and trust stores;
    `cache_dir` is "" where access tokens must not be kept; `token_dir` is where other runs keep
    them. `store`: fetched objects go through the local store, which is at `store_path` where that
    is not "". `pins` is keyed by canonical `NAME:TAG`.
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
        """A path, its `~` being the environment's home directory."""
        if path == "~" or path.startswith("~/"):
            return self.environ.get("HOME", "~") + path[1:]
        return path

    def route_for(self, locator: Locator, name: ObjectName | None = None) -> Route | None:
        """The table for a locator: of those that match, the longest prefix, a wildcard's last of all.

        Our own tables win over other programs' files, which are asked when none matches (D17),
        but what those block stays blocked. Some of them distinguish tags from digests, which
        counts when `name` is given. A host with and without the https port is one server: a
        table for the spelling that is asked for comes first. None when there is no table, and
        for local paths. The caller refuses what is `blocked`, and opens `rewrite(locator, endpoint)` for
        each of the `endpoints`. Raises InvalidArgument for a broken file of others.
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
                found = None  # without https the two are two servers
        if not is_name:
            return found
        return self.others.with_certificates(found or self.others.route_for(locator, name), locator)

    def _own_route(self, locator: Locator) -> Route | None:
        matching = (route for route in self.routes if route.matches(locator))
        return max(matching, key=lambda route: (not route.is_wildcard, len(route.prefix)), default=None)

    def pin_for(self, locator: Locator, tag: str) -> Digest | None:
        """The digest that a tag must mean, None when it is not pinned."""
        if locator.kind not in ("", _DEFAULT_KIND) or not tag:
            return None
        spellings = filter(None, (locator, with_other_port(locator)))
        return next((self.pins[key].digest for s in spellings if (key := f"{s.rest}:{tag}") in self.pins), None)

    def check_object(self, locator: Locator, name: ObjectName) -> None:
        """Raise PolicyRefused for an object that policy forbids. A pinned tag is as good as a digest."""
        pinned = None if name.digest else self.pin_for(locator, name.tag)
        self.policy.check_object(locator, ObjectName(name.tag, pinned) if pinned else name)
        route = self.route_for(locator, name)
        if route is not None and route.blocked:
            raise PolicyRefused(f"{locator} {name} is blocked", hint=f"by {route.where}")

    def locator(self, text: str) -> Locator:
        """`parse_locator`, short-name aliases first (behaviours D12)."""
        return parse_locator(self._full(text))

    def reference(self, text: str) -> Reference:
        """`parse_reference`, short-name aliases first; tag and digest stay."""
        return parse_reference(self._full(text))

    def _full(self, text: str) -> str:
        name = text.partition("@")[0].partition(":")[0]
        head, rest = name.partition("/")[0], text[len(name) :]
        has_host = "." in head or head.lower() == "localhost" or "/" in rest.partition("@")[0]
        if not name or has_host or is_path(text) or "::" in text:
            return text
        full = self.others.alias(name)
        return f"{full}{rest}" if full else text
