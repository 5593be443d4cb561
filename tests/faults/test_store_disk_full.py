"""A full disk: one message, nothing corrupt, and the write goes on once there is space."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess

import pytest
from support.disk import Child

from dist_tool.errors import LocalFailure
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.store import open_store
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.verify import verify_all

DATA = random.Random(1).randbytes(4 << 20)
DESC = Descriptor(Digest.of(DATA), len(DATA))
PIECE = 256 << 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB, where we may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    mounted = mount and os.geteuid() == 0
    if not mounted or subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "none", place], check=False).returncode:
        pytest.skip("only root may mount a small disk; the file size limit is tested instead")
    yield place
    subprocess.run(["umount", place], check=True)


def ingest(store, piece=PIECE):
    with store.writer("ref", DESC) as writer:
        resumed = writer.offset
        while writer.offset < len(DATA):
            writer.write(DATA[writer.offset : writer.offset + piece])
        writer.commit()
    return resumed


def fill(disk, leave):
    """Leave that many bytes on the disk."""
    free = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(free.f_bavail * free.f_frsize - leave, 0)))


def run_full(disk, leave):
    """Ingest onto a disk with `leave` bytes; returns how much of it the next run found."""
    store = open_store(str(disk / "store"))
    with store.writer("before") as writer:
        writer.write(b"before")
        before = writer.commit()
    fill(disk, leave)
    with pytest.raises(LocalFailure, match="No space left") as failure:
        ingest(store)
    assert failure.value.exit_code == 9
    assert "\n" not in str(failure.value)
    assert [verdict.state for verdict in verify_all(store)] == ["ok"]
    assert store.read(before, 100) == b"before"
    (disk / "ballast").unlink()
    found = ingest(store)
    assert [verdict.state for verdict in verify_all(store)] == ["ok", "ok"]
    store.delete(DESC.digest)
    shutil.rmtree(disk / "store")
    return found


@pytest.mark.parametrize("levels", [8, pytest.param(50, marks=pytest.mark.torture)])
def test_a_full_disk_costs_no_content_and_no_progress(small_disk, levels):
    found = [run_full(small_disk, leave) for leave in range(0, 4 << 20, (4 << 20) // levels)]
    assert found[0] == 0
    assert found[-1] > 3 << 20
    assert found == sorted(found)


def test_aborting_and_collecting_give_the_space_back(small_disk):
    store = open_store(str(small_disk / "store"))
    store.prepare()
    free = os.statvfs(small_disk).f_bavail
    for end in (lambda: store.abort("ref"), lambda: list(collect(store, GcPolicy(grace_s=0)))):
        fill(small_disk, 2 << 20)
        with pytest.raises(LocalFailure):
            ingest(store)
        end()
        (small_disk / "ballast").unlink()
        assert os.statvfs(small_disk).f_bavail >= free - 2


@pytest.mark.parametrize("limit", [0, 1, 100_000, PIECE, PIECE + 1, 3 << 20])
def test_a_file_size_limit_costs_no_content_and_no_progress(tmp_path, limit):
    root = str(tmp_path / "store")
    open_store(root).prepare()

    def limited(tell):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            ingest(open_store(root))
        except LocalFailure as failure:
            tell(str(failure))

    code, messages = Child(limited).wait()
    assert (code, len(messages)) == (0, 1)
    assert "File too large" in messages[0]
    store = open_store(root)
    assert list(verify_all(store)) == []
    assert ingest(store) == (limit if limit >= 100_000 else 0)
    assert store.read(DESC, len(DATA)) == DATA
