"""`dist config`: what is configured, one command a file."""

from __future__ import annotations

import click

from dist_tool.cli import CommandInfo, LazyGroup

_HERE = "dist_tool.cli.config"

CONFIG: dict[str, CommandInfo] = {
    "explain": CommandInfo(f"{_HERE}.explain:command", "Show where a name would be asked for, and why."),
    "show": CommandInfo(f"{_HERE}.show:command", "Print the effective configuration."),
    "check": CommandInfo(f"{_HERE}.check:command", "Check every file, and list all that is wrong."),
    "path": CommandInfo(f"{_HERE}.path:command", "Print which files are read."),
}


@click.group(
    "config",
    cls=LazyGroup,
    table=CONFIG,
    epilog="Example: dist config explain redis:7",
)
def command() -> None:
    """Look at the configuration: mirrors, policy, pins, and the files of others.

    Nothing is asked of the network.
    """
