"""`dist content path`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import expand_stdin, store_options

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


@click.command("path", epilog="Example: dist content path sha256:6e3c… | xargs tar -tzf")
@click.argument("objects", nargs=-1, required=True, metavar="DIGEST|NAME...")
@store_options
def command(store: DiskStore, objects: tuple[str, ...]) -> int:
    """Print the path of the file of each blob, one per line. `-` reads digests from standard input.

    Do not change the file. It was verified when it was committed, and is not verified again: use
    `dist content get` to read verified content.
    """
    from dist_tool.cli._errors import Failures
    from dist_tool.cli._output import print_line

    failures = Failures()
    for object_id in expand_stdin(objects):
        with failures.noted(object_id):
            print_line(store.path(store.info(store.find(object_id).digest).digest))
    return failures.exit_code()
