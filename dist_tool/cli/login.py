"""`dist login`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import FILE
from dist_tool.cli._options import Common, common_options
from dist_tool.names.hub import HUB

if TYPE_CHECKING:
    from dist_tool.auth.credential_file import Credentials

_LONGEST = 64 << 10  # bytes of a password


@click.command("login", epilog="Example: pass show ghcr | dist login ghcr.io -u me --password-stdin")
@click.argument("host", default=HUB)
@click.option("-u", "--username", metavar="NAME", help="The user name. Default: ask for it on the terminal.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, instead of asking for it.")
@click.option("--file", type=FILE, help="Write this credentials file instead of the usual one.")
@common_options
def command(host: str, username: str | None, password_stdin: bool, file: str | None, common: Common) -> None:
    """Try a user name and a password with a registry, and keep them where docker does.

    HOST is docker.io where none is given. What the registry refuses is not saved. A credential
    helper that docker's configuration names for the host gets the password; without one it lies
    in the file, encoded, and readable to you alone. A password is never an argument.
    """
    from dist_tool.admin.login import login
    from dist_tool.names.locator import parse_host
    from dist_tool.run import Notice

    name = parse_host(host)
    settings, run = common.begin()
    done = login(name, _credentials(name, username, password_stdin), settings, file=file or "", run=run)
    if not done.verified:
        common.report(Notice("warning", f"{name} asks for no credentials: they could not be tried"))
    if done.saved.plain:
        common.report(
            Notice(
                "warning",
                f"the password lies unencrypted in {done.saved.where}; a credential helper would keep it better",
            )
        )
    if done.hidden_by:
        common.report(Notice("warning", f"{done.hidden_by} is asked first, and has something for {name}"))
    common.report(Notice("info", f"logged in to {name}: {done.saved.where}"))


def _credentials(host: str, username: str | None, password_stdin: bool) -> Credentials:
    from dist_tool.auth.credential_file import Credentials
    from dist_tool.cli._output import input_failures
    from dist_tool.errors import InvalidArgument

    if password_stdin:
        if not username:
            raise InvalidArgument("--password-stdin needs --username")
        with input_failures():
            data = sys.stdin.buffer.read(_LONGEST + 1)
        # One line end is that of the command that printed it; more may be meant.
        password = data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
        if not password or len(data) > _LONGEST:
            raise InvalidArgument("standard input holds no password")
        return Credentials(username, password)
    if not sys.stdin.isatty():
        raise InvalidArgument("there is no terminal to ask at", hint="give --username and --password-stdin")
    from getpass import getpass

    username = username or click.prompt(f"User name for {host}", err=True)
    return Credentials(username, getpass(f"Password of {username}: ", stream=sys.stderr))
