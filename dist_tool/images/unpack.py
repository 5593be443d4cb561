"""Unpack: an image's layers, in order, to a directory that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dist_tool.errors import DistError
from dist_tool.images.image import Image
from dist_tool.images.layer_fetcher import AHEAD, LayerFetcher, fetched_ahead
from dist_tool.layers.changeset import apply_layer, own_root
from dist_tool.layers.compression import Read
from dist_tool.layers.options import ApplyOptions
from dist_tool.oci.digest import Digest
from dist_tool.oci.image import chain_id
from dist_tool.rootfs.spill import SpillDict
from dist_tool.rootfs.staging import staged
from dist_tool.run import NO_RUN, Notice, Report, Run
from dist_tool.stream.spool import Retracted


@dataclass(frozen=True, slots=True)
class UnpackOptions:
    """How to unpack.

    `ahead` layers are fetched at a time, none before its turn where it is 0. With `spool` they
    go to temporary files, else opening a layer is what brings it near. `force` replaces what is
    at the target, but never a directory of `protected`. `bundle` writes an OCI runtime bundle:
    the target holds `config.json` and `rootfs`. The limits of `apply` hold for each layer, that
    on size for all together. `whole`: no layer is applied before all of it has come, and is
    right. `sync`: the tree is on disk before it appears.
    """

    apply: ApplyOptions = field(default_factory=ApplyOptions)
    ahead: int = AHEAD
    spool: bool = True
    force: bool = False
    bundle: bool = False
    whole: bool = False
    sync: bool = True
    protected: tuple[str, ...] = ()


class Unpacked(NamedTuple):
    """What was unpacked: the image's manifest digest and the chain ID of its layers (None: it has none)."""

    digest: Digest
    chain_id: Digest | None


def unpack(image: Image, source: LayerFetcher, target: str, how: UnpackOptions, run: Run = NO_RUN) -> Unpacked:
    """Unpack an image to `target`, which must be absent or an empty directory.

    Every blob's digest and every diff ID is checked. Raises DigestMismatch, InvalidContent,
    LimitExceeded, LocalFailure, and what fetching raises; then nothing is left behind.
    """
    once = replace(run, report=_once(run.report))
    try:
        return _unpack(image, source, target, how, once)
    except Retracted:
        # A tree that was begun with wrong bytes is of no use. From now on they are judged before they are used.
        run.report(Notice("info", "a layer was wrong at one place and may be right at another; unpacking anew"))
        return _unpack(image, source, target, replace(how, whole=True), once)


def _unpack(image: Image, source: LayerFetcher, target: str, how: UnpackOptions, run: Run) -> Unpacked:
    if how.bundle:
        from dist_tool.images.bundle import check_bundle, write_config

        check_bundle(image.config)
    with staged(target, force=how.force, whole=how.bundle, sync=how.sync, protected=how.protected, run=run) as stage:
        own_root(stage.root, how.apply)
        layers = [layer for layer, _ in image.layers]
        directory = stage.scratch if how.spool else None
        with fetched_ahead(layers, source, directory=directory, ahead=how.ahead, whole=how.whole) as reads:
            _apply_all(image, reads, stage.root, how.apply, run)
        if how.bundle:
            write_config(image.config, stage, how.apply)
    return Unpacked(image.desc.digest, chain_id(image.config.diff_ids))


def _once(report: Report) -> Report:
    """`report`, which hears of each kind of omission once."""
    told: set[Notice] = set()

    def once(notice: Notice) -> None:
        kind = notice._replace(text=notice.text.partition(" (")[0])
        if kind not in told:
            told.add(kind)
            report(notice)

    return once


def _apply_all(image: Image, reads: Iterator[Read], root: int, options: ApplyOptions, run: Run) -> None:
    """Apply the layers in their order; what they expand to counts together."""
    left = options.limits.size
    skipped = SpillDict()
    try:
        for (layer, diff_id), read in zip(image.layers, reads, strict=False):
            limited = replace(options, limits=replace(options.limits, size=left))
            try:
                left -= apply_layer(read, root, limited, diff_id=diff_id, run=run, skipped=skipped).size
            except DistError as error:
                raise error.with_facts(object_id=str(layer.digest)) from error.cause
    finally:
        skipped.close()
