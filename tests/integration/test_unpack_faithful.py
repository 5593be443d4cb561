"""The same image unpacked by us, by umoci and by GNU tar: the same trees, to the last attribute."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import tars
from support.attack_run import place_for
from support.content import Blob, Image, to_json, write_layout
from support.layers import needs_root
from support.processes import dist_environment, require_program, run_program
from support.trees import Node, differences, snapshot
from support.user import NOBODY

from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from dist_tool.oci.platform import default_platform

ENTRIES = 6_500
LARGEST = 16 << 10  # bytes of a file that is taken over from this machine
PLACES = ("etc", "usr/bin", "usr/share", "usr/lib")


def changes(*, privileged: bool) -> list[bytes]:
    """Two layers on top of a system: everything that a layer can do to another, parents mentioned."""
    second = tars.tar(
        tars.directory("./", mode=0o755, mtime=1_500_000_000),
        tars.directory("new", mode=0o2775, uid=7, gid=8, mtime=11, xattrs={"user.d": b"\0value"}),
        tars.file("new/setuid", b"x" * 10_000, mode=0o4755, mtime=12),
        tars.file("new/attributes", b"y", xattrs={"user.a": b"1"}),
        tars.hard_link("new/same", "new/setuid"),
        tars.symlink("new/absolute", "/etc/passwd", mtime=13),
        tars.symlink("new/dangling", "no/such", uid=9, mtime=14),
        tars.file("new/" + "long-" * 40, b"long"),
        tars.file(b"new/caf\xe9 \xff", b"bytes"),
        *([tars.char_device("new/null", 1, 3, mode=0o666), tars.block_device("new/loop", 7, 0)] if privileged else []),
        tars.fifo("new/pipe", mode=0o622),
        tars.directory("etc", mtime=21),
        tars.file("etc/made", b"made", uid=100, gid=200),
        tars.directory("replaced", mtime=22),
        tars.file("replaced/f", b"1"),
    )
    third = tars.tar(
        tars.directory("./", mode=0o755, mtime=1_600_000_000),
        tars.directory("etc", mtime=31),
        tars.file("etc/made", b"made again", mode=0o600),
        tars.whiteout("usr"),
        tars.directory("new", mode=0o755, mtime=32),
        tars.whiteout("new/absolute"),
        tars.file("new/setuid", b"no longer"),
        tars.file("replaced", b"a file now"),
    )
    return [second, third]


def system_layer(here: Path) -> bytes:
    """A layer of this machine's own files, written by GNU tar: a real one, without a network."""
    names: list[str] = []
    for place in PLACES:
        for where, directories, files in os.walk(f"/{place}"):
            directories.sort()
            for name in sorted(directories + files):
                path = os.path.join(where, name)
                info = os.lstat(path)
                wanted = not stat.S_ISREG(info.st_mode) or info.st_size <= LARGEST
                if wanted and (os.access(path, os.R_OK) or os.path.islink(path)):
                    names.append(path[1:])
            if len(names) > ENTRIES // len(PLACES) * (PLACES.index(place) + 1):
                break
    assert len(names) >= ENTRIES * 0.9
    # What is in a directory directly after it: GNU tar sets a directory's time when it leaves it.
    ordered = sorted({*names, *PLACES, "usr"}, key=lambda name: name.split("/"))
    (here / "names").write_bytes(b"".join(os.fsencode(name) + b"\0" for name in ordered))
    return run_program(
        *("tar", "-C", "/", "--null", "--no-recursion", "--numeric-owner", "--format=pax", "--xattrs"),
        *("--xattrs-include=security.capability", "--pax-option=delete=atime,delete=ctime"),
        *("-T", str(here / "names"), "-cf", "-"),
    )


def image_layout(here: Path, layers: list[bytes]) -> Path:
    blobs = tuple(Blob(gzip.compress(layer, 1, mtime=0), f"{OCI_LAYER}+gzip") for layer in layers)
    config = Blob(
        to_json(
            {
                "os": "linux",
                "architecture": default_platform().architecture,
                "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]},
            }
        ),
        OCI_CONFIG,
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor.to_json(),
        "layers": [blob.descriptor.to_json() for blob in blobs],
    }
    image = Image(Blob(to_json(manifest), OCI_MANIFEST), config, blobs, default_platform())
    return write_layout(here / "layout", {"image": image})


def dist(*args: str, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dist_tool", *args], env=dist_environment(), cwd=home, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def compare(layout: Path, layers: list[bytes], here: Path) -> dict[str, Node]:
    """Unpack with all three and compare; returns the tree."""
    dist("unpack", f"{layout}:image", str(here / "dist"), home=here)
    mine = snapshot(here / "dist")
    run_program("umoci", "raw", "unpack", "--image", f"{layout}:image", str(here / "umoci"))
    assert differences(mine, snapshot(here / "umoci")) == []
    (here / "tar").mkdir()
    for layer in layers[:1]:
        run_program(
            *("tar", "-C", str(here / "tar"), "--numeric-owner", "-p", "--xattrs", "--xattrs-include=*", "-xf", "-"),
            stdin=layer,
        )
    dist("unpack", f"{image_layout(here / 'one', layers[:1])}:image", str(here / "dist-one"), home=here)
    assert differences(snapshot(here / "dist-one"), snapshot(here / "tar")) == []
    return mine


@needs_root
def test_root_gets_the_trees_that_umoci_and_tar_make(tmp_path: Path) -> None:
    require_program("umoci")
    (tmp_path / "one").mkdir()
    layers = [tars.tar(tars.directory("./", mtime=1_400_000_000), end=b"") + system_layer(tmp_path)]
    layers += changes(privileged=True)
    layout = image_layout(tmp_path, layers)
    found = compare(layout, layers, tmp_path)
    assert found["new/null"].kind == "char"
    assert len(snapshot(tmp_path / "dist-one")) > ENTRIES * 0.9
    assert "usr" not in found


@pytest.fixture
def place() -> Iterator[Path]:
    with place_for(NOBODY if os.geteuid() == 0 else os.geteuid()) as here:
        yield here


_AS_USER = """
import subprocess, sys
from support.user import become_nobody
import dist_tool.cli.unpack, dist_tool.cli._image, dist_tool.images.unpack, dist_tool.images.image
import dist_tool.config, dist_tool.remotes.table, dist_tool.remotes.layout, dist_tool.cli._output
import encodings.idna, hashlib, tomllib
try:
    import isal.isal_zlib
except ImportError:
    pass
from dist_tool.cli import main
become_nobody()
layout, here = sys.argv[1:]
subprocess.run(["umoci", "raw", "unpack", "--rootless", "--image", layout, here + "/umoci"], check=True,
               stdout=subprocess.DEVNULL)
main(["unpack", "--rootlesscontainers", layout, here + "/dist"])
"""


def test_user_gets_the_tree_that_umoci_rootless_makes(tmp_path: Path, place: Path) -> None:
    require_program("umoci")
    system = system_layer(tmp_path) if os.geteuid() == 0 else tars.tar(tars.directory("etc"), tars.file("etc/x"))
    layers = [tars.tar(tars.directory("./"), end=b"") + system, *changes(privileged=False)]
    layout = image_layout(place, layers)
    subprocess.run(["chmod", "-R", "a+rX", str(layout)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", _AS_USER, f"{layout}:image", str(place)],
        env={
            **{name: value for name, value in dist_environment().items() if not name.startswith("XDG_")},
            "HOME": str(place),
            "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}",
        },
        cwd=place,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert differences(snapshot(place / "dist"), snapshot(place / "umoci")) == []


@needs_root
@pytest.mark.torture
def test_debootstrap_image_is_unpacked_as_umoci_and_tar_do(tmp_path: Path) -> None:
    """The image that people have; takes Debian's archive to be in reach."""
    require_program("umoci")
    require_program("debootstrap")
    root = tmp_path / "rootfs"
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True, stdout=subprocess.DEVNULL)
    system = run_program("tar", "-C", str(root), "--format=gnu", "--numeric-owner", "-cf", "-", ".")
    shutil.rmtree(root)
    layers = [system, *changes(privileged=True)]
    (tmp_path / "one").mkdir()
    compare(image_layout(tmp_path, layers), layers, tmp_path)
    assert len(snapshot(tmp_path / "dist-one")) >= 6_000
