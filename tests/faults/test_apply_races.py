"""Another user moves names in a directory of the tree while a layer is applied."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.layers import Heard, apply, needs_root
from support.racing import racing
from support.swapping import at_each_call
from support.tars import char_device, directory, fifo, file, symlink, tar

from dist_tool.errors import DataLoss, LocalFailure
from dist_tool.layers.options import ApplyOptions

SET = {"mode": 0o4777, "uid": 7, "gid": 8}
ATTRIBUTES = {"user.x": b"1", "trusted.x": b"1", "security.capability": bytes(20)}
LAYERS = {
    "placeholder": tar(char_device("home/u", **SET)),
    "fifo": tar(fifo("home/u", **SET)),
    "symlink": tar(symlink("home/u", "x", uid=7)),
    "file": tar(file("home/u", b"data", **SET)),
    "directory": tar(directory("home/u", xattrs=ATTRIBUTES, **SET)),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.mkdir()
    (path / "file").write_text("theirs")
    (path / "file").chmod(0o640)
    (path / "directory").mkdir(mode=0o700)
    (path / "link").symlink_to("file")
    return path


def state(victim: Path) -> list[tuple[str, int, int, list[str]]]:
    found = []
    for path in sorted(victim.iterdir()):
        info = path.lstat()
        found.append((path.name, info.st_mode, info.st_uid, os.listxattr(path, follow_symlinks=False)))
    return found


def swap(home: Path, put: Callable[[Path], None]) -> Callable[[], None]:
    """What the owner of `home` does: move `u` away, if it is there, and put something of its own under the name."""

    def act() -> None:
        name, away = home / "u", home / "away"
        try:
            os.rename(name, away)
        except FileNotFoundError:
            return
        put(name)

    return act


def applying(root: Path, entry: str, **options: Any) -> Callable[[], None]:
    """Applies a layer, which may fail, but only as a layer may."""

    def work() -> None:
        with contextlib.suppress(DataLoss, LocalFailure):
            apply(root, LAYERS[entry], options=ApplyOptions(**options), report=Heard())

    return work


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def prepare(root: Path) -> Callable[[], None]:
    def prepare() -> None:
        shutil.rmtree(root, ignore_errors=True)
        (root / "home").mkdir(parents=True)
        (root / "etc").mkdir(mode=0o755)

    return prepare


@needs_root
@pytest.mark.parametrize("openat2", [True, False])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
@pytest.mark.parametrize("entry", LAYERS)
def test_link_put_under_a_new_name_is_not_followed_out_of_the_root(
    root: Path, prepare: Callable[[], None], victim: Path, entry: str, kind: str, openat2: bool
) -> None:
    before = state(victim)

    def check() -> None:
        assert state(victim) == before

    work = applying(root, entry, devices="placeholder", use_openat2=openat2)
    act = swap(root / "home", lambda name: name.symlink_to(victim / kind))
    assert at_each_call(prepare, work, act, check) > 10


@needs_root
@pytest.mark.parametrize("openat2", [True, False])
def test_link_put_under_the_name_of_a_new_directory_passes_no_attributes_on(
    root: Path, prepare: Callable[[], None], openat2: bool
) -> None:
    def check() -> None:
        info = (root / "etc").stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid, os.listxattr(root / "etc")) == (0o755, 0, [])

    act = swap(root / "home", lambda name: name.symlink_to("../etc"))
    at_each_call(prepare, applying(root, "directory", use_openat2=openat2), act, check)


@needs_root
@pytest.mark.parametrize("entry", ["placeholder", "fifo", "symlink", "file"])
def test_file_put_under_a_new_name_keeps_its_owner_and_mode(
    root: Path, prepare: Callable[[], None], tmp_path: Path, entry: str
) -> None:
    program = tmp_path / "program"

    def prepare_all() -> None:
        prepare()
        program.write_text("#!/bin/sh")
        program.chmod(0o755)
        os.chown(program, 5, 5)

    def check() -> None:
        for path in (program, root / "home" / "u"):
            if path.is_file() and not path.is_symlink() and path.read_text().startswith("#!"):
                info = path.stat()
                assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o755, 5)

    act = swap(root / "home", lambda name: os.rename(program, name))
    at_each_call(prepare_all, applying(root, entry, devices="placeholder"), act, check)


def _race(tmp_path: Path, victim: Path, seconds: float) -> Iterator[str]:
    """Apply again and again while the owner of `home` swaps names at random; yields what changed outside."""
    before = state(victim)
    root = tmp_path / "root"
    (root / "home").mkdir(parents=True)
    layer = LAYERS["placeholder"]
    options = ApplyOptions(owners=True, devices="placeholder")
    with racing(root / "home", [str(victim / "file"), str(victim / "directory")], seconds, match="u") as running:
        while running():
            with contextlib.suppress(DataLoss, LocalFailure):
                apply(root, layer, options=options)
            if state(victim) != before:
                yield f"{before} became {state(victim)}"
                return


def test_owner_of_a_directory_in_the_tree_gains_nothing_by_racing(tmp_path: Path, victim: Path) -> None:
    assert list(_race(tmp_path, victim, 2.0)) == []


@pytest.mark.torture
def test_owner_of_a_directory_in_the_tree_gains_nothing_by_racing_for_long(tmp_path: Path, victim: Path) -> None:
    assert list(_race(tmp_path, victim, 60.0)) == []
