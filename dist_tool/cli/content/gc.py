"""`dist content gc`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import print_json, store_options

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore

_COUNTED = {"blob": "blob", "ingest": "write", "bytes": "byte"}


@click.command("gc", epilog="Example: dist content gc --dry-run | xargs dist content ls")
@click.option("--grace", default="48h", metavar="DURATION", help="Spare content used within this time. Default: 48h.")
@click.option("-n", "--dry-run", is_flag=True, help="Print only; remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@store_options
def command(store: DiskStore, grace: str, dry_run: bool, as_json: bool) -> None:
    """Remove unreachable blobs and abandoned writes; print the digest or the ref of each.

    Blobs reachable from names in index.json and labels containerd.io/gc.root are not removed, nor
    are writes in progress. With --grace 0 no other process should be adding content. skopeo, umoci
    and other tools do not lock the store: do not run gc while one of them writes to it.
    """
    from dist_tool.cli._options import counted, value_of
    from dist_tool.cli._output import print_line
    from dist_tool.config import parse_age
    from dist_tool.store.gc import GcPolicy, collect

    count: Counter[str] = Counter()
    for removed in collect(store, GcPolicy(value_of("--grace", parse_age, grace) or 0.0, dry_run=dry_run)):
        count[removed.kind] += 1
        count["bytes"] += removed.size
        if as_json:
            print_json(removed._asdict())
        else:
            print_line(removed.name)
    verb = "would remove" if dry_run else "removed"
    blobs, writes, size = (counted(count[key], noun) for key, noun in _COUNTED.items())
    sys.stderr.write(f"dist: {verb} {blobs} and {writes}, {size}\n")
