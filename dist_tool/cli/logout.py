"""`dist logout`."""

from __future__ import annotations

import click

from dist_tool.cli._completion import FILE
from dist_tool.cli._options import Common, common_options
from dist_tool.names.hub import HUB


@click.command("logout", epilog="Example: dist logout ghcr.io")
@click.argument("host", default=HUB)
@click.option("--file", type=FILE, help="Change this credentials file instead of the usual one.")
@common_options
def command(host: str, file: str | None, common: Common) -> None:
    """Forget the credentials for a registry, in the file and with its helper.

    HOST is docker.io where none is given. That there are none is no failure. Access tokens that were
    obtained with earlier logins, for any registry, are forgotten as well.
    """
    from dist_tool.admin.login import logout
    from dist_tool.names.locator import parse_host
    from dist_tool.run import Notice

    name = parse_host(host)
    settings, run = common.begin()
    kept, still = logout(name, settings, file=file or "", run=run)
    common.report(Notice("info", f"logged out of {name}: {kept.where}" if kept.changed else f"not logged in to {name}"))
    if still:
        common.report(Notice("warning", f"{still} still has something for {name}"))
