"""Applying layers in tests to a new directory, as root or as an ordinary user."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dist_tool.api import Remote
from dist_tool.images.image import Image as OpenedImage
from dist_tool.images.image import open_image
from dist_tool.images.layer_fetcher import LayerFetcher
from dist_tool.layers.changeset import Applied, apply_layer
from dist_tool.layers.options import ApplyOptions
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from dist_tool.oci.platform import default_platform
from dist_tool.run import Notice, Run
from dist_tool.settings import Settings
from dist_tool.stream.spool import Spool
from dist_tool.stream.verify import VerifiedReader, Verifier
from dist_tool.transfer.opening import FetchOptions
from support.content import Blob, Image, to_json
from support.repositories import opened as open_remote
from support.repositories import over

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OUR_THREADS = frozenset({"dist-decompress", "dist-fetch"})


class Heard(list[Notice]):
    """A `Report` that remembers."""

    def __call__(self, notice: Notice) -> None:
        self.append(notice)

    @property
    def texts(self) -> list[str]:
        return [notice.text for notice in self]


@contextmanager
def held(path: Path | str) -> Iterator[int]:
    """A descriptor of a directory."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def apply(
    root: Path | str,
    *layers: bytes,
    options: ApplyOptions | None = None,
    diff_id: Digest | None = None,
    report: Heard | None = None,
) -> Applied:
    """Apply layers to `root`, which is made where it is not there; returns what came of the last."""
    os.makedirs(root, exist_ok=True)
    with held(root) as fd:
        for layer in layers:
            applied = apply_layer(
                io.BytesIO(layer).read, fd, options, diff_id=diff_id, run=Run(Heard() if report is None else report)
            )
    return applied


def image_of(*layers: bytes, config: dict[str, Any] | None = None, media_type: str = f"{OCI_LAYER}+gzip") -> Image:
    """An image of these tars, gzip-compressed where the media type says so."""
    gzipped = media_type.endswith("gzip")
    blobs = tuple(Blob(gzip.compress(data, mtime=0) if gzipped else data, media_type) for data in layers)
    document = {
        "os": "linux",
        "architecture": default_platform().architecture,
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(data)) for data in layers]},
    }
    return image_with(blobs, document)


def image_with(blobs: tuple[Blob, ...], config: dict[str, Any], config_type: str = OCI_CONFIG) -> Image:
    """An image of these layers and that config, whether they fit together or not."""
    configuration = Blob(to_json(config), config_type)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": configuration.descriptor.to_json(),
        "layers": [blob.descriptor.to_json() for blob in blobs],
    }
    return Image(Blob(to_json(manifest), OCI_MANIFEST), configuration, blobs, default_platform())


@contextmanager
def opened(
    layout: Path, *, asked: list[str] | None = None, in_place: bool = False
) -> Iterator[tuple[OpenedImage, LayerFetcher]]:
    """The only image of a layout, and where its layers come from; `asked` lists which were asked for."""
    with open_remote(str(layout), Settings()) as remote:
        image = open_image(over(remote, FetchOptions()), "", default_platform())
        yield image, Noting(remote, asked, in_place=in_place)


class Noting(LayerFetcher):
    """Layers of a remote; `asked` lists which were asked for."""

    def __init__(self, remote: Remote, asked: list[str] | None = None, *, in_place: bool = False) -> None:
        super().__init__(over(remote), in_place=in_place)
        self._asked = asked

    def open(self, layer: Descriptor) -> VerifiedReader:
        self._note(layer)
        return super().open(layer)

    def fetch_into(self, layer: Descriptor, spool: Spool) -> None:
        self._note(layer)
        super().fetch_into(layer, spool)

    def _note(self, layer: Descriptor) -> None:
        if self._asked is not None:
            self._asked.append(str(layer.digest))


class Near(LayerFetcher):
    """Layers that `opener` has brought near."""

    may_retract = False

    def __init__(self, opener: Callable[[Descriptor], VerifiedReader]) -> None:
        self._opener = opener

    def open(self, layer: Descriptor) -> VerifiedReader:
        return self._opener(layer)

    def fetch_into(self, layer: Descriptor, spool: Spool) -> None:
        try:
            with self.open(layer) as reader:
                while data := reader.read(1 << 20):
                    spool(memoryview(data))
        except BaseException as error:
            spool.fail(error)
        else:
            spool.end()


def reader_of(data: bytes, digest: Digest | None = None) -> VerifiedReader:
    """A layer from memory, judged by its digest or another one."""

    class Source(io.BytesIO):
        def reopen_past_end(self) -> bool:
            return False

    return VerifiedReader(Source(data), Verifier(digest or Digest.of(data), len(data)))
