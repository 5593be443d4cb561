"""`dist auth`: credentials, one command a file."""

from __future__ import annotations

import click

from dist_tool.cli import CommandInfo, LazyGroup

AUTH: dict[str, CommandInfo] = {
    "explain": CommandInfo("dist_tool.cli.auth.explain:command", "Show where credentials would come from."),
}


@click.group("auth", cls=LazyGroup, table=AUTH, epilog="Example: dist auth explain ghcr.io/org/app")
def command() -> None:
    """Look at credentials. See also dist login and dist logout."""
