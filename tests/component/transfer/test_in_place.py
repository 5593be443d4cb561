"""Commands on layers of this machine, with no room for temporary files."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.content import random_bytes, write_layout
from support.layers import image_of, needs_root
from support.processes import dist_command, dist_environment
from support.tars import directory, file, symlink, tar

LOWER = tar(directory("./"), file("a", b"first"), file("large", random_bytes("large", 6 << 20)), file("b", b"second"))
UPPER = tar(directory("./"), symlink("s", "b"), file("c", b"third"))
IMAGE = image_of(LOWER, UPPER)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"image": IMAGE})


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


@pytest.fixture
def small_tmp(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@needs_root
@pytest.mark.parametrize("kind", ["layout", "archive", "store", "through the store"])
def test_commands_need_no_room_for_temporary_files(layout: Path, tmp_path: Path, small_tmp: Path, kind: str) -> None:
    store = tmp_path / "store"
    env = {**dist_environment(), "TMPDIR": str(small_tmp), "DIST_STORE": str(store)}
    reference, options = f"{layout}:image", []
    if kind == "archive":
        subprocess.run(["tar", "-cf", tmp_path / "image.tar", "-C", layout, "."], check=True)
        reference = f"{tmp_path}/image.tar:image"
    elif kind == "store":
        subprocess.run(["cp", "-r", layout, store], check=True)
        reference = "store:::image"
    elif kind == "through the store":
        options = ["--store"]
    exported = subprocess.run(dist_command("export", *options, reference), env=env, check=True, capture_output=True)
    assert "large" in names(exported.stdout)
    content = subprocess.run(dist_command("cat", *options, reference, "a"), env=env, check=True, capture_output=True)
    assert content.stdout == b"first"
