"""The table of remote kinds: maps a locator to its remote and loads it.

Built-in kinds are listed as dotted names and imported on use. Only for an unknown kind are the
entry points of the group `dist_tool.remotes` searched, then the programs in PATH.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from dist_tool.api import Remote
from dist_tool.context import Context
from dist_tool.errors import DistError, InvalidArgument, NotFound, PolicyRefused, Unsupported
from dist_tool.names.locator import Locator
from dist_tool.names.reference import as_object
from dist_tool.programs import absolute_directories, find_program
from dist_tool.redaction import allow
from dist_tool.run import NO_RUN, Run, Shared
from dist_tool.settings import Endpoint, Policy, Route, Settings

ENTRY_POINTS = "dist_tool.remotes"
_PROGRAM = "dist-remote-"


class Kind(NamedTuple):
    """A kind of remote: `target` is MODULE:ATTRIBUTE of its opener."""

    target: str
    summary: str
    origin: str = "built in"


BUILTIN: Mapping[str, Kind] = MappingProxyType(
    {
        "registry": Kind("dist_tool.remotes.registry:open_remote", "a registry with the OCI distribution API"),
        "layout": Kind("dist_tool.remotes.layout:open_remote", "an OCI image layout: a directory, or KIND::REST"),
        "archive": Kind("dist_tool.remotes.layout.archive:open_remote", "a docker-save or OCI archive, or -"),
        "store": Kind("dist_tool.remotes.layout.store:open_remote", "the local store"),
        "containerd": Kind("dist_tool.remotes.layout.containerd:open_remote", "a containerd content root, by digest"),
        "http": Kind("dist_tool.remotes.paths.http:open_remote", "files of a web server"),
        "s3": Kind("dist_tool.remotes.paths.s3:open_remote", "objects of an S3 bucket"),
    }
)

OpenRemote = Callable[[Locator, Context], Remote]


class OpenedRoute(NamedTuple):
    """A remote, ready for use, and the policy check of the location that the route maps the name to.

    `guard` raises PolicyRefused for an object that must not be requested there; None if there
    is nothing to check. With mirrors, each of them has its own guard.
    """

    remote: Remote
    guard: Callable[[str], None] | None = None


def open_remote(locator: Locator, settings: Settings, run: Run = NO_RUN, shared: Shared | None = None) -> Remote:
    """The remote of a locator, without the policy checks of its objects. Raises as `open_route`."""
    return open_route(locator, settings, run, shared).remote


def open_route(locator: Locator, settings: Settings, run: Run = NO_RUN, shared: Shared | None = None) -> OpenedRoute:
    """The remote of a locator, ready for use; no request has been made yet.

    A name uses the configured route with the longest matching prefix, else its registry; the
    mirrors of a route are tried in order. Raises PolicyRefused for a blocked name,
    Unsupported for an unknown kind, NotFound and InvalidArgument for a path that is not a layout.
    """
    allow(str(locator))
    base = Context(settings=settings, run=run, asked=locator, shared=shared)
    if locator.kind == "path":
        return _open_endpoint(_local(locator, settings), Route(), Endpoint(), base)
    settings.policy.check_name(locator)
    route = settings.route_for(locator) or Route()
    if route.blocked:
        raise PolicyRefused(f"{locator} is blocked", hint=f"by {route.where}")
    if route.mirrors:
        return OpenedRoute(_mirrored(locator, route, base))
    return _open_endpoint(locator, route, route.own, base)


def _open_endpoint(locator: Locator, route: Route, endpoint: Endpoint, base: Context) -> OpenedRoute:
    target = route.rewrite(locator, endpoint)
    base.settings.policy.check_name(target)
    opener = load_kind(target.kind, base.settings.environ)
    context = replace(base, endpoint=endpoint, asked=locator)
    return OpenedRoute(opener(target, context), _guard(locator, target, base.settings.policy))


def _guard(locator: Locator, target: Locator, policy: Policy) -> Callable[[str], None] | None:
    """The policy check of objects at a location that a route maps to: policy applies to that name too."""
    moved = (target.host, target.path) != (locator.host, locator.path)
    if not moved or not policy.digest_required_by(target):
        return None
    return lambda object_id: policy.check_object(target, as_object(object_id))


def _mirrored(locator: Locator, route: Route, base: Context) -> Remote:
    """A remote over all endpoints of a name. Only the last one is retried: before it, the next one is tried."""
    from dist_tool.remotes.mirrors.mirror import Mirror
    from dist_tool.remotes.mirrors.remote import MirroredRemote

    mirrors = []
    for number, endpoint in enumerate(route.endpoints, 1):
        is_last = number == len(route.endpoints) or not endpoint.location
        tried = endpoint if is_last else replace(endpoint, retry=replace(endpoint.retry, attempts=1))
        target = route.rewrite(locator, endpoint)
        guard = _guard(locator, target, base.settings.policy)
        opener = partial(_opened, locator, route, tried, base)
        mirrors.append(Mirror(str(target), opener, endpoint.capabilities, guard))
    return MirroredRemote(mirrors, base.run)


def _opened(locator: Locator, route: Route, endpoint: Endpoint, base: Context) -> Remote:
    return _open_endpoint(locator, route, endpoint, base).remote


def _local(locator: Locator, settings: Settings) -> Locator:
    path = settings.at_home(locator.rest)
    if os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "oci-layout")):
            raise InvalidArgument(f"{locator} is not an image layout", hint="there is no oci-layout in it")
        return Locator("layout", path)
    if os.path.exists(path):
        return Locator("archive", path)
    raise NotFound(f"{locator}: no such file or directory")


def load_kind(kind: str, environ: Mapping[str, str] = MappingProxyType({})) -> OpenRemote:
    """The opener of a kind: built in, from an entry point, else of a program `dist-remote-KIND` in PATH.

    Raises Unsupported, with the built-in kinds as its hint.
    """
    if kind in BUILTIN:
        module, _, attribute = BUILTIN[kind].target.partition(":")
        return cast(OpenRemote, getattr(import_module(module), attribute))
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=kind):
        try:
            return _opener(point.load())
        except DistError:
            raise
        except (Exception, SystemExit) as error:  # an import can raise anything; only locators of this kind fail
            raise Unsupported(f"remote kind {kind!r}: {point.value} does not load: {error!r}") from error
    program = _program(kind, environ)
    if program:
        from dist_tool.remotes.program import opener_of

        return opener_of(program)
    raise Unsupported(f"there is no remote of kind {kind!r}", hint=f"built in: {', '.join(BUILTIN)}; see dist remotes")


def _program(kind: str, environ: Mapping[str, str]) -> str:
    """The path of the helper program of a kind, "" if there is none. Raises as `find_program`."""
    return find_program(f"{_PROGRAM}{kind}", environ.get("PATH", ""))


def _opener(loaded: Any) -> OpenRemote:
    """An entry point as an opener. A function whose second parameter is `hints` is a plain fetch function."""
    if not callable(loaded):
        raise Unsupported(f"the entry point {loaded!r} is not callable")
    from inspect import signature

    if [*signature(loaded).parameters][1:2] == ["hints"]:
        return lambda locator, _context: _as_remote(loaded, str(locator))
    return lambda locator, context: _as_remote(loaded(locator, context), str(locator))


def _as_remote(opened: Any, source: str) -> Remote:
    """Adapt the return value of a plugin's opener, whose methods may return plain binary files."""
    if isinstance(opened, Remote):
        from dist_tool.remotes.plugin import PluginRemote

        return PluginRemote(opened, source)
    if callable(opened):
        from dist_tool.remotes.function import FunctionRemote

        return FunctionRemote(opened, source)
    raise Unsupported(f"{type(opened).__name__} is not a remote: it needs resolve() and open()")


def kinds(environ: Mapping[str, str] = MappingProxyType({})) -> Iterator[tuple[str, Kind]]:
    """All kinds, including entry points and programs in PATH; none of them is loaded or run."""
    yield from BUILTIN.items()
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        if point.name not in BUILTIN:
            version = f"{point.dist.name} {point.dist.version}" if point.dist else "plugin"
            yield point.name, Kind(point.value, "", version)
    yield from _programs(environ)


def _programs(environ: Mapping[str, str]) -> Iterator[tuple[str, Kind]]:
    found: dict[str, str] = {}
    for directory in absolute_directories(environ.get("PATH", "")):
        try:
            names = sorted(name for name in os.listdir(directory) if name.startswith(_PROGRAM))
        except OSError:
            continue
        for name in names:
            path = os.path.join(directory, name)
            if os.access(path, os.X_OK):
                found.setdefault(name.removeprefix(_PROGRAM), path)
    for kind, path in found.items():
        if kind not in BUILTIN:
            yield kind, Kind(path, "", "program")
