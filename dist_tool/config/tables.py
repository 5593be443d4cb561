"""Schema of configuration files: the tables, their keys, the readers of values, and the resulting types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from dist_tool.config import values
from dist_tool.config.document import Value
from dist_tool.config.options import IMPORTS, FetchDefaults
from dist_tool.config.values import Reader
from dist_tool.errors import InvalidArgument
from dist_tool.oci.digest import VERIFIABLE
from dist_tool.settings import CAPABILITIES, AuthSettings, Endpoint, Pin, Policy, Redirects, Route, Timeouts, Tls
from dist_tool.stream.retry import Retry

_PATH_KINDS = frozenset({"archive", "layout", "store"})
_KINDS_WITH_DEFAULT = frozenset({"containerd", "store"})  # kinds with a default location
_HOSTS_EXAMPLE = '["*.example.com"]'


class Key(NamedTuple):
    """The reader of a key, and the parameter of `build` for it if its name differs."""

    read: Reader
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A reader of tables. Unknown keys are errors.

    If `lenient`, unknown keys are ignored, as by the programs that own the format.
    """

    build: Callable[..., Any]
    keys: Mapping[str, Key]
    lenient: bool = False

    def __call__(self, value: Value) -> Any:
        """The result of `build` for the table."""
        return self.build(**self.parameters(value))

    def parameters(self, value: Value) -> dict[str, Any]:
        """The table as parameters of `build`. Raises the first InvalidArgument."""
        if not isinstance(value.raw, dict):
            raise value.expected("a table")
        return dict(pair for pair in value.each(self._parameter) if pair[0])

    def _parameter(self, child: Value) -> tuple[str, Any]:
        name = str(child.path[-1])
        key = self.keys.get(name)
        if key is not None:
            return key.parameter or name, key.read(child)
        if self.lenient:
            return "", None
        raise self._unknown(child, name)

    def _unknown(self, child: Value, name: str) -> InvalidArgument:
        from difflib import get_close_matches

        close = get_close_matches(name, self.keys, 1)
        return child.error(
            f"unknown key {child.name}",
            f"did you mean {close[0]}?" if close else f"known keys: {', '.join(self.keys)}",
        )

    def names(self) -> Iterator[str]:
        """All keys; those of nested tables as `tls.ca`."""
        for name, key in self.keys.items():
            if isinstance(key.read, Table):
                yield from (f"{name}.{inner}" for inner in key.read.names())
            else:
                yield name


_TLS = Table(
    Tls,
    {
        "ca": Key(values.each(values.existing_file, "files", 'ca = ["ca.pem"]')),
        "client": Key(values.each(values.pair_of_files, "pairs", 'client = [["c.pem", "c.key"]]')),
        "skip_verify": Key(values.flag),
    },
)
_AUTH = Table(
    AuthSettings,
    {
        "source": Key(values.choice("auto", "docker", "containers", "none")),
        "helper": Key(values.helper),
        "file": Key(values.existing_file),
        "realm_hosts": Key(values.each(values.host_and_port_pattern, "hosts", _HOSTS_EXAMPLE)),
    },
)
_TIMEOUT = Table(
    Timeouts,
    {
        "connect": Key(values.positive_duration, "connect_s"),
        "headers": Key(values.positive_duration, "headers_s"),
        "idle": Key(values.positive_duration, "idle_s"),
        "floor": Key(values.size),
        "floor_window": Key(values.positive_duration, "floor_window_s"),
    },
)
_RETRY = Table(
    Retry,
    {
        "attempts": Key(values.integer(1, 100)),
        "base": Key(values.duration, "base_s"),
        "cap": Key(values.duration, "cap_s"),
        "max_wait": Key(values.duration, "max_wait_s"),
        "max_stall": Key(values.positive_duration, "max_stall_s"),
    },
)
_REDIRECT = Table(
    Redirects,
    {
        "max_hops": Key(values.integer(0, 50)),
        "allow_hosts": Key(values.each(values.host_pattern, "hosts", _HOSTS_EXAMPLE)),
        "allow_private": Key(values.flag),
    },
)
_ENDPOINT = {
    "kind": Key(values.kind),
    "location": Key(values.text),
    "flat": Key(values.flag),
    "api_path": Key(values.api_path),
    "capabilities": Key(values.words(CAPABILITIES), "capabilities"),
    "ns": Key(values.flag),
    "plain_http": Key(values.flag),
    "tls": Key(_TLS),
    "header": Key(values.header),
    "proxy": Key(values.proxy),
    "timeout": Key(_TIMEOUT),
    "retry": Key(_RETRY),
    "redirect": Key(_REDIRECT),
    "auth": Key(_AUTH),
}
MIRROR = Table(Endpoint, _ENDPOINT)


def _mirrors(value: Value) -> tuple[Endpoint, ...]:
    if not isinstance(value.raw, list):
        raise value.error("mirror is not a list of tables", "write [[remote.mirror]], with two brackets")
    return tuple(value.each(_mirror))


def _mirror(value: Value) -> Endpoint:
    parameters = MIRROR.parameters(value)
    if "location" not in parameters and parameters.get("kind") not in _KINDS_WITH_DEFAULT:
        raise value.error("a [[remote.mirror]] has no location", 'as in location = "mirror.example/hub"')
    return _endpoint(value, parameters, "[[remote.mirror]]")


REMOTE = Table(
    dict,
    {"prefix": Key(values.prefix), "blocked": Key(values.flag), **_ENDPOINT, "mirror": Key(_mirrors, "mirrors")},
)
FETCH = Table(
    FetchDefaults,
    {
        "timeout": Key(values.duration, "timeout_s"),
        "max_size": Key(values.size),
        "lenient": Key(values.flag),
        "token_cache": Key(values.flag),
        "store": Key(values.flag),
    },
)


STORE = Table(dict, {"path": Key(values.path)})
POLICY = Table(
    dict,
    {
        "require_digest": Key(values.each(values.name_pattern, "prefixes", '["prod.example"]')),
        "blocked": Key(values.each(values.name_pattern, "prefixes", '["evil.example"]')),
        "algorithms": Key(values.each(values.choice(*VERIFIABLE), "algorithms", '["sha256"]')),
        "max_manifest": Key(values.size),
        "max_size": Key(values.size),
        "redirect_hosts": Key(values.each(values.host_pattern, "hosts", _HOSTS_EXAMPLE)),
    },
)


class Contents(NamedTuple):
    """The content of one file; None and "" for values that it does not set. Prefixes of routes are unique."""

    routes: tuple[Route, ...] = ()
    fetch: FetchDefaults = FetchDefaults()
    policy: Policy = Policy()
    pins: Mapping[str, Pin] = MappingProxyType({})
    store_path: str = ""
    imports: tuple[str, ...] | None = None
    hosts_dir: str = ""


def _routes(value: Value) -> tuple[Route, ...]:
    if not isinstance(value.raw, list):
        raise value.error("remote is not a list of tables", "write [[remote]], with two brackets")
    found: dict[str, Route] = {}

    def read(child: Value) -> None:
        route = _route(child)
        if route.prefix in found:
            raise child.child("prefix").error(
                f"prefix {route.prefix!r} is given twice", f"the other is at {found[route.prefix].where}"
            )
        found[route.prefix] = route

    value.each(read)
    return tuple(found.values())


def _route(value: Value) -> Route:
    parameters = REMOTE.parameters(value)
    if "prefix" not in parameters:
        raise value.error("a [[remote]] has no prefix", 'as in prefix = "registry.example/team"')
    prefix, blocked = parameters.pop("prefix"), parameters.pop("blocked", False)
    mirrors: tuple[Endpoint, ...] = parameters.pop("mirrors", ())
    own = _endpoint(value, parameters, "[[remote]]", blocked=blocked)
    return Route(prefix, (*mirrors, own), blocked, value.where)


def _endpoint(value: Value, parameters: dict[str, Any], table: str, *, blocked: bool = False) -> Endpoint:
    """The endpoint, from the keys that remotes and mirrors have in common."""
    auth = parameters.get("auth", AuthSettings())
    if auth.source != "auto" and (auth.helper or auth.file):
        raise value.child("auth").error("auth.source cannot be combined with auth.helper or auth.file")
    kind = parameters.get("kind", "")
    if "location" in parameters:
        parameters["location"] = _location(value.child("location"), kind)
    elif kind in _PATH_KINDS - _KINDS_WITH_DEFAULT and not blocked:
        raise value.error(f"a {table} of kind {kind} has no location", 'as in location = "/srv/images"')
    return Endpoint(**parameters, where=value.where)


def _location(value: Value, kind: str) -> str:
    """The location of an endpoint. Its grammar depends on the kind; a scheme is never allowed."""
    if kind in ("", "registry"):
        return values.registry_location(value)
    if kind in _PATH_KINDS:
        return values.path(value)
    if "://" in value.raw:
        raise value.error(f"{value.name}: {value.raw!r}: a location has no scheme", "remove the part before ://")
    return values.text(value)


def _policy(value: Value) -> Policy:
    parameters = POLICY.parameters(value)
    for name in ("max_manifest", "max_size"):
        parameters[name] = parameters.get(name) or None
    if parameters.get("algorithms") == ():
        raise value.child("algorithms").error("policy.algorithms is empty: nothing could be fetched")
    return Policy(**parameters, where={str(child.path[-1]): child.where for child in value.children()})


def _pins(value: Value) -> Mapping[str, Pin]:
    if not isinstance(value.raw, dict):
        raise value.expected("a table")
    found: dict[str, Pin] = {}

    def read(child: Value) -> None:
        name = values.pinned_name(child)
        if name in found:
            raise child.error(f"{name} is pinned twice", f"the other is at {found[name].where}")
        found[name] = Pin(values.digest(child), child.where)

    value.each(read)
    return found


def _store_path(value: Value) -> str:
    return str(STORE(value).get("path", ""))


DOCUMENT = Table(
    Contents,
    {
        "remote": Key(_routes, "routes"),
        "fetch": Key(FETCH),
        "policy": Key(_policy),
        "pin": Key(_pins, "pins"),
        "store": Key(_store_path, "store_path"),
        "import": Key(values.each(values.choice(*IMPORTS), "names", 'import = ["hosts.toml"]'), "imports"),
        "hosts_dir": Key(values.path),
    },
)
