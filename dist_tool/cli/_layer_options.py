"""Options of the commands that read or apply layers, and their conversion to library options."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dist_tool.cli._options import decorated, value_of
from dist_tool.errors import InvalidArgument

if TYPE_CHECKING:
    from dist_tool.layers.options import ApplyOptions
    from dist_tool.tar.limits import Limits

_F = TypeVar("_F", bound=Callable[..., Any])
_LIMIT_NAMES = ("max_size", "max_entries", "max_depth", "max_ratio", "max_window")
_CHOSEN_RATIO_FLOOR = 1 << 30  # uncompressed bytes above which --max-ratio applies
_APPLY_NAMES = ("owners", "uidmap", "gidmap", "devices", "rootlesscontainers")


def limit_options(function: _F) -> _F:
    """Add the limit options; the command gets `limits`, a function that returns Limits."""

    def invoke(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in _LIMIT_NAMES}
        return function(*args, limits=lambda: _limits(given), **kwargs)

    return decorated(invoke, function, _LIMIT_OPTIONS)


def apply_options(function: _F) -> _F:
    """Add the options for limits, owners and devices; the command gets `how`, a function that returns ApplyOptions."""

    def invoke(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in (*_LIMIT_NAMES, *_APPLY_NAMES)}
        return function(*args, how=lambda: _apply_options(given), **kwargs)

    return decorated(invoke, function, (*_APPLY_OPTIONS, *_LIMIT_OPTIONS))


def _limits(given: dict[str, Any]) -> Limits:
    from dist_tool.config import parse_bytes
    from dist_tool.tar.limits import DEFAULT_LIMITS, Limits

    def size(name: str, default: int) -> int:
        parsed = value_of(f"--{name.replace('_', '-')}", parse_bytes, given[name])
        return default if parsed is None else parsed

    default = DEFAULT_LIMITS
    return Limits(
        size=size("max_size", default.size),
        entries=given["max_entries"] or default.entries,
        depth=given["max_depth"] or default.depth,
        ratio=given["max_ratio"] or default.ratio,
        ratio_floor=_CHOSEN_RATIO_FLOOR if given["max_ratio"] else default.ratio_floor,
        window=size("max_window", default.window),
    )


def _apply_options(given: dict[str, Any]) -> ApplyOptions:
    import os

    from dist_tool.layers.options import ApplyOptions, parse_id_range

    owners = given["owners"]
    uid_map, gid_map = (tuple(map(parse_id_range, given[name])) for name in ("uidmap", "gidmap"))
    if owners is False and (uid_map or gid_map):
        raise InvalidArgument("--no-owners cannot be combined with --uidmap or --gidmap")
    return ApplyOptions(
        owners=os.geteuid() == 0 if owners is None else owners,
        uid_map=uid_map,
        gid_map=gid_map,
        devices=given["devices"],
        rootlesscontainers=given["rootlesscontainers"],
        limits=_limits(given),
    )


_AT_LEAST_ONE = click.IntRange(min=1)
_LIMIT_OPTIONS = (
    click.option("--max-size", metavar="SIZE", help="Maximum uncompressed size. Default: 128GiB."),
    click.option(
        "--max-entries", metavar="N", type=_AT_LEAST_ONE, help="Maximum number of entries in a layer. Default: 4000000."
    ),
    click.option(
        "--max-depth", metavar="N", type=_AT_LEAST_ONE, help="Maximum number of components in a path. Default: 512."
    ),
    click.option(
        "--max-ratio",
        metavar="N",
        type=_AT_LEAST_ONE,
        help="Maximum ratio of uncompressed to compressed size, checked above 1GiB. Default: 2000, above 16GiB.",
    ),
    click.option("--max-window", metavar="SIZE", help="Maximum zstd window size, in memory. Default: 128MiB."),
)
_APPLY_OPTIONS = (
    click.option(
        "--owners/--no-owners", default=None, help="Set owners as recorded in the layer. Default: only as root."
    ),
    click.option(
        "--uidmap",
        metavar="C:H:N",
        multiple=True,
        help="Map N user IDs, from C in the layer to H on the host. May be repeated.",
    ),
    click.option("--gidmap", metavar="C:H:N", multiple=True, help="The same for group IDs."),
    click.option(
        "--devices",
        type=click.Choice(["auto", "skip", "placeholder", "create"]),
        default="auto",
        help="How to handle device nodes. Default: auto, created as root and skipped otherwise.",
    ),
    click.option(
        "--rootlesscontainers", is_flag=True, help="Record owners in the extended attribute user.rootlesscontainers."
    ),
)
