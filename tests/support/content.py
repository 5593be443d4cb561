"""Deterministic content: blobs, images and indexes from a seed, and image layouts of them."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    OCTET_STREAM,
)
from dist_tool.oci.platform import Platform

REF_NAME = "org.opencontainers.image.ref.name"


def random_bytes(seed: int | str, size: int) -> bytes:
    """`size` bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def flip(data: bytes, bit: int) -> bytes:
    """`data` with one bit inverted."""
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def to_json(value: Any) -> bytes:
    """Compact JSON: what a tool would push. Bytes, because digests are of bytes."""
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with a media type and, by one algorithm, a digest."""

    data: bytes
    media_type: str = OCTET_STREAM
    algorithm: str = "sha256"

    @property
    def digest(self) -> Digest:
        return Digest.of(self.data, self.algorithm)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.digest, len(self.data), self.media_type)


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest, and what it points to."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]
    platform: Platform

    @property
    def root(self) -> Blob:
        return self.manifest

    def blobs(self) -> Iterable[Blob]:
        """Every blob, children first: the order in which a registry takes them."""
        yield from self.layers
        yield self.config
        yield self.manifest


@dataclass(frozen=True, slots=True)
class Index:
    """An index, and what it points to."""

    manifest: Blob
    entries: tuple[Image | Index, ...]

    @property
    def root(self) -> Blob:
        return self.manifest

    def blobs(self) -> Iterable[Blob]:
        for entry in self.entries:
            yield from entry.blobs()
        yield self.manifest


def blob(seed: int | str, size: int = 65536, algorithm: str = "sha256") -> Blob:
    return Blob(random_bytes(seed, size), algorithm=algorithm)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of regular files, all times 0."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def image(
    seed: int | str = 0,
    *,
    layers: Sequence[Mapping[str, bytes]] | None = None,
    platform: Platform | None = None,
    docker: bool = False,
    algorithm: str = "sha256",
) -> Image:
    """An image whose layers hold `layers` (default: two, of random files), gzip-compressed."""
    platform = platform or Platform("linux", "amd64")
    if layers is None:
        layers = [{f"etc/{seed}-{n}": random_bytes(f"{seed}/{n}", 3000)} for n in range(2)]
    tars = [tar_of(files) for files in layers]
    layer_type = f"{DOCKER_LAYER}.gzip" if docker else f"{OCI_LAYER}+gzip"
    blobs = tuple(Blob(gzip.compress(data, mtime=0), layer_type, algorithm) for data in tars)
    config = Blob(
        to_json(
            {
                "created": "1970-01-01T00:00:00Z",
                **platform.to_json(),
                "config": {"Labels": {"seed": str(seed)}},
                "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(data)) for data in tars]},
            }
        ),
        DOCKER_CONFIG if docker else OCI_CONFIG,
        algorithm,
    )
    return Image(_manifest(config, blobs, DOCKER_MANIFEST if docker else OCI_MANIFEST), config, blobs, platform)


def _manifest(config: Blob, layers: Iterable[Blob], media_type: str) -> Blob:
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor.to_json(),
        "layers": [layer.descriptor.to_json() for layer in layers],
    }
    return Blob(to_json(document), media_type, config.algorithm)


def index(*entries: Image | Index, docker: bool = False) -> Index:
    """An index of images (with their platforms) and of other indexes."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    manifests = []
    for entry in entries:
        descriptor = entry.root.descriptor.to_json()
        if isinstance(entry, Image):
            descriptor["platform"] = entry.platform.to_json()
        manifests.append(descriptor)
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    return Index(Blob(to_json(document), media_type), entries)


def write_layout(path: Path, images: Mapping[str, Image | Index] | None = None) -> Path:
    """Write a valid OCI image layout to `path`, its `index.json` naming each image; returns `path`."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
    (path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    manifests = []
    for name, content in (images or {}).items():
        for each in content.blobs():
            write_blob(path, each)
        manifests.append({**content.root.descriptor.to_json(), "annotations": {REF_NAME: name}})
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    (path / "index.json").write_bytes(to_json(document))
    return path


def write_blob(layout: Path, content: Blob) -> Path:
    """Put one blob where a layout keeps it; returns the file."""
    file = layout / "blobs" / content.digest.algorithm / content.digest.encoded
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.data)
    return file
