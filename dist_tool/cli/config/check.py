"""`dist config check`."""

from __future__ import annotations

import os

import click

from dist_tool.cli._options import Common, common_options


@click.command("check", epilog="Example: dist config check --config ./config.toml && cp config.toml /etc/dist/")
@common_options
def command(common: Common) -> int:
    """Check every file that is read, and list all errors; exit code 2 if there are any.

    Checks dist's own files, the environment, every hosts.toml and registries.conf. Prints one
    line to standard output for each valid file.
    """
    from dist_tool.cli._errors import write_error
    from dist_tool.cli._output import print_line
    from dist_tool.config.check import check
    from dist_tool.errors import InvalidArgument

    code = 0
    for name, errors in check(os.environ, common.config):
        for error in errors:
            write_error(error, as_json=common.error_format == "json")
        if errors:
            code = InvalidArgument.exit_code
        elif not common.quiet:
            print_line(f"{name}: ok")
    return code
