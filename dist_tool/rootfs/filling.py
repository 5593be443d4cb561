"""Move a tree into an empty directory that cannot be replaced: a mount point, or one with a read-only parent."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from dist_tool.rootfs.building import Building, is_building_name
from dist_tool.rootfs.moving import movable
from dist_tool.rootfs.removal import names_in
from dist_tool.run import Notice, Run


def fill(building: Building, tree: int, target: int, name: bytes, run: Run) -> None:
    """Move the content of `tree` to `target`, and set the attributes of `target` to those of `tree`.

    The building directory in `target` is removed before the attributes are set, because removing
    it changes the modification time. On failure, everything is moved back and OSError is raised.
    """
    info = os.fstat(tree)  # moving its content changes its times
    xattrs = {attribute: os.getxattr(tree, attribute) for attribute in _listed(tree)}
    with movable(tree):
        try:
            for child in names_in(tree):
                _move(child, tree, target)
        except BaseException:
            for child in names_in(target):
                if not is_building_name(child, name):
                    with suppress(OSError):
                        _move(child, target, tree)
            raise
    if building.discard():
        building.close()
    try:
        _describe(target, info, xattrs)
    except OSError as error:
        run.report(Notice("warning", f"cannot set the attributes of the target directory: {error.strerror}"))


def _listed(descriptor: int) -> list[str]:
    try:
        return os.listxattr(descriptor)
    except OSError:  # the file system does not support extended attributes
        return []


def _move(name: bytes, source: int, target: int) -> None:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        with movable(descriptor):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    finally:
        os.close(descriptor)


def _describe(target: int, info: os.stat_result, xattrs: dict[str, bytes]) -> None:
    now = os.fstat(target)
    if (now.st_uid, now.st_gid) != (info.st_uid, info.st_gid):
        os.chown(target, info.st_uid, info.st_gid)
    for attribute, value in xattrs.items():
        os.setxattr(target, attribute, value)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
