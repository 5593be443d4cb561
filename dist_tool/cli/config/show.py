"""`dist config show`."""

from __future__ import annotations

import click

from dist_tool.cli._options import Common, common_options


@click.command("show", epilog="Example: dist config show --json | jq '.remote[].prefix'")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common_options
def command(as_json: bool, common: Common) -> None:
    """Print the effective configuration of all files, the environment and flags, as a configuration file.

    Only settings that differ from the default are printed. Header values and a proxy's credentials
    are shown as "…".
    """
    from dist_tool.cli._output import print_line
    from dist_tool.config.effective import as_toml, effective

    settings = common.settings()
    if as_json:
        import json

        print_line(json.dumps(effective(settings)))
        return
    for line in as_toml(settings):
        print_line(line)
