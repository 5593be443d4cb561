"""`dist content active`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import print_json, print_table, show_age, store_options

if TYPE_CHECKING:
    from dist_tool.api import Status
    from dist_tool.store.disk import DiskStore


@click.command("active", epilog="Example: watch -n0.2 dist content active 'layer-.*'")
@click.argument("pattern", required=False, metavar="[REGEXP]")
@click.option("-q", "--quiet", is_flag=True, help="Refs only, one per line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--abandoned/--writing", default=None, help="Only writes without, or with, an active writer.")
@store_options
def command(store: DiskStore, pattern: str | None, quiet: bool, as_json: bool, abandoned: bool | None) -> None:
    """List writes in flight, active and abandoned.

    REGEXP selects refs that contain a match. RATE is bytes per second from the start to the last write.
    """
    from time import time

    from dist_tool.cli._output import print_line

    now = time()
    found = [status for status in _matching(store, pattern) if abandoned in (None, not status.active)]
    if as_json:
        for status in found:
            print_json(
                {
                    "ref": status.ref,
                    "offset": status.offset,
                    "total": status.total or None,
                    "started": status.started_at,
                    "updated": status.updated_at,
                    "rate": round(_rate(status)),
                    "state": _state(status),
                }
            )
    elif quiet:
        for status in found:
            print_line(status.ref)
    else:
        rows = [
            [
                status.ref,
                str(status.offset),
                str(status.total or "-"),
                str(round(_rate(status))),
                show_age(now - status.started_at),
                show_age(now - status.updated_at),
                _state(status),
            ]
            for status in found
        ]
        header = ["REF", "SIZE", "TOTAL", "RATE", "AGE", "IDLE", "STATE"]
        print_table([header, *rows], right=frozenset({1, 2, 3, 4, 5}))


def _matching(store: DiskStore, pattern: str | None) -> list[Status]:
    import re

    from dist_tool.errors import InvalidArgument

    try:
        regexp = re.compile(pattern or "")
    except re.error as error:
        raise InvalidArgument(f"{pattern!r} is not a regular expression: {error}") from error
    found = [status for status in store.statuses() if regexp.search(status.ref)]
    return sorted(found, key=lambda status: (status.started_at, status.ref))


def _rate(status: Status) -> float:
    return status.offset / max(status.updated_at - status.started_at, 0.001)


def _state(status: Status) -> str:
    return "writing" if status.active else "abandoned"
