"""`dist content path`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import store_options, words

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


@click.command("path", epilog="Example: dist content path sha256:6e3c… | xargs tar -tzf")
@click.argument("objects", nargs=-1, required=True, metavar="DIGEST|NAME...")
@store_options
def command(store: DiskStore, objects: tuple[str, ...]) -> int:
    """Print the file that each blob is in, one a line. `-` reads digests from standard input.

    The file must not be changed. It is as it was verified when it was committed; whoever must
    know that it still is uses `dist content get`.
    """
    from dist_tool.cli._errors import Failures
    from dist_tool.cli._output import print_line

    failures = Failures()
    for word in words(objects):
        with failures.noted(word):
            print_line(store.path(store.info(store.find(word).digest).digest))
    return failures.exit_code()
