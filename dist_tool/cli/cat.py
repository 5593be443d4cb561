"""`dist cat`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import REFERENCE
from dist_tool.cli._image import ImageOptions, image_options
from dist_tool.cli._layer_options import limit_options
from dist_tool.cli._options import Common, common_options

if TYPE_CHECKING:
    from dist_tool.tar.limits import Limits


@click.command("cat", epilog="Example: dist cat docker.io/library/redis:7 /etc/os-release")
@click.argument("reference", type=REFERENCE)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@limit_options
@image_options
@common_options
def command(
    reference: str, paths: tuple[str, ...], limits: Callable[[], Limits], wanted: ImageOptions, common: Common
) -> None:
    """Write files of an image to standard output, one after the other.

    Layers are fetched from the top down, and only as many as needed. Symlinks are followed inside
    the image.
    """
    from dist_tool.cli._output import stdout_sink

    chosen = limits()
    with wanted.open(reference, common) as (session, image):
        session.cat(image, paths, stdout_sink(), chosen)
