"""`dist export`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import FILE, REFERENCE
from dist_tool.cli._image import ImageOptions, image_options
from dist_tool.cli._layer_options import limit_options
from dist_tool.cli._options import Common, common_options

if TYPE_CHECKING:
    from dist_tool.tar.limits import Limits


@click.command("export", epilog="Example: dist export docker.io/library/redis:7 | tar -tv")
@click.argument("reference", type=REFERENCE)
@click.option(
    "-o", "--output", type=FILE, help="Write to FILE, which appears only once complete; - is standard output."
)
@limit_options
@image_options
@common_options
def command(
    reference: str, output: str | None, limits: Callable[[], Limits], wanted: ImageOptions, common: Common
) -> None:
    """Write an image's file system to standard output as one tar.

    Whiteouts are applied, nothing is unpacked, and no privileges are needed. Nothing is written
    before every layer is fetched and verified.
    """
    from dist_tool.cli._output import file_sink, stdout_sink
    from dist_tool.errors import InvalidArgument

    if output == "":
        raise InvalidArgument("--output: the path is empty")
    chosen = limits()
    with wanted.open(reference, common) as (session, image):
        if output is not None and output != "-":
            with file_sink(output) as sink:
                session.export(image, sink, chosen)
        else:
            session.export(image, stdout_sink(force=output == "-"), chosen)
