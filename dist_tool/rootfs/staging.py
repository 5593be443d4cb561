"""Atomic replacement of a directory: a tree is built beside the target, then renamed (behaviours G27).

Only the parent directory is opened by path. Everything else is relative to open descriptors,
because the parent may belong to a user who renames its content.
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

_ROOT_MODE = 0o755  # of a root directory without an entry in any layer
_ROOTFS = b"rootfs"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Staged(NamedTuple):
    """Descriptors of directories: `scratch` is private and removed at the end, `top` becomes the target.

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
    """Build a tree for `target`. The tree is moved to `target` only if the block succeeds.

    The building directory is private, so that other users cannot reach set-user-ID files before
    the tree is complete. `target` may be absent or an empty directory; with `force`, anything that is
    not `protected` is replaced. The content of the tree is moved into an empty mount point, or an
    empty directory whose parent is not writable, one name at a time. With `whole`, the target
    contains the tree as `rootfs`, and the block may write other files to `top`. With `sync`, the tree is on
    disk before it is moved. Raises InvalidArgument, LocalFailure.
    """
    with opened_target(target, force=force, protected=protected) as destination:
        with _failures(target):
            building = Building.create(destination.built_in, destination.name)
        try:
            with _tree(building, target, whole=whole) as stage:
                yield stage
                with _failures(target):
                    if sync:
                        sync_file_system(building.descriptor)
                    if destination.inside >= 0:
                        fill(building, stage.top, destination.inside, destination.name, run)
                    else:
                        _put(building, stage.top, destination, target, force=force)
                    if sync:
                        _sync_directory(destination.built_in)
        finally:
            if building.descriptor >= 0 and not building.discard():
                run.report(
                    Notice(
                        "warning", f"cannot remove the temporary directory {os.fsdecode(building.name)} for {target}"
                    )
                )
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
    """Create and open a directory in a private parent."""
    os.mkdir(name, 0o700, dir_fd=parent)
    descriptor = os.open(name, _OPEN, dir_fd=parent)
    try:
        os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _put(building: Building, top: int, destination: Target, target: str, *, force: bool) -> None:
    """Rename the tree to the target; a replaced target ends in the building directory and is removed with it."""
    with movable(top):
        try:
            os.rename(TREE, destination.name, src_dir_fd=building.descriptor, dst_dir_fd=destination.parent)
        except OSError:
            if not force:
                raise
        else:
            return
        refuse_mounts(target, mount_points(destination.path))
        with _movable_name(destination.parent, destination.name):
            if not exchange(building.descriptor, TREE, destination.parent, destination.name):
                _put_in_two_steps(building, destination)


def _put_in_two_steps(building: Building, target: Target) -> None:
    """Replace without exchange (kernel or file system does not support it): the target is briefly missing."""
    os.rename(target.name, OLD, src_dir_fd=target.parent, dst_dir_fd=building.descriptor)
    try:
        os.rename(TREE, target.name, src_dir_fd=building.descriptor, dst_dir_fd=target.parent)
    except BaseException:
        os.rename(OLD, target.name, src_dir_fd=building.descriptor, dst_dir_fd=target.parent)
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
    """Sync the names in a directory to disk. A directory without read permission cannot be opened and is skipped."""
    with suppress(PermissionError):
        descriptor = os.open(".", _OPEN, dir_fd=directory)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _failures(target: str) -> Iterator[None]:
    with os_errors(target, dict.fromkeys((EACCES, EPERM), "make its parent directory writable")):
        yield
