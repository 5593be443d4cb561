"""`dist content abort`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import store_options, words

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


@click.command("abort", epilog="Example: dist content active -q --abandoned | dist content abort -")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@store_options
def command(store: DiskStore, refs: tuple[str, ...]) -> int:
    """Drop writes and what they wrote; print the ref of each that is gone.

    What somebody is writing now stays, and is a failure. `-` reads refs from standard input.
    """
    from dist_tool.cli._errors import Failures
    from dist_tool.cli._output import print_line

    failures = Failures()
    for ref in words(refs):
        with failures.noted(ref):
            store.abort(ref)
            print_line(ref)
    return failures.exit_code()
