"""All or nothing: a tree is built beside its place and renamed when it is whole (behaviours G27)."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from dist_tool.errors import LocalFailure
from dist_tool.rootfs.removal import Removal, keep_nothing

_ROOT_MODE = 0o755  # of a root that no layer mentions


class Staged(NamedTuple):
    """`path` is the closed directory that all is built in, `root` a descriptor of its `rootfs`."""

    path: str
    root: int


@contextmanager
def staged(target: str, *, force: bool, whole: bool = False) -> Iterator[Staged]:
    """Build a tree for `target`, which appears there when the block ends well, else not at all.

    The directory in which it is built is closed to others: files that run as root are not
    theirs before their time. `target` may be absent or an empty directory, or anything with
    `force`, which replaces it. With `whole` the building directory itself becomes `target`, and
    `rootfs` is in it. Raises LocalFailure.
    """
    place = os.path.realpath(target)  # a link stays a link
    _check_free(place, target, force=force)
    parent, name = os.path.split(place)
    with _failures(target):
        path = tempfile.mkdtemp(prefix=f".{name[:100]}.", suffix=".part", dir=parent)
    try:
        with _failures(target):
            os.mkdir(os.path.join(path, "rootfs"))
            os.chmod(os.path.join(path, "rootfs"), _ROOT_MODE)
            root = os.open(os.path.join(path, "rootfs"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Staged(path, root)
        finally:
            os.close(root)
        with _failures(target):
            _put(path if whole else os.path.join(path, "rootfs"), place, path + ".old", force=force)
    finally:
        _discard(path)


def _check_free(place: str, target: str, *, force: bool) -> None:
    if force or not os.path.lexists(place):
        return
    try:
        with os.scandir(place) as entries:
            if next(entries, None) is None:
                return
    except NotADirectoryError:
        pass
    except OSError as error:
        raise LocalFailure(f"{target}: {error.strerror}") from error
    raise LocalFailure(f"{target} is there already", hint="choose another name, or replace it with --force")


def _put(built: str, place: str, old: str, *, force: bool) -> None:
    """Rename into place; what was there goes aside first, and is removed last."""
    try:
        _rename(built, place)
    except OSError:
        if not force:
            raise
        _rename(place, old)
        try:
            _rename(built, place)
        except BaseException:
            _rename(old, place)
            raise
        _discard(old)


def _rename(old: str, new: str) -> None:
    """Rename a directory. Without root that takes the right to write in it, which an image may not give."""
    mode = os.lstat(old).st_mode
    if os.geteuid() == 0 or not stat.S_ISDIR(mode) or mode & stat.S_IWUSR:
        os.rename(old, new)
        return
    os.chmod(old, stat.S_IMODE(mode) | stat.S_IRWXU)
    try:
        os.rename(old, new)
        old = new
    finally:
        os.chmod(old, stat.S_IMODE(mode))


def _discard(path: str) -> None:
    """Remove a tree, whatever its modes; what cannot be removed stays and harms nobody."""
    parent, name = os.path.split(path)
    with suppress(OSError, LocalFailure):
        fd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            Removal(keep_nothing, lambda _: None).name(fd, b"", os.fsencode(name))
        finally:
            os.close(fd)


@contextmanager
def _failures(target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFailure(f"{target}: {error.strerror or error}") from error
