"""`dist unpack`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dist_tool.cli._layer_options import apply_options
from dist_tool.cli._options import Common, common_options, fetch_options

if TYPE_CHECKING:
    from dist_tool.layers.options import ApplyOptions


@click.command("unpack", epilog="Example: dist unpack docker.io/library/redis:7 ./rootfs")
@click.argument("reference")
@click.argument("directory")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Which image of several. Default: linux, this machine.")
@click.option("--force", is_flag=True, help="Replace what is at DIRECTORY.")
@click.option("--bundle", is_flag=True, help="Make DIRECTORY an OCI runtime bundle: config.json and rootfs.")
@apply_options
@common_options
def command(
    reference: str,
    directory: str,
    platform: str | None,
    force: bool,
    bundle: bool,
    how: Callable[[], ApplyOptions],
    common: Common,
) -> None:
    """Unpack an image's layers to a directory; print their chain ID.

    REFERENCE is LOCATOR[:TAG][@DIGEST], or a layout (./layout:tag). DIRECTORY must be absent
    or empty. It appears when every digest and diff ID was right, and not at all otherwise.
    """
    from dist_tool.cli._image import opened_image
    from dist_tool.cli._output import print_line
    from dist_tool.spec.reference import parse_reference
    from dist_tool.transfer.layer_source import AHEAD, is_local, layer_opener
    from dist_tool.transfer.unpack import UnpackOptions, unpack

    parsed = parse_reference(reference)
    options = UnpackOptions(how(), 0 if is_local(parsed.locator) else AHEAD, force, bundle)
    settings = common.settings()
    fetching = fetch_options(settings, parsed.locator, common)
    with opened_image(parsed, platform, settings, common) as (remote, image):
        unpacked = unpack(image, layer_opener(remote, fetching), directory, options, common.report)
    print_line(str(unpacked.chain_id or ""))
