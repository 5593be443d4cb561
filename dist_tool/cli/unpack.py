"""`dist unpack`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import DIR, REFERENCE
from dist_tool.cli._image import ImageOptions, image_options
from dist_tool.cli._layer_options import apply_options
from dist_tool.cli._options import Common, common_options

if TYPE_CHECKING:
    from dist_tool.layers.options import ApplyOptions


@click.command("unpack", epilog="Example: dist unpack docker.io/library/redis:7 ./rootfs")
@click.argument("reference", type=REFERENCE)
@click.argument("directory", type=DIR)
@click.option("--force", is_flag=True, help="Replace an existing DIRECTORY.")
@click.option("--bundle", is_flag=True, help="Write an OCI runtime bundle to DIRECTORY: config.json and rootfs.")
@click.option("--no-sync", is_flag=True, help="Do not wait until the tree is on disk.")
@apply_options
@image_options
@common_options
def command(
    reference: str,
    directory: str,
    force: bool,
    bundle: bool,
    no_sync: bool,
    how: Callable[[], ApplyOptions],
    wanted: ImageOptions,
    common: Common,
) -> None:
    """Unpack an image's layers to a directory; print their chain ID.

    REFERENCE is LOCATOR[:TAG][@DIGEST], or a layout (./layout:tag). DIRECTORY must be absent
    or empty. It appears only once every digest and diff ID is verified; a DIRECTORY that is an
    empty mount point is filled at that point.
    """
    import os

    from dist_tool.cli._output import print_line
    from dist_tool.images.unpack import UnpackOptions

    home = os.path.expanduser("~")
    options = UnpackOptions(how(), force=force, bundle=bundle, sync=not no_sync, protected=(home,))
    with wanted.open(reference, common) as (session, image):
        unpacked = session.unpack(image, directory, options)
    print_line(str(unpacked.chain_id or ""))
