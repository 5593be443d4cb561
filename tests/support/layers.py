"""Applying layers in tests: to a directory of one's own, as root or as somebody else."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dist_tool.api import Notice
from dist_tool.layers.apply import Applied, apply_layer
from dist_tool.layers.options import ApplyOptions
from dist_tool.settings import Settings
from dist_tool.spec.descriptor import Descriptor
from dist_tool.spec.digest import Digest
from dist_tool.spec.mediatypes import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from dist_tool.spec.platform import default_platform
from dist_tool.stream import VerifiedReader
from dist_tool.transfer.fetch import Options, open_remote
from dist_tool.transfer.image import Image as OpenedImage
from dist_tool.transfer.image import open_image
from dist_tool.transfer.layer_source import OpenLayer, layer_opener
from dist_tool.verifier import Verifier
from support.content import Blob, Image, to_json

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
                io.BytesIO(layer).read, fd, options, diff_id=diff_id, report=Heard() if report is None else report
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
def opened(layout: Path, *, opener: list[str] | None = None) -> Iterator[tuple[OpenedImage, OpenLayer]]:
    """The only image of a layout, and how its layers are opened; `opener` lists which were."""
    with open_remote(str(layout), Settings()) as remote:
        image = open_image(remote, "", default_platform(), Options())
        plain = layer_opener(remote, Options())

        def open_layer(desc: Descriptor) -> VerifiedReader:
            if opener is not None:
                opener.append(str(desc.digest))
            return plain(desc)

        yield image, open_layer


def reader_of(data: bytes, digest: Digest | None = None) -> VerifiedReader:
    """A layer from memory, judged by its digest or another one."""

    class Source(io.BytesIO):
        def reopen_past_end(self) -> bool:
            return False

    return VerifiedReader(Source(data), Verifier(digest or Digest.of(data), len(data)))
