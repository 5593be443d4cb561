"""`dist auth`: subcommands, one per module."""

from __future__ import annotations

import click

from dist_tool.cli import CommandInfo, LazyGroup

AUTH: dict[str, CommandInfo] = {
    "explain": CommandInfo("dist_tool.cli.auth.explain:command", "Show which credentials would be used."),
}


@click.group("auth", cls=LazyGroup, table=AUTH, epilog="Example: dist auth explain ghcr.io/org/app")
def command() -> None:
    """Inspect credentials. See also dist login and dist logout."""
