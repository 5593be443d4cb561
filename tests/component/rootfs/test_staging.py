"""Trees that killed runs leave, and targets that are mount points."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.layers import needs_root
from support.small_trees import NEW, build, old_tree
from support.trees import shape

from dist_tool.errors import LocalFailure
from dist_tool.rootfs import target as targets
from dist_tool.rootfs.staging import staged


def build_two(target: Path) -> None:
    with staged(str(target), force=False, sync=False) as stage:
        os.mkdir("a", dir_fd=stage.root)
        os.mkdir("b", dir_fd=stage.root)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir()
    return path


# What killed runs leave


def killed(here: Path, code: str) -> None:
    """A process that builds at here/target and is killed while it does."""
    program = (
        "import os, signal\nfrom dist_tool.rootfs import staging\n"
        f"die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\ntarget = {str(here / 'target')!r}\n{code}"
    )
    done = subprocess.run(
        ["python3", "-c", program], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}, check=False
    )
    assert done.returncode == -9


BUILD = """
with staging.staged(target, force=True, sync=False) as stage:
    os.mkdir("d", dir_fd=stage.root)
"""


def test_tree_of_a_killed_run_is_removed_by_the_next_one_for_the_target(here: Path) -> None:
    killed(here, BUILD + "    die()\n")
    assert len(os.listdir(here)) == 1
    build(here / "other")
    assert len(os.listdir(here)) == 2
    build(here / "target")
    assert sorted(os.listdir(here)) == ["other", "target"]


def test_old_tree_of_a_run_killed_after_the_exchange_is_removed(here: Path) -> None:
    old_tree(here / "target")
    killed(here, f"staging.Building.discard = die\n{BUILD}")
    assert shape(here / "target") == {"d": None}
    with pytest.raises(LocalFailure, match="already exists"):
        build(here / "target")
    assert os.listdir(here) == ["target"]


def test_old_tree_of_a_run_killed_between_two_renames_is_put_back(here: Path) -> None:
    old_tree(here / "target")
    killed(
        here,
        "staging.exchange = lambda *_: False\nreal = os.rename\n"
        "os.rename = lambda *a, **k: real(*a, **k) if os.path.exists(target) else die()\n" + BUILD,
    )
    assert "target" not in os.listdir(here)
    with pytest.raises(LocalFailure, match="already exists"):
        build(here / "target")
    assert shape(here / "target") == {"sub": None, "sub/old": b"old"}
    assert os.listdir(here) == ["target"]


# Directories that are filled


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], capture_output=True, check=False)
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(done.stderr.decode())
        pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@needs_root
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_empty_mount_point_is_filled(here: Path, force: bool, whole: bool) -> None:
    target = here / "volume with space"
    with mounted(target):
        (target / "lost+found").mkdir(mode=0o700)
        with staged(str(target), force=force, whole=whole, sync=False) as stage:
            os.mkdir("d", dir_fd=stage.root)
            os.setxattr(stage.top, "trusted.x", b"1")
            os.chown(stage.top, 5, 6)
            os.fchmod(stage.top, 0o751)
            os.utime(stage.top, ns=(7, 7))
            assert os.listdir(target) != []
        info = target.stat()
        assert set(os.listdir(target)) == {"lost+found", "rootfs" if whole else "d"}
        assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns) == (0o751, 5, 6, 7)
        assert os.getxattr(target, "trusted.x") == b"1"
    assert os.listdir(here) == ["volume with space"]


@needs_root
def test_failure_leaves_a_mount_point_empty(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, real, count = here / "target", os.rename, 0

    def rename(*args: str, **kwargs: int) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise OSError(errno.EIO, "failed")
        real(*args, **kwargs)

    with mounted(target):
        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(LocalFailure, match="failed"):
            build_two(target)
        assert os.listdir(target) == []


@needs_root
@pytest.mark.parametrize("force", [True, False])
def test_mount_point_that_is_not_empty_is_refused_before_the_work(here: Path, force: bool) -> None:
    target = here / "target"
    with mounted(target):
        (target / "mine").write_text("")
        with pytest.raises(LocalFailure, match="mount point"), staged(str(target), force=force):
            pytest.fail("the work has begun")
        assert os.listdir(target) == ["mine"]


@needs_root
def test_tree_with_a_mount_point_in_it_is_never_replaced(here: Path) -> None:
    target = here / "target"
    (target / "sub").mkdir(parents=True)
    with mounted(target / "sub" / "volume"):
        (target / "sub" / "volume" / "mine").write_text("")
        with pytest.raises(LocalFailure, match="sub/volume is a mount point"), staged(str(target), force=True):
            pytest.fail("the work has begun")
        assert (target / "sub" / "volume" / "mine").exists()


@needs_root
def test_bind_mount_of_the_same_file_system_is_a_mount_point(here: Path) -> None:
    source, target = here / "source", here / "target"
    for path in (source, target):
        path.mkdir()
    if subprocess.run(["mount", "--bind", str(source), str(target)], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        assert targets.mount_points(os.fsencode(target)) == [os.fsencode(target)]
        build(target)
        assert shape(source) == NEW
    finally:
        subprocess.run(["umount", str(target)], check=True)
