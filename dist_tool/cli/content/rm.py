"""`dist content rm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import expand_stdin, store_options

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


@click.command("rm", epilog="Example: dist content ls -q --older 720h --unnamed | dist content rm -")
@click.argument("objects", nargs=-1, required=True, metavar="DIGEST|NAME...")
@store_options
def command(store: DiskStore, objects: tuple[str, ...]) -> int:
    """Remove blobs by digest, and names (their blobs stay: see gc); print each removed one.

    Continues after an error, and then exits with a failure. `-` reads from standard input.
    """
    from dist_tool.cli._errors import Failures
    from dist_tool.cli._output import print_line

    failures = Failures()
    for object_id in expand_stdin(objects):
        with failures.noted(object_id):
            store.remove(object_id)
            print_line(object_id)
    return failures.exit_code()
