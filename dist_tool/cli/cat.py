"""`dist cat`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dist_tool.cli._layer_options import limit_options
from dist_tool.cli._options import Common, common_options, fetch_options

if TYPE_CHECKING:
    from dist_tool.layers.limits import Limits


@click.command("cat", epilog="Example: dist cat docker.io/library/redis:7 /etc/os-release")
@click.argument("reference")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Which image of several. Default: linux, this machine.")
@limit_options
@common_options
def command(
    reference: str, paths: tuple[str, ...], platform: str | None, limits: Callable[[], Limits], common: Common
) -> None:
    """Write files out of an image to standard output, one after the other.

    Layers are fetched from the top, and only as many as it takes to know. Symlinks are followed
    inside the image.
    """
    from dist_tool.cli._image import opened_image
    from dist_tool.cli._output import stdout_sink
    from dist_tool.spec.reference import parse_reference
    from dist_tool.transfer.cat import cat
    from dist_tool.transfer.layer_source import layer_opener

    parsed, chosen = parse_reference(reference), limits()
    settings = common.settings()
    fetching = fetch_options(settings, parsed.locator, common)
    with opened_image(parsed, platform, settings, common) as (remote, image):
        cat(image, layer_opener(remote, fetching), [os.fsencode(path) for path in paths], stdout_sink(), chosen)
