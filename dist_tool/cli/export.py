"""`dist export`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dist_tool.cli._layer_options import limit_options
from dist_tool.cli._options import Common, common_options, fetch_options

if TYPE_CHECKING:
    from dist_tool.layers.limits import Limits


@click.command("export", epilog="Example: dist export docker.io/library/redis:7 | tar -tv")
@click.argument("reference")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Which image of several. Default: linux, this machine.")
@click.option(
    "-o", "--output", metavar="FILE", help="Write to FILE, which appears only when whole; - is standard output."
)
@limit_options
@common_options
def command(
    reference: str, platform: str | None, output: str | None, limits: Callable[[], Limits], common: Common
) -> None:
    """Write an image's file system to standard output as one tar.

    Whiteouts are applied, nothing is unpacked, and no rights are needed. Nothing is written
    before every layer was fetched and found right.
    """
    from dist_tool.cli._image import opened_image
    from dist_tool.cli._output import file_sink, stdout_sink
    from dist_tool.errors import InvalidArgument
    from dist_tool.spec.reference import parse_reference
    from dist_tool.transfer.export import export
    from dist_tool.transfer.layer_source import layer_opener

    if output == "":
        raise InvalidArgument("--output: the name is empty")
    parsed, chosen = parse_reference(reference), limits()
    settings = common.settings()
    fetching = fetch_options(settings, parsed.locator, common)
    with opened_image(parsed, platform, settings, common) as (remote, image):
        opener = layer_opener(remote, fetching)
        if output is not None and output != "-":
            with file_sink(output) as sink:
                export(image, opener, sink, chosen)
        else:
            export(image, opener, stdout_sink(force=output == "-"), chosen)
