"""Unpack: an image's layers, in order, to a directory that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dist_tool.api import Notice, Report, unheard
from dist_tool.errors import DistError
from dist_tool.layers.apply import apply_layer
from dist_tool.layers.compression import Read
from dist_tool.layers.options import ApplyOptions
from dist_tool.layers.staging import staged
from dist_tool.spec.digest import Digest
from dist_tool.spec.image import chain_id
from dist_tool.transfer.image import Image
from dist_tool.transfer.layer_source import AHEAD, OpenLayer, fetched_ahead


@dataclass(frozen=True, slots=True)
class UnpackOptions:
    """How to unpack.

    `ahead` layers are fetched at a time, none before its turn where it is 0. With `spool` they
    go to temporary files, else opening a layer is what brings it near. `force` replaces what is
    at the target. `bundle` writes an OCI runtime bundle: the target holds `config.json` and
    `rootfs`. The limits of `apply` hold for each layer, that on size for all together.
    """

    apply: ApplyOptions = field(default_factory=ApplyOptions)
    ahead: int = AHEAD
    spool: bool = True
    force: bool = False
    bundle: bool = False


class Unpacked(NamedTuple):
    """What was unpacked: the image's manifest digest and the chain ID of its layers (None: it has none)."""

    digest: Digest
    chain_id: Digest | None


def unpack(image: Image, open_layer: OpenLayer, target: str, how: UnpackOptions, report: Report = unheard) -> Unpacked:
    """Unpack an image to `target`, which must be absent or an empty directory.

    Every blob's digest and every diff ID is checked. Raises DigestMismatch, InvalidContent,
    LimitExceeded, LocalFailure, and what fetching raises; then nothing is left behind.
    """
    with staged(target, force=how.force, whole=how.bundle) as stage:
        layers = [layer for layer, _ in image.layers]
        directory = stage.path if how.spool else None
        with fetched_ahead(layers, open_layer, directory=directory, ahead=how.ahead) as reads:
            _apply_all(image, reads, stage.root, how.apply, report)
        if how.bundle:
            from dist_tool.transfer.bundle import write_config

            write_config(image.config, stage)
    return Unpacked(image.desc.digest, chain_id(image.config.diff_ids))


def _apply_all(image: Image, reads: Iterator[Read], root: int, options: ApplyOptions, report: Report) -> None:
    """Apply the layers in their order; what they expand to counts together."""
    told: set[Notice] = set()

    def once(notice: Notice) -> None:
        kind = notice._replace(text=notice.text.partition(" (")[0])
        if kind not in told:
            told.add(kind)
            report(notice)

    left = options.limits.size
    for (layer, diff_id), read in zip(image.layers, reads, strict=False):
        limited = replace(options, limits=replace(options.limits, size=left))
        try:
            left -= apply_layer(read, root, limited, diff_id=diff_id, report=once).size
        except DistError as error:
            error.with_facts(object_id=str(layer.digest))
            raise
