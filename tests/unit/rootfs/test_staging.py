"""Where a tree is built, what it may replace, and how it appears."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.layers import needs_root
from support.small_trees import NEW, build, old_tree
from support.trees import shape

from dist_tool.errors import InvalidArgument, LocalFailure
from dist_tool.rootfs import libc, staging
from dist_tool.rootfs.staging import staged


@pytest.fixture
def here(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir()
    return path


# Names


def test_empty_name_is_a_usage_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    (here / "keep").write_text("mine")
    with pytest.raises(InvalidArgument, match="is empty"):
        build("", force=True)
    assert os.listdir(here) == ["keep"]


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("name", [".", "..", "../..", "/", "./", "../here", "link"])
def test_current_directory_and_those_above_are_never_replaced(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, force: bool
) -> None:
    inner = here / "above" / "here"
    inner.mkdir(parents=True)
    (inner / "link").symlink_to("..")
    monkeypatch.chdir(inner)
    with pytest.raises(InvalidArgument, match="never replaced"):
        build(name, force=force)
    assert os.listdir(here) == ["above"]


def test_protected_directories_and_those_above_are_never_replaced(here: Path) -> None:
    home = here / "homes" / "me"
    home.mkdir(parents=True)
    for place in (home, home.parent):
        with (
            pytest.raises(InvalidArgument, match="home directory"),
            staged(str(place), force=True, protected=(str(home),)),
        ):
            pass
    build(home / "below")


def test_home_directory_of_the_account_is_never_replaced(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    class Account:
        pw_dir = str(here / "me")

    (here / "me").mkdir()
    monkeypatch.setattr(pwd, "getpwuid", lambda _: Account)
    with pytest.raises(InvalidArgument, match="home directory"):
        build(here / "me", force=True)


@pytest.mark.parametrize("name", ["語" * 85, "n" * 255, "caf\udce9", "a.b", "[x]*"])
def test_any_name_that_the_file_system_takes_is_taken(here: Path, name: str) -> None:
    build(here / name)
    assert shape(here / name) == NEW
    assert os.listdir(here) == [name]


def test_missing_parent_and_unusable_name_have_messages(here: Path) -> None:
    with pytest.raises(LocalFailure, match="create its parent directory"):
        build(here / "none" / "target")
    with pytest.raises(LocalFailure, match="too long"):
        build(here / ("n" * 256))


# Replacing


@contextmanager
def without_exchange(patch: pytest.MonkeyPatch) -> Iterator[None]:
    with patch.context() as inner:
        inner.setattr(staging, "exchange", lambda *_: False)
        yield


def test_force_exchanges_the_trees_in_one_step(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = here / "target"
    old_tree(target)
    real, seen = libc.exchange, []

    def watched(*args: int | bytes) -> bool:
        seen.append(shape(target))
        done = real(*args)  # type: ignore[arg-type]
        seen.append(shape(target))
        return done

    monkeypatch.setattr(staging, "exchange", watched)
    build(target, force=True)
    assert seen == [{"sub": None, "sub/old": b"old"}, NEW]
    assert os.listdir(here) == ["target"]


@pytest.mark.parametrize("kind", ["tree", "file", "link", "absent", "empty"])
@pytest.mark.parametrize("can_exchange", [True, False])
def test_force_replaces_anything(here: Path, monkeypatch: pytest.MonkeyPatch, kind: str, can_exchange: bool) -> None:
    target = here / "target"
    if kind == "tree":
        old_tree(target)
    elif kind == "file":
        target.write_text("old")
    elif kind == "link":
        target.symlink_to("target")  # a loop, which leads nowhere
    elif kind == "empty":
        target.mkdir()
    if not can_exchange:
        monkeypatch.setattr(staging, "exchange", lambda *_: False)
    build(target, force=True)
    assert shape(target) == NEW
    assert os.listdir(here) == ["target"]


def test_failure_between_two_renames_gives_the_old_tree_back(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, real, count = here / "target", os.rename, 0
    old_tree(target)

    def rename(*args: str, **kwargs: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(errno.EIO, "failed")
        real(*args, **kwargs)

    monkeypatch.setattr(staging, "exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(LocalFailure, match="failed"):
        build(target, force=True)
    assert shape(target) == {"sub": None, "sub/old": b"old"}
    assert os.listdir(here) == ["target"]


# What killed runs leave


def test_tree_of_a_living_run_and_what_only_looks_like_one_are_left_alone(here: Path) -> None:
    (here / ".target.0123456789ab.part").mkdir(mode=0o700)
    (here / ".target.0123456789ab.part" / "mine").write_text("")
    (here / ".target.0123456789ac.part").mkdir(mode=0o755)
    (here / ".target.0123456789ad.part").write_text("")
    (here / ".target.more.0123456789ad.part").mkdir(mode=0o700)
    before = set(os.listdir(here))
    with staged(str(here / "target"), force=False, sync=False) as stage:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{stage.scratch}"))
        build(here / "target")
        assert set(os.listdir(here)) == before | {name, "target"}
        shutil.rmtree(here / "target")
    assert set(os.listdir(here)) == before | {"target"}


def test_directory_that_another_run_removed_before_it_was_locked_is_made_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = fcntl.flock, 0

    def flock(descriptor: int, how: int) -> None:
        nonlocal count
        count += 1
        if count == 1:
            os.rmdir(os.readlink(f"/proc/self/fd/{descriptor}"))
        if count == 2:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    build(here / "target")
    assert count == 3
    assert shape(here / "target") == NEW


# Syncing


def test_tree_is_on_disk_before_it_appears(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = os.fsync
    monkeypatch.setattr(staging, "sync_file_system", lambda _: calls.append(f"sync {(here / 'target').exists()}"))
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(f"fsync {(here / 'target').exists()}"), real(fd))[1])
    with staged(str(here / "target"), force=False):
        pass
    assert calls == ["sync False", "fsync True"]
    with staged(str(here / "other"), force=False, sync=False):
        pass
    assert len(calls) == 2


def test_failure_to_write_to_disk_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(staging, "sync_file_system", fail)
    with pytest.raises(LocalFailure, match="Input/output"), staged(str(here / "target"), force=False):
        pass
    assert os.listdir(here) == []


def test_sync_of_a_file_system_works_or_falls_back(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    with open(here / "f", "w") as file:
        libc.sync_file_system(file.fileno())
    with pytest.raises(OSError, match="Bad file"):
        libc.sync_file_system(-1)
    assert synced == []
    monkeypatch.setattr(libc, "_libc", object())
    libc.sync_file_system(-1)
    assert synced == [True]
    assert libc.exchange(-1, b"a", -1, b"b") is False


# Attributes of the parent


@needs_root
def test_group_and_default_acl_of_the_parent_do_not_go_into_the_tree(here: Path) -> None:
    os.chown(here, -1, 1234)
    here.chmod(0o2777)
    # user::rwx user:1000:rwx group::r-x mask::rwx other::r-x
    entries = [(1, 7, -1), (2, 7, 1000), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + (number & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, mode, number in entries
    )
    os.setxattr(here, "system.posix_acl_default", acl)
    for whole in (False, True):
        target = here / f"target-{whole}"
        build(target, whole=whole)
        for path in [target, *target.rglob("*")]:
            info = path.lstat()
            assert (info.st_gid, os.listxattr(path)) == (0, []), path
            assert not info.st_mode & stat.S_ISGID
