"""`dist config path`."""

from __future__ import annotations

import os

import click

from dist_tool.cli._options import Common, common_options


@click.command("path", epilog='Example: mkdir -p ~/.config/dist && "$EDITOR" "$(dist config path)"')
@click.option(
    "--all", "everything", is_flag=True, help="Print every existing file that is read, highest precedence last."
)
@common_options
def command(everything: bool, common: Common) -> None:
    """Print the path of the user's configuration file, whether it exists or not."""
    from dist_tool import config
    from dist_tool.cli._output import print_line

    if not everything:
        print_line(config.user_file(os.environ, common.config))
        return
    for name in config.candidates(os.environ, common.config):
        if os.path.exists(name):
            print_line(name)
