"""Unpack: apply an image's layers in order to a directory that appears complete or not at all."""

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
    """Options for `unpack`.

    `ahead`: number of layers fetched concurrently; 0 fetches each layer when its turn comes.
    `spool`: fetch layers into temporary files; otherwise opening a layer fetches it (into the
    store). `force`: replace an existing target, but never a directory in `protected`. `bundle`:
    write an OCI runtime bundle, with `config.json` and `rootfs` in the target. The limits of
    `apply` hold for each layer, the size limit for all layers together. `whole`: apply no layer
    before it is fetched completely and verified. `sync`: the tree is on disk before it appears.
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
    """The manifest digest of the unpacked image, and the chain ID of its layers (None if it has no layers)."""

    digest: Digest
    chain_id: Digest | None


def unpack(image: Image, source: LayerFetcher, target: str, how: UnpackOptions, run: Run = NO_RUN) -> Unpacked:
    """Unpack an image to `target`, which must be absent or an empty directory.

    Every blob's digest and every diff ID is checked. Raises DigestMismatch, InvalidContent,
    LimitExceeded, LocalFailure and the errors of fetching; nothing is left behind then.
    """
    once = replace(run, report=_once(run.report))
    try:
        return _unpack(image, source, target, how, once)
    except Retracted:
        # The partial tree contains corrupt content. The second run verifies each layer before it is applied.
        run.report(Notice("info", "a mirror served a corrupt layer; unpacking again with other mirrors"))
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
    """Wrap `report` so that each kind of omission is reported once."""
    reported: set[Notice] = set()

    def once(notice: Notice) -> None:
        kind = notice._replace(text=notice.text.partition(" (")[0])
        if kind not in reported:
            reported.add(kind)
            report(notice)

    return once


def _apply_all(image: Image, reads: Iterator[Read], root: int, options: ApplyOptions, run: Run) -> None:
    """Apply the layers in order; the size limit holds for the sum of their uncompressed sizes."""
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
