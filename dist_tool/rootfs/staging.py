"""All or nothing: a tree is built beside its target and renamed when it is whole (behaviours G27).

Only the parent directory is ever opened by path. Everything else is relative to descriptors
that are held, because the parent may belong to a user who renames what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EPERM
from typing import NamedTuple

from dist_tool.files import os_errors
from dist_tool.rootfs.building import OLD, TREE, Building
from dist_tool.rootfs.filling import fill
from dist_tool.rootfs.libc import exchange, sync_file_system
from dist_tool.rootfs.moving import movable
from dist_tool.rootfs.target import Target, mount_points, opened_target, refuse_mounts
from dist_tool.run import NO_RUN, Notice, Run

_ROOT_MODE = 0o755  # of a root that no layer mentions
_ROOTFS = b"rootfs"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Staged(NamedTuple):
    """Descriptors of directories: `scratch` is closed to others and goes at the end, `top` becomes the target.

    `root` is the root of the tree: `top` itself, or `rootfs` in it.
    """

    scratch: int
    top: int
    root: int


@contextmanager
def staged(
    target: str,
    *,
    force: bool,
    whole: bool = False,
    sync: bool = True,
    protected: Sequence[str] = (),
    run: Run = NO_RUN,
) -> Iterator[Staged]:
    """Build a tree for `target`, which appears there when the block ends well, else not at all.

    The directory in which it is built is closed to others: files that run as root are not
    theirs before their time. `target` may be absent or an empty directory, or anything that is
    not `protected` with `force`, which replaces it. An empty mount point, and an empty directory
    whose parent is not writable, are filled name by name. With `whole` the target holds the
    tree as `rootfs`, beside what else the block writes to `top`. With `sync` all of it is on
    disk before it appears. Raises InvalidArgument, LocalFailure.
    """
    with opened_target(target, force=force, protected=protected) as place:
        with _failures(target):
            building = Building.create(place.built_in, place.name)
        try:
            with _tree(building, target, whole=whole) as stage:
                yield stage
                with _failures(target):
                    if sync:
                        sync_file_system(building.descriptor)
                    if place.inside >= 0:
                        fill(building, stage.top, place.inside, place.name, run)
                    else:
                        _put(building, stage.top, place, target, force=force)
                    if sync:
                        _sync_directory(place.built_in)
        finally:
            if building.descriptor >= 0 and not building.discard():
                run.report(Notice("warning", f"{os.fsdecode(building.name)} beside {target} could not be removed"))
            building.close()


@contextmanager
def _tree(building: Building, target: str, *, whole: bool) -> Iterator[Staged]:
    descriptors: list[int] = []
    try:
        with _failures(target):
            descriptors.append(_new_directory(building.descriptor, TREE, 0o700 if whole else _ROOT_MODE))
            if whole:
                descriptors.append(_new_directory(descriptors[0], _ROOTFS, _ROOT_MODE))
        yield Staged(building.descriptor, descriptors[0], descriptors[-1])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _new_directory(parent: int, name: bytes, mode: int) -> int:
    """Create and open a directory in one that is closed to others."""
    os.mkdir(name, 0o700, dir_fd=parent)
    descriptor = os.open(name, _OPEN, dir_fd=parent)
    try:
        os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _put(building: Building, top: int, place: Target, target: str, *, force: bool) -> None:
    """Rename into place; what was there is then in the building directory, and removed with it."""
    with movable(top):
        try:
            os.rename(TREE, place.name, src_dir_fd=building.descriptor, dst_dir_fd=place.parent)
        except OSError:
            if not force:
                raise
        else:
            return
        refuse_mounts(target, mount_points(place.place))
        with _movable_name(place.parent, place.name):
            if not exchange(building.descriptor, TREE, place.parent, place.name):
                _put_in_two_steps(building, place)


def _put_in_two_steps(building: Building, place: Target) -> None:
    """For a kernel or file system that cannot exchange names: there is no target for a moment."""
    os.rename(place.name, OLD, src_dir_fd=place.parent, dst_dir_fd=building.descriptor)
    try:
        os.rename(TREE, place.name, src_dir_fd=building.descriptor, dst_dir_fd=place.parent)
    except BaseException:
        os.rename(OLD, place.name, src_dir_fd=building.descriptor, dst_dir_fd=place.parent)
        raise


@contextmanager
def _movable_name(parent: int, name: bytes) -> Iterator[None]:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        with movable(descriptor):
            yield
    finally:
        os.close(descriptor)


def _sync_directory(directory: int) -> None:
    """Write names to disk; a directory that may not be read cannot be synced by itself."""
    with suppress(PermissionError):
        descriptor = os.open(".", _OPEN, dir_fd=directory)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _failures(target: str) -> Iterator[None]:
    with os_errors(target, dict.fromkeys((EACCES, EPERM), "its parent directory must be writable")):
        yield
