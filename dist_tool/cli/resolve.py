"""`dist resolve`."""

from __future__ import annotations

import click

from dist_tool.cli._completion import REFERENCE
from dist_tool.cli._options import Common, common_options, naming


@click.command(
    "resolve", epilog="Example: dist fetch docker.io/library/redis $(dist resolve docker.io/library/redis:7)"
)
@click.argument("reference", type=REFERENCE)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Select the manifest for this platform from an index.")
@click.option("--json", "as_json", is_flag=True, help="Print the descriptor as one JSON object.")
@common_options
def command(reference: str, platform: str | None, as_json: bool, common: Common) -> None:
    """Print the digest that a reference points to now.

    REFERENCE is LOCATOR[:TAG][@DIGEST]; TAG defaults to latest. Takes one HEAD request if the
    registry supports it.
    """
    from dist_tool.cli._output import print_line

    settings, run = common.begin()
    parsed = settings.reference(reference)
    with naming(reference, parsed.locator, parsed.object_id), common.session(settings, run) as session:
        desc = session.resolve(parsed, platform=platform)
    if as_json:
        import json

        print_line(json.dumps(desc.to_json()))
    else:
        print_line(str(desc.digest))
