"""A day in a store's life, and what must be true of the store however the day was cut short."""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from dist_tool.errors import AlreadyExists
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_MANIFEST
from dist_tool.store.direct_io import BLOCK
from dist_tool.store.disk import DiskStore
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.ingest import ref_for
from dist_tool.store.verify import verify_all

CONTENTS = tuple(random.Random(seed).randbytes(size) for seed, size in enumerate((0, 10, 3000, 9000, 12288)))
ALGORITHMS = ("sha256", "sha256", "sha512", "sha256", "sha256")
NAMES = ("docker.io/library/redis:latest", "other")
_PIECE = 1000


def describe(data: bytes, algorithm: str = "sha256") -> Descriptor:
    return Descriptor(Digest.of(data, algorithm), len(data), OCI_MANIFEST)


DESCRIPTORS = tuple(describe(data, algorithm) for data, algorithm in zip(CONTENTS, ALGORITHMS, strict=True))
BY_DIGEST = {str(desc.digest): data for desc, data in zip(DESCRIPTORS, CONTENTS, strict=True)}


def ingest(store: DiskStore, data: bytes, desc: Descriptor) -> None:
    """Put content into the store in pieces, going on where an earlier try was."""
    try:
        with store.writer(ref_for(desc.digest), desc) as writer:
            assert data.startswith(data[: writer.offset])
            if len(data) % BLOCK == 0:
                writer.fill(BytesIO(data[writer.offset :]), direct=True)
            while writer.offset < len(data):
                writer.write(data[writer.offset : writer.offset + _PIECE])
            writer.commit()
    except AlreadyExists:
        pass


def live(root: Path, ack: Callable[[str], None]) -> None:
    """Ingest, interrupt, resume, name and collect. `ack` hears of everything that must last from then on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dist_tool.store.direct_io._DIRECT_FROM", 0)
        _live(DiskStore(str(root)), ack)


def _live(store: DiskStore, ack: Callable[[str], None]) -> None:
    with store.writer("abandoned") as writer:
        writer.write(b"never finished")
    for data, desc in zip(CONTENTS, DESCRIPTORS, strict=True):
        if len(data) > _PIECE:
            try:
                with store.writer(ref_for(desc.digest), desc) as writer:
                    if writer.offset < _PIECE:
                        writer.write(data[writer.offset : _PIECE])
            except AlreadyExists:
                pass
        ingest(store, data, desc)
        ack(str(desc.digest))
    for name, desc in zip(NAMES, DESCRIPTORS[1:], strict=False):
        store.tag(name, desc)
        ack(f"{name} {desc.digest}")
    list(collect(store, GcPolicy(keep=frozenset(desc.digest for desc in DESCRIPTORS))))


def check(root: Path, acked: list[str]) -> None:
    """No wrong byte under any digest, and everything there that was acknowledged."""
    store = DiskStore(str(root))
    for verdict in verify_all(store):
        assert verdict.state == "ok", verdict
    for entry in (root / "blobs").rglob("*") if root.exists() else ():
        assert entry.is_dir() or f"{entry.parent.name}:{entry.name}" in BY_DIGEST, entry
    for what in acked:
        name, _, digest = what.rpartition(" ")
        if name:
            assert str(store.resolve(name, Hints()).digest) == digest
        desc = Descriptor(Digest.parse(digest))
        assert store.read(desc, 1 << 20) == BY_DIGEST[digest], f"{digest} was acknowledged and is lost"


def recover(root: Path) -> None:
    """The next run succeeds, and gc removes what the last one left."""
    acked: list[str] = []
    live(root, acked.append)
    check(root, acked)
    store = DiskStore(str(root))
    list(collect(store, GcPolicy(grace_s=0, keep=frozenset(desc.digest for desc in DESCRIPTORS))))
    assert list((root / "ingest").iterdir()) == []
    assert {path.name for path in root.iterdir()} <= {
        "oci-layout",
        "index.json",
        "blobs",
        "ingest",
        "lock",
        "metadata.db",
        ".index.json.new",
        ".oci-layout.new",
    }
