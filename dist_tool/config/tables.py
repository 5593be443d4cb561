"""The tables of a configuration file: which keys each has, how one is read, what it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dist_tool.config import values
from dist_tool.config.document import Value
from dist_tool.config.options import Fetch
from dist_tool.config.values import Reader
from dist_tool.errors import InvalidArgument
from dist_tool.retry import Retry
from dist_tool.settings import AuthSettings, Redirects, RemoteSettings, Timeouts, Tls

_PATH_KINDS = frozenset({"archive", "layout", "store"})
_HOSTS_EXAMPLE = '["*.example.com"]'


class Key(NamedTuple):
    """How a key is read, and the parameter that takes it where that has another name."""

    read: Reader
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A reader of tables: every key is known, or the file is refused.

    `later` are keys that other versions of the format have and this one does not.
    """

    build: Callable[..., Any]
    keys: Mapping[str, Key]
    later: frozenset[str] = frozenset()

    def __call__(self, value: Value) -> Any:
        """What `build` makes of the table."""
        return self.build(**self.parameters(value))

    def parameters(self, value: Value) -> dict[str, Any]:
        """The table as parameters of `build`. Raises InvalidArgument at the first thing that is wrong."""
        if not isinstance(value.raw, dict):
            raise value.expected("a table")
        out: dict[str, Any] = {}
        for child in value.children():
            name = str(child.path[-1])
            key = self.keys.get(name)
            if key is None:
                raise self._unknown(child, name)
            out[key.parameter or name] = key.read(child)
        return out

    def _unknown(self, child: Value, name: str) -> InvalidArgument:
        if name in self.later:
            return child.error(f"{child.name} is not supported by this version")
        from difflib import get_close_matches

        close = get_close_matches(name, self.keys, 1)
        return child.error(
            f"unknown key {child.name}",
            f"did you mean {close[0]}?" if close else f"known here: {', '.join(self.keys)}",
        )

    def names(self) -> Iterator[str]:
        """Every key, those of inner tables as `tls.ca`."""
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
REMOTE = Table(
    RemoteSettings,
    {
        "prefix": Key(values.prefix),
        "kind": Key(values.kind),
        "location": Key(values.text),
        "blocked": Key(values.flag),
        "plain_http": Key(values.flag),
        "tls": Key(_TLS),
        "header": Key(values.header),
        "proxy": Key(values.proxy),
        "timeout": Key(_TIMEOUT),
        "retry": Key(_RETRY),
        "redirect": Key(_REDIRECT),
        "auth": Key(_AUTH),
    },
    later=frozenset({"capabilities", "import", "mirror"}),
)
FETCH = Table(
    Fetch,
    {
        "timeout": Key(values.duration, "timeout_s"),
        "max_size": Key(values.size),
        "lenient": Key(values.flag),
        "token_cache": Key(values.flag),
        "store": Key(values.flag),
    },
)


class Contents(NamedTuple):
    """What one file says. Of its remotes no two have the same prefix."""

    remotes: tuple[RemoteSettings, ...] = ()
    fetch: Fetch = Fetch()


def _remotes(value: Value) -> tuple[RemoteSettings, ...]:
    if not isinstance(value.raw, list):
        raise value.error("remote is not a list of tables", "write [[remote]], with two brackets")
    found: dict[str, RemoteSettings] = {}
    for child in value.children():
        remote = _remote(child)
        if remote.prefix in found:
            raise child.child("prefix").error(
                f"prefix {remote.prefix!r} is given twice", f"the other is at {found[remote.prefix].where}"
            )
        found[remote.prefix] = remote
    return tuple(found.values())


def _remote(value: Value) -> RemoteSettings:
    parameters = REMOTE.parameters(value)
    if "prefix" not in parameters:
        raise value.error("a [[remote]] has no prefix", 'as in prefix = "registry.example/team"')
    auth = parameters.get("auth", AuthSettings())
    if auth.source != "auto" and (auth.helper or auth.file):
        raise value.child("auth").error("auth.source is meaningless beside auth.helper or auth.file")
    kind = parameters.get("kind", "")
    if "location" in parameters:
        parameters["location"] = _location(value.child("location"), kind)
    elif kind in _PATH_KINDS and not parameters.get("blocked"):
        raise value.error(f"a [[remote]] of kind {kind} has no location", 'as in location = "/srv/images"')
    return RemoteSettings(**parameters, where=value.where)


def _location(value: Value, kind: str) -> str:
    """Where a remote really is; what that means is its kind's affair, save that it has no scheme."""
    if kind in ("", "registry"):
        return values.place(value)
    if kind in _PATH_KINDS:
        return values.path(value)
    if "://" in value.raw:
        raise value.error(f"{value.name}: {value.raw!r}: a location has no scheme", "leave out what is before ://")
    return values.text(value)


DOCUMENT = Table(
    Contents, {"remote": Key(_remotes, "remotes"), "fetch": Key(FETCH)}, later=frozenset({"import", "pin", "policy"})
)
