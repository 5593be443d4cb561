"""`dist content`: commands on the store, one per module."""

from __future__ import annotations

import click

from dist_tool.cli import CommandInfo, LazyGroup

_HERE = "dist_tool.cli.content"

CONTENT: dict[str, CommandInfo] = {
    "ls": CommandInfo(f"{_HERE}.ls:command", "List blobs."),
    "get": CommandInfo(f"{_HERE}.get:command", "Write a blob to standard output, verified."),
    "ingest": CommandInfo(f"{_HERE}.ingest:command", "Add standard input as a blob; print its digest."),
    "active": CommandInfo(f"{_HERE}.active:command", "List writes in flight and abandoned ones."),
    "abort": CommandInfo(f"{_HERE}.abort:command", "Remove unfinished writes and their data."),
    "path": CommandInfo(f"{_HERE}.path:command", "Print the files of blobs."),
    "label": CommandInfo(f"{_HERE}.label:command", "Show, set and remove labels of a blob."),
    "edit": CommandInfo(f"{_HERE}.edit:command", "Edit a copy of a blob; print its digest."),
    "rm": CommandInfo(f"{_HERE}.rm:command", "Remove blobs and names."),
    "gc": CommandInfo(f"{_HERE}.gc:command", "Remove blobs that no name or label reaches."),
    "verify": CommandInfo(f"{_HERE}.verify:command", "Hash blobs again; print those that are damaged."),
}


@click.group("content", cls=LazyGroup, table=CONTENT, epilog="Example: dist content ls -q | xargs dist content rm")
def command() -> None:
    """Work with the store: $DIST_STORE, or dist/store under $XDG_DATA_HOME.

    It is an OCI image layout. Any number of processes may use it at once.
    """
