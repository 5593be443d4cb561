"""`dist remotes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dist_tool.cli._options import Common, common_options

if TYPE_CHECKING:
    from dist_tool.settings import Route, Settings


@click.command("remotes", epilog="Example: dist remotes --json | jq -r 'select(.prefix) | .prefix'")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@common_options
def command(as_json: bool, common: Common) -> None:
    """List the kinds of remotes, built-in and from plugins, and the configured names."""
    from dist_tool.cli._output import print_line

    settings = common.settings()
    if as_json:
        import json

        for record in (*_kinds(settings), *map(_record, settings.routes)):
            print_line(json.dumps(record))
        return
    rows = [[*record.values()] for record in _kinds(settings)]
    for route in settings.routes:
        target = "blocked" if route.blocked else route.own.location or "as named"
        rows.append([route.prefix, route.own.kind or "registry", target, route.where])
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=False)).rstrip())


def _kinds(settings: Settings) -> Iterator[dict[str, str]]:
    from dist_tool.remotes.table import kinds

    for name, kind in kinds(settings.environ):
        yield {"kind": name, "origin": kind.origin, "target": kind.target, "summary": kind.summary}


def _record(route: Route) -> dict[str, Any]:
    return {
        "prefix": route.prefix,
        "kind": route.own.kind or "registry",
        "location": route.own.location or route.prefix,
        "blocked": route.blocked,
        "where": route.where,
    }
