"""Another user owns the parent of the target and moves names in it while an image is unpacked."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.content import write_layout
from support.layers import Heard, image_of, opened
from support.racing import racing, require_root
from support.swapping import at_each_call
from support.tars import file, tar
from support.trees import Node, snapshot

from dist_tool.errors import DataLoss, LocalFailure
from dist_tool.images.unpack import UnpackOptions, unpack
from dist_tool.layers.options import ApplyOptions
from dist_tool.run import Run
from dist_tool.stream import spool

LAYER = tar(file("program", b"data" * 200, mode=0o4755), file("d/f", b"x"))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"image": image_of(LAYER, tar(file("d/g", b"y")))})


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory of ours that the other user could not enter."""
    path = tmp_path / "closed"
    (path / "rootfs").mkdir(parents=True)
    (path / "tree").mkdir()
    path.chmod(0o700)
    return path


def unpacking(layout: Path, target: Path, *, bundle: bool, force: bool) -> Callable[[], None]:
    options = UnpackOptions(ApplyOptions(), 2, bundle=bundle, force=force, sync=False)

    def work() -> None:
        with opened(layout) as (image, source), contextlib.suppress(DataLoss, LocalFailure):
            unpack(image, source, str(target), options, Run(Heard()))

    return work


def unchanged(closed: Path) -> Callable[[], None]:
    before = _state(closed)

    def check() -> None:
        assert _state(closed) == before

    return check


def _state(closed: Path) -> dict[str, Node]:
    return {name: node._replace(mtime=0) for name, node in snapshot(closed).items()}


@pytest.mark.parametrize("bundle", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_link_put_under_the_name_of_the_building_directory_is_not_followed(
    tmp_path: Path, layout: Path, closed: Path, bundle: bool, force: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", 0)  # so that temporary files are used
    parent = tmp_path / "parent"

    def prepare() -> None:
        shutil.rmtree(parent, ignore_errors=True)
        parent.mkdir()
        if force:
            (parent / "out" / "old").mkdir(parents=True)

    def swap() -> None:
        for name in os.listdir(parent):
            if name.endswith(".part"):
                os.rename(parent / name, parent / "away")
                os.symlink(closed, parent / name)

    check = unchanged(closed)
    assert at_each_call(prepare, unpacking(layout, parent / "out", bundle=bundle, force=force), swap, check) > 50


def test_directory_put_under_the_name_of_the_building_directory_keeps_its_content(
    tmp_path: Path, layout: Path, closed: Path
) -> None:
    """Of ours as well, as an earlier target would be; what is in it is neither used nor removed."""
    parent, kept = tmp_path / "parent", tmp_path / "kept"

    def prepare() -> None:
        shutil.rmtree(parent, ignore_errors=True)
        shutil.rmtree(kept, ignore_errors=True)
        parent.mkdir()
        shutil.copytree(closed, kept)

    def swap() -> None:
        for name in os.listdir(parent):
            if name.endswith(".part"):
                os.rename(parent / name, parent / "away")
                os.rename(kept, parent / name)

    def check() -> None:
        found = [path for path in [kept, *parent.iterdir()] if (path / "rootfs").is_dir() and (path / "tree").is_dir()]
        assert len(found) == 1
        assert sorted(snapshot(found[0])) == [".", "rootfs", "tree"]

    at_each_call(prepare, unpacking(layout, parent / "out", bundle=False, force=False), swap, check)


def _race(tmp_path: Path, layout: Path, closed: Path, seconds: float) -> None:
    require_root()
    parent = tmp_path / "parent"
    parent.mkdir()
    check = unchanged(closed)
    with racing(parent, [str(closed)], seconds, match="part") as running:
        number = 0
        while running():
            number += 1
            for bundle in (False, True):
                unpacking(layout, parent / f"out-{number}", bundle=bundle, force=number % 2 == 0)()
            check()
    assert number > 10


def test_owner_of_the_parent_gains_nothing_by_racing(tmp_path: Path, layout: Path, closed: Path) -> None:
    _race(tmp_path, layout, closed, 5.0)


@pytest.mark.torture
def test_owner_of_the_parent_gains_nothing_by_racing_for_long(tmp_path: Path, layout: Path, closed: Path) -> None:
    _race(tmp_path, layout, closed, 120.0)
