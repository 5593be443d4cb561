"""The containers tools' `registries.conf` (behaviours D8-D12)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dist_tool.config import values
from dist_tool.config.document import Value, parse_document
from dist_tool.config.reading import read_file
from dist_tool.config.tables import Key, Table
from dist_tool.errors import InvalidArgument
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.names.prefix import is_below
from dist_tool.names.reference import ObjectName, parse_object
from dist_tool.settings import EVERYTHING, Endpoint, Route, Tls

# Mirrors are only read, never written (D11).
_READING = EVERYTHING - {"push"}
# Capabilities of a mirror by its use, if the object (tag or digest) is not known.
_USES = {"all": _READING, "digest-only": _READING - {"resolve"}, "tag-only": frozenset({"resolve"})}


class _Name(NamedTuple):
    """A prefix or location: its canonical name, and its tag or digest, "" if it has none."""

    name: str
    object_id: str


def _name(value: Value) -> _Name:
    word = values.text(value).rstrip("/")
    head, at, digest = word.partition("@")
    slash, colon = head.rfind("/"), head.rfind(":")
    has_tag = colon > slash >= 0
    name, tag = (head[:colon], head[colon + 1 :]) if has_tag else (head, "")
    bare = Value(value.source, value.path, name)
    object_id = f"{tag}@{digest}" if tag and at else digest or tag
    if object_id:
        value.parsed(lambda _: parse_object(object_id))
    return _Name(values.prefix(bare), object_id)


def _location(value: Value) -> _Name | None:
    """A prefix or location; None if it is empty, which counts as unset."""
    return _name(value) if value.raw != "" else None


_MIRROR = Table(
    dict,
    {
        "location": Key(_location),
        "insecure": Key(values.flag),
        "pull-from-mirror": Key(lambda value: value),
    },
    lenient=True,
)


def _mirrors(value: Value) -> tuple[tuple[Value, dict[str, Any]], ...]:
    if not isinstance(value.raw, list):
        raise value.error("mirror is not a list of tables", "write [[registry.mirror]], with two brackets")
    return tuple(value.each(lambda child: (child, _MIRROR(child))))


_REGISTRY = Table(
    dict,
    {
        "prefix": Key(_location),
        "location": Key(_location),
        "insecure": Key(values.flag),
        "blocked": Key(values.flag),
        "mirror-by-digest-only": Key(values.flag),
        "mirror": Key(_mirrors),
        "pull-from-mirror": Key(lambda value: value),
    },
    lenient=True,
)


@dataclass(frozen=True, slots=True)
class Registry:
    """A `[[registry]]` table. `uses` has the permitted use of each mirror, a key of `_USES`."""

    route: Route
    object_id: str = ""
    uses: tuple[str, ...] = ()

    def matches(self, locator: Locator, name: ObjectName | None) -> bool:
        """True if the table applies to the name. A table with a tag or digest applies only to that object."""
        if not is_below(locator, self.route.prefix):
            return False
        if not self.object_id:
            return True
        exact = locator.rest == self.route.prefix
        return exact and name is not None and self.object_id in (name.tag, str(name.digest or ""), str(name))

    def route_of(self, name: ObjectName | None) -> Route:
        """The route for an object, with only the mirrors that may be used for it (D11)."""
        mirrors = []
        for mirror, use in zip(self.route.mirrors, self.uses, strict=True):
            if name is None:
                mirrors.append(replace(mirror, capabilities=_USES[use]))
            elif use == "all" or (use == "digest-only") == (name.digest is not None):
                mirrors.append(mirror)
        return replace(self.route, endpoints=(*mirrors, self.route.own))


class Registries(NamedTuple):
    """The merged content of all files. No two tables have the same prefix and object."""

    tables: tuple[Registry, ...]
    aliases: Mapping[str, str]

    def find(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The route of the table with the longest matching prefix (D9), None if none matches."""
        matching = (table for table in self.tables if table.matches(locator, name))
        found = max(matching, key=_weight, default=None)
        return found.route_of(name) if found else None

    def singles_out(self, locator: Locator) -> bool:
        """True if a table is for a single tag or digest of the repository."""
        return any(table.object_id and table.route.prefix == locator.rest for table in self.tables)


def _weight(table: Registry) -> tuple[bool, int, int]:
    return not table.route.is_wildcard, len(table.route.prefix), len(table.object_id)


def read_files(files: Sequence[str], environ: Mapping[str, str]) -> Registries:
    """Read and merge files; tables and aliases of later files replace those of earlier ones.

    Raises InvalidArgument with file and line for the first invalid file.
    """
    tables: dict[tuple[str, str], Registry] = {}
    aliases: dict[str, str] = {}
    for file in files:
        found = read_document(parse_document(file, read_file(file) or b"", environ))
        tables |= {(table.route.prefix, table.object_id): table for table in found.tables}
        aliases |= found.aliases
    return Registries(tuple(tables.values()), {short: full for short, full in aliases.items() if full})


def _registries(value: Value) -> tuple[Registry, ...]:
    if not isinstance(value.raw, list):
        raise value.error("registry is not a list of tables", "write [[registry]], with two brackets")
    tables = value.each(_registry)
    _check_agreement(tables)
    first: dict[tuple[str, str], Registry] = {}
    for table in tables:
        first.setdefault((table.route.prefix, table.object_id), table)
    return tuple(first.values())


def _check_agreement(tables: Sequence[Registry]) -> None:
    """Raise InvalidArgument if a location is insecure or blocked in only one of its tables, which is ambiguous."""
    seen: dict[str, Route] = {}
    for table in tables:
        route = table.route
        location = (route.own.location or route.prefix) + table.object_id
        other = seen.setdefault(location, route)
        for what, differs in (
            ("insecure", other.own.insecure != route.own.insecure),
            ("blocked", other.blocked != route.blocked),
        ):
            if differs:
                raise InvalidArgument(
                    f"{route.where}: {location} is {what} in only one of two tables; the other is at {other.where}"
                )


def _registry(value: Value) -> Registry:
    found = _REGISTRY(value)
    location: _Name | None = found.get("location")
    prefix: _Name | None = found.get("prefix") or location
    if prefix is None:
        raise value.error("a [[registry]] has neither prefix nor location")
    if location is None and not prefix.name.startswith("*."):
        raise value.error("a [[registry]] has no location", 'only one with a prefix like "*.example.com" needs none')
    if "pull-from-mirror" in found and found["pull-from-mirror"].raw != "":
        raise found["pull-from-mirror"].error("pull-from-mirror is for mirrors only")
    only_digests = bool(found.get("mirror-by-digest-only"))
    mirrors = [_mirror(child, keys, prefix) for child, keys in found.get("mirror", ())]
    uses = tuple(_use(child, keys, only_digests=only_digests) for child, keys in found.get("mirror", ()))
    own = Endpoint(
        location=_rewritten(value, prefix, location) if location else "",
        where=value.where,
        **_security(insecure=bool(found.get("insecure"))),
    )
    route = Route(prefix.name, (*mirrors, own), bool(found.get("blocked")), value.where)
    return Registry(route, prefix.object_id, uses)


def _mirror(value: Value, keys: Mapping[str, Any], prefix: _Name) -> Endpoint:
    location: _Name | None = keys.get("location")
    if location is None:
        raise value.error("a [[registry.mirror]] has no location")
    return Endpoint(
        location=_rewritten(value, prefix, location),
        capabilities=_READING,
        where=value.where,
        **_security(insecure=bool(keys.get("insecure"))),
    )


def _rewritten(value: Value, prefix: _Name, location: _Name) -> str:
    if location.name.startswith("*."):
        raise value.error(f"location {location.name!r} is a wildcard, which only a prefix can be")
    if location.object_id != prefix.object_id:
        raise value.error(
            f"location changes {prefix.object_id or 'any tag'!r} to {location.object_id or 'any tag'!r}",
            "use the same tag or digest in prefix and location",
        )
    return "" if location == prefix else location.name


def _use(value: Value, keys: Mapping[str, Any], *, only_digests: bool) -> str:
    use: Value | None = keys.get("pull-from-mirror")
    if use is None or use.raw == "":
        return "digest-only" if only_digests else "all"
    if only_digests:
        raise use.error("pull-from-mirror cannot be combined with mirror-by-digest-only", f"see {value.where}")
    return str(values.choice(*_USES)(use))


def _security(*, insecure: bool) -> dict[str, Any]:
    return {"insecure": True, "tls": Tls(skip_verify=True)} if insecure else {}


def _aliases(value: Value) -> dict[str, str]:
    if not isinstance(value.raw, dict):
        raise value.expected("a table")
    return dict(value.each(_alias))


def _alias(value: Value) -> tuple[str, str]:
    """A short name and its full name, "" to remove the alias. Neither has a tag or digest."""
    short = str(value.path[-1])
    head = short.partition("/")[0]
    if "." in head or ":" in short or "@" in short or head.lower() == "localhost" or not short:
        raise value.error(f"{short!r} is not a short name", "expected a path without host, tag or digest")
    if not isinstance(value.raw, str):
        raise value.expected("a string")
    if not value.raw:
        return short, ""
    full = parse_locator(value.parsed(lambda raw: str(parse_locator(raw))))
    host = value.raw.partition("/")[0]
    if full.kind or not ("." in host or ":" in host or host == "localhost"):
        raise value.error(f"{value.raw!r} does not begin with a host")
    return short, str(full)


def _version_1(value: Value) -> tuple[Registry, ...]:
    """Version 1 of the format, which is deprecated: lists of blocked and of insecure hosts."""
    if not isinstance(value.raw, dict):
        raise value.expected("a table")
    found: dict[str, Registry] = {}
    for key in ("block", "insecure"):
        for child in _version_1_list(value, key):
            prefix = _name(child).name
            route = found[prefix].route if prefix in found else Route(prefix, where=child.where)
            if key == "block":
                route = replace(route, blocked=True)
            else:
                route = replace(route, endpoints=(replace(route.own, **_security(insecure=True)),))
            found[prefix] = Registry(route)
    return tuple(found.values())


def _version_1_list(value: Value, key: str) -> Iterator[Value]:
    if key not in value.raw:
        return iter(())
    table = value.child(key)
    if not isinstance(table.raw, dict) or not isinstance(table.raw.get("registries", []), list):
        raise table.expected("a table with a list of registries")
    return table.child("registries").children() if "registries" in table.raw else iter(())


def _build(registry: Any = (), registries: Any = (), aliases: Any = None) -> Registries:
    return Registries((*registry, *registries), aliases or {})


_FILE = Table(
    _build,
    {"registry": Key(_registries), "registries": Key(_version_1), "aliases": Key(_aliases)},
    lenient=True,
)


def read_document(document: Value) -> Registries:
    """Convert one parsed file. Unknown keys, and keys that do not affect the location of names, are ignored."""
    found: Registries = _FILE(document)
    return found
