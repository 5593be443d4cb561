"""`dist content abort`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import expand_stdin, store_options

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


@click.command("abort", epilog="Example: dist content active -q --abandoned | dist content abort -")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@store_options
def command(store: DiskStore, refs: tuple[str, ...]) -> int:
    """Remove unfinished writes and their data; print the ref of each removed one.

    A write that is in progress is not removed; that is an error. `-` reads refs from standard input.
    """
    from dist_tool.cli._errors import Failures
    from dist_tool.cli._output import print_line

    failures = Failures()
    for ref in expand_stdin(refs):
        with failures.noted(ref):
            store.abort(ref)
            print_line(ref)
    return failures.exit_code()
