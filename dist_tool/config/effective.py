"""The effective configuration of all files, the environment and flags, in the form of a configuration file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dist_tool.config.tables import FETCH, MIRROR, POLICY, Table
from dist_tool.settings import CAPABILITIES, Endpoint, Policy, Route, Settings

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ACCOUNT = re.compile(r"//[^@]*@")
_HIDDEN = "…"


def effective(settings: Settings) -> dict[str, Any]:
    """All values that differ from the default, keyed as in a file; values that may be secret are `…`."""
    fetch = {
        "timeout": settings.timeout_s and _plain("timeout", settings.timeout_s),
        "max_size": settings.max_size,
        "lenient": settings.lenient or None,
        "token_cache": None if settings.cache_dir else False,
        "store": settings.store or None,
    }
    assert set(fetch) == set(FETCH.keys)
    document = {
        "remote": [_route(route) for route in settings.routes],
        "fetch": {name: value for name, value in fetch.items() if value is not None},
        "policy": _table(POLICY, settings.policy, Policy()),
        "pin": {name: str(pin.digest) for name, pin in settings.pins.items()},
        "store": {"path": settings.store_path} if settings.store_path else {},
    }
    return {name: value for name, value in document.items() if value}


def _route(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {"prefix": route.prefix}
    if route.blocked:
        found["blocked"] = True
    found |= _table(MIRROR, route.own, Endpoint())
    if route.mirrors:
        found["mirror"] = [_table(MIRROR, mirror, Endpoint()) for mirror in route.mirrors]
    return found


def _table(table: Table, value: object, default: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, key in table.keys.items():
        parameter = key.parameter or name
        mine, standard = getattr(value, parameter), getattr(default, parameter)
        if mine != standard:
            found[name] = _table(key.read, mine, standard) if isinstance(key.read, Table) else _plain(name, mine)
    return found


def _plain(name: str, value: Any) -> Any:
    if name == "header":
        return dict.fromkeys(value, _HIDDEN)
    if name == "proxy":
        return _ACCOUNT.sub(f"//{_HIDDEN}@", value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, frozenset):
        return [word for word in CAPABILITIES if word in value]
    if isinstance(value, tuple):
        return [list(item) if isinstance(item, tuple) else item for item in value]
    return value


def as_toml(settings: Settings) -> Iterator[str]:
    """The lines of `effective` as TOML, with the FILE:LINE of each table and pin in comments."""
    between: list[str] = []
    for block in _blocks(settings):
        yield from between
        yield from block
        between = [""]


def _blocks(settings: Settings) -> Iterator[Iterator[str]]:
    document = effective(settings)
    for route, value in zip(settings.routes, document.get("remote", []), strict=True):
        mirrors = value.pop("mirror", [])
        yield _lines(f"[[remote]]  # {route.where}", value)
        for mirror, inner in zip(route.mirrors, mirrors, strict=True):
            yield _lines(f"[[remote.mirror]]  # {mirror.where}", inner)
    for name in ("fetch", "store"):
        if name in document:
            yield _lines(f"[{name}]", document[name])
    if "policy" in document:
        yield _lines("[policy]", document["policy"], settings.policy.where)
    if "pin" in document:
        yield _lines("[pin]", document["pin"], {name: pin.where for name, pin in settings.pins.items()})


def _lines(header: str, table: Mapping[str, Any], where: Mapping[str, str] | None = None) -> Iterator[str]:
    yield header
    for name, value in table.items():
        comment = f"  # {where[name]}" if where and name in where else ""
        yield f"{_name(name)} = {_value(value)}{comment}"


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_name(name)} = {_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
