"""`dist logout`."""

from __future__ import annotations

import click

from dist_tool.cli._completion import FILE
from dist_tool.cli._options import Common, common_options
from dist_tool.names.hub import HUB


@click.command("logout", epilog="Example: dist logout ghcr.io")
@click.argument("host", default=HUB)
@click.option("--file", type=FILE, help="Change this credentials file instead of the default one.")
@common_options
def command(host: str, file: str | None, common: Common) -> None:
    """Remove the credentials for a registry from the file and its helper.

    HOST defaults to docker.io. It is no error if there are none. Cached access tokens of all
    registries are removed as well.
    """
    from dist_tool.admin.login import logout
    from dist_tool.names.locator import parse_host
    from dist_tool.run import Notice

    name = parse_host(host)
    settings, run = common.begin()
    removed, other = logout(name, settings, file=file or "", run=run)
    common.report(
        Notice("info", f"logged out of {name}: {removed.where}" if removed.changed else f"not logged in to {name}")
    )
    if other:
        common.report(Notice("warning", f"{other} still has credentials for {name}"))
