"""`dist apply`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import DIR
from dist_tool.cli._layer_options import apply_options
from dist_tool.cli._options import Common, common_options
from dist_tool.files import os_errors

if TYPE_CHECKING:
    from dist_tool.layers.options import ApplyOptions


@click.command(
    "apply", epilog="Example: dist fetch docker.io/library/redis sha256:a027… type:layer | dist apply ./rootfs"
)
@click.argument("directory", type=DIR)
@click.option(
    "--diff-id", metavar="DIGEST", help="Expected digest of the uncompressed layer; exit code 5 if it differs."
)
@apply_options
@common_options
def command(directory: str, diff_id: str | None, how: Callable[[], ApplyOptions], common: Common) -> None:
    """Apply one layer, read from standard input, to a directory; print its diff ID.

    The layer is a tar, plain or compressed with gzip or zstd. DIRECTORY is created if it does not
    exist; existing content counts as the layers below. Nothing outside DIRECTORY is changed,
    whatever the layer contains. Entries applied before an error remain: use `dist unpack` for
    all or nothing.
    """
    from dist_tool.cli._output import print_line, read_stdin
    from dist_tool.layers.changeset import apply_layer
    from dist_tool.oci.digest import Digest

    expected = Digest.parse(diff_id) if diff_id is not None else None
    options = how()
    _, run = common.begin()
    root = _open(directory, options)
    try:
        applied = apply_layer(read_stdin, root, options, diff_id=expected, run=run)
    finally:
        os.close(root)
    print_line(str(applied.diff_id))


def _open(directory: str, options: ApplyOptions) -> int:
    from dist_tool.layers.changeset import own_root

    with os_errors(directory):
        is_new = not os.path.lexists(directory)
        os.makedirs(directory, exist_ok=True)
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if is_new:
            own_root(root, options)
    except BaseException:
        os.close(root)
        raise
    return root
