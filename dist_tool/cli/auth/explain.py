"""`dist auth explain`."""

from __future__ import annotations

import click

from dist_tool.cli._completion import REFERENCE
from dist_tool.cli._options import Common, common_options


@click.command("explain", epilog="Example: dist auth explain --json ghcr.io/org/app | jq -r '.[].sources[]'")
@click.argument("name", metavar="LOCATOR|REFERENCE|HOST", type=REFERENCE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array with an object for each registry.")
@common_options
def command(name: str, as_json: bool, common: Common) -> None:
    """Show which credentials would be used for a name, for each registry that serves it.

    Prints one line for each source, in the order in which they are tried. The first source with
    an entry is used. No helper is run, and no secret is shown.
    """
    from dist_tool.admin.explain import explain, parse_host_or_name
    from dist_tool.cli._output import print_line
    from dist_tool.errors import printable

    settings = common.settings()
    found = explain(*parse_host_or_name(name, settings), settings)
    registries = [endpoint for endpoint in found.endpoints if endpoint.url]
    if as_json:
        import json

        print_line(json.dumps([{"url": each.url, "sources": list(each.credentials)} for each in registries]))
        return
    for endpoint in registries:
        print_line(endpoint.url)
        for line in endpoint.credentials or ("none, by auth.source",):
            print_line(f"  {printable(line)}")
