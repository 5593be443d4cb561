"""A power cut right after a label was acknowledged, on a real file system.

SQLite makes its calls itself, so the modelled disk of the other tests does not see them. Here
the image of an ext4 file system is copied while it is mounted: what a disk holds when the power
goes. The copy is mounted, its journal replayed, and the store looked at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.store import open_store
from dist_tool.store.disk import DiskStore
from dist_tool.store.labels import GC_ROOT
from dist_tool.store.verify import verify_all

_SIZE = 16 << 20


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir()
    if subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, check=False).returncode:
        pytest.skip("no loop device can be mounted")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file with an ext4 file system in it."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("only root can mount a file system")
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    return path


@contextmanager
def after_power_cut(image: Path, number: int) -> Iterator[DiskStore]:
    """The store on a copy of the disk as it is now."""
    copy = image.parent / f"copy{number}"
    shutil.copyfile(image, copy)
    with mounted(copy, image.parent / f"after{number}") as place:
        yield open_store(str(place / "store"))
    copy.unlink()


def put(store: DiskStore, data: bytes) -> Descriptor:
    with store.writer("ref") as writer:
        writer.write(data)
        return writer.commit()


def test_acknowledged_labels_names_and_removals_survive_a_power_cut(image: Path, tmp_path: Path) -> None:
    with mounted(image, tmp_path / "before") as place:
        store = open_store(str(place / "store"))
        first = put(store, b"first")
        store.label(first.digest, {GC_ROOT: "y"})
        with after_power_cut(image, 1) as found:
            assert found.info(first.digest).labels == {GC_ROOT: "y"}
        for number in range(2, 5):
            store.label(first.digest, {GC_ROOT: str(number)})
            store.tag(f"name {number}", first)
            with after_power_cut(image, number) as found:
                assert found.info(first.digest).labels == {GC_ROOT: str(number)}
                assert found.resolve(f"name {number}", Hints()).digest == first.digest
        store.label(first.digest, {GC_ROOT: ""})
        with after_power_cut(image, 5) as found:
            assert found.info(first.digest).labels == {}


def test_replaced_blob_survives_a_power_cut(image: Path, tmp_path: Path) -> None:
    with mounted(image, tmp_path / "before") as place:
        store = open_store(str(place / "store"))
        desc = put(store, b"good" * 1000)
        os.chmod(store.path(desc.digest), 0o644)
        Path(store.path(desc.digest)).write_bytes(b"evil" * 1000)
        store.distrust(desc.digest)
        put(store, b"good" * 1000)
        with after_power_cut(image, 1) as found:
            assert [verdict.state for verdict in verify_all(found)] == ["ok"]
