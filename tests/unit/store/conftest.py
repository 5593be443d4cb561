"""A store, and content for it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.stored import damage

from dist_tool.errors import AlreadyExists
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.run import Run
from dist_tool.store.disk import DiskStore


class Filled:
    """A store with helpers that add, damage and age blobs. `notices` are the texts that it reported."""

    def __init__(self, root: Path) -> None:
        self.notices: list[str] = []
        self.store: DiskStore = DiskStore(str(root), Run(lambda notice: self.notices.append(notice.text)))
        self.root = root

    def put(self, data: bytes, media_type: str = OCTET_STREAM) -> Descriptor:
        desc = Descriptor(Digest.of(data), len(data), media_type)
        try:
            with self.store.writer("ref") as writer:
                writer.write(data)
                writer.commit()
        except AlreadyExists:
            pass
        return desc

    def file(self, desc: Descriptor) -> Path:
        return Path(self.store.path(desc.digest))

    def damage(self, desc: Descriptor, data: bytes) -> None:
        damage(self.store, desc.digest, data)

    def age(self, desc: Descriptor, seconds: float) -> float:
        """Set the time of the last use; returns it."""
        used = time.time() - seconds
        os.utime(self.file(desc), (used, used))
        return self.file(desc).stat().st_atime

    def digests(self) -> set[Digest]:
        return set(self.store.blobs.digests())


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return Filled(tmp_path / "store")
