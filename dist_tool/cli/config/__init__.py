"""`dist config`: subcommands, one per module."""

from __future__ import annotations

import click

from dist_tool.cli import CommandInfo, LazyGroup

_HERE = "dist_tool.cli.config"

CONFIG: dict[str, CommandInfo] = {
    "explain": CommandInfo(f"{_HERE}.explain:command", "Show which endpoints serve a name, and why."),
    "show": CommandInfo(f"{_HERE}.show:command", "Print the effective configuration."),
    "check": CommandInfo(f"{_HERE}.check:command", "Check every file, and list all errors."),
    "path": CommandInfo(f"{_HERE}.path:command", "Print the paths of the files."),
}


@click.group(
    "config",
    cls=LazyGroup,
    table=CONFIG,
    epilog="Example: dist config explain redis:7",
)
def command() -> None:
    """Inspect the configuration: mirrors, policy, pins, and files of other programs.

    No network requests are made.
    """
