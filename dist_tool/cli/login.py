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

_LONGEST = 64 << 10  # maximum size of a password in bytes


@click.command("login", epilog="Example: pass show ghcr | dist login ghcr.io -u me --password-stdin")
@click.argument("host", default=HUB)
@click.option("-u", "--username", metavar="NAME", help="The user name. Default: prompt on the terminal.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of prompting.")
@click.option("--file", type=FILE, help="Write this credentials file instead of the default one.")
@common_options
def command(host: str, username: str | None, password_stdin: bool, file: str | None, common: Common) -> None:
    """Check a user name and password with a registry, and save them as docker does.

    HOST defaults to docker.io. Credentials that the registry rejects are not saved. If docker's
    configuration names a credential helper for the host, the password goes to the helper;
    otherwise it is stored in the file, encoded but not encrypted, readable only by you. A password
    is never passed as an argument.
    """
    from dist_tool.admin.login import login
    from dist_tool.names.locator import parse_host
    from dist_tool.run import Notice

    name = parse_host(host)
    settings, run = common.begin()
    done = login(name, _credentials(name, username, password_stdin), settings, file=file or "", run=run)
    if not done.verified:
        common.report(Notice("warning", f"{name} requires no authentication: the credentials were not checked"))
    if done.saved.plain:
        common.report(
            Notice(
                "warning",
                f"the password is stored unencrypted in {done.saved.where}; use a credential helper to protect it",
            )
        )
    if done.hidden_by:
        common.report(Notice("warning", f"{done.hidden_by} takes precedence over the saved credentials for {name}"))
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
        # Strip one line end, added by the command that printed it; further ones may belong to the password.
        password = data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
        if not password or len(data) > _LONGEST:
            raise InvalidArgument("standard input contains no usable password")
        return Credentials(username, password)
    if not sys.stdin.isatty():
        raise InvalidArgument("there is no terminal to prompt on", hint="give --username and --password-stdin")
    from getpass import getpass

    username = username or click.prompt(f"User name for {host}", err=True)
    return Credentials(username, getpass(f"Password for {username}: ", stream=sys.stderr))
