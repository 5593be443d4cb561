"""`dist content label`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import labels_of, store_options

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


@click.command("label", epilog="Example: dist content label sha256:6e3c… containerd.io/gc.root=$(date -u +%FT%TZ)")
@click.argument("object_id", metavar="DIGEST|NAME")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@store_options
def command(store: DiskStore, object_id: str, pairs: tuple[str, ...]) -> None:
    """Set labels of a blob, and print all its labels. An empty value removes one."""
    from dist_tool.cli._output import print_line
    from dist_tool.errors import DistError, printable

    labels = labels_of(pairs)
    try:
        digest = store.find(object_id).digest
        info = store.label(digest, labels) if labels else store.info(digest)
    except DistError as error:
        raise error.with_facts(object_id=object_id) from error.cause
    for key, value in sorted(info.labels.items()):
        print_line(printable(f"{key}={value}", 10_000))
