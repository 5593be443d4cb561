"""Recursive removal by descriptors: any depth, never through a symlink."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dist_tool.errors import LocalFailure
from dist_tool.rootfs.names import below
from dist_tool.rootfs.spill import SpillDict

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RWX = stat.S_IRWXU

Keep = Callable[[bytes, bytes], bool]


def keep_nothing(_directory: bytes, _name: bytes) -> bool:
    """The `Keep` callback that keeps nothing."""
    return False


class _Frame(NamedTuple):
    """A directory on the traversal stack: its identity (device, inode) and the names left to remove."""

    name: bytes
    path: bytes
    identity: tuple[int, int]
    names: Iterator[bytes]
    kept: bool


class Removal:
    """Removes names in a directory, recursively.

    `keep(directory, name)` returns True for names that are not removed; `directory` is the path below
    the root. `gone(path)` is called for each removed directory. `change(descriptor, path)` is called
    for each directory that is kept, before its mode or content is changed; the descriptor may be
    O_PATH. The number of open descriptors does not grow with the depth: to ascend, `..` is opened and
    its identity compared with the one recorded when descending.
    """

    def __init__(
        self, keep: Keep, gone: Callable[[bytes], None], change: Callable[[int, bytes], None] | None = None
    ) -> None:
        self._keep = keep
        self._gone = gone
        self._change = change

    def contents(self, directory: int, path: bytes) -> None:
        """Remove the content of the directory but not the directory. Raises OSError, LocalFailure."""
        for name in names_in(directory):
            self.name(directory, path, name)

    def name(self, directory: int, path: bytes, name: bytes) -> None:
        """Remove `name` in the directory, recursively. Raises OSError, LocalFailure."""
        if not self._leaf(directory, path, name):
            self._tree(directory, path, name)

    def _leaf(self, directory: int, path: bytes, name: bytes) -> bool:
        """Remove or keep `name` unless it is a directory; False for a directory."""
        if self._keep(path, name):
            return not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            return False
        return True

    def _tree(self, top: int, path: bytes, name: bytes) -> None:
        frames: list[_Frame] = []
        current = os.dup(top)
        try:
            current = self._enter(frames, current, path, name)
            while frames:
                frame = frames[-1]
                child = next(frame.names, None)
                if child is None:
                    current = self._leave(frames, current, top)
                elif not self._leaf(current, frame.path, child):
                    current = self._enter(frames, current, frame.path, child)
        finally:
            os.close(current)

    def _enter(self, frames: list[_Frame], parent: int, path: bytes, name: bytes) -> int:
        """Open the child and close the parent."""
        kept = self._keep(path, name)
        if kept and self._change is not None:
            with _opened(parent, name) as unchanged:
                self._change(unchanged, below(path, name))
        child = _open_writable(parent, name)
        try:
            frames.append(_Frame(name, below(path, name), _identity(child), names_in(child), kept))
        except BaseException:
            os.close(child)
            raise
        os.close(parent)
        return child

    def _leave(self, frames: list[_Frame], current: int, top: int) -> int:
        """Return to the parent and remove the child unless it is kept."""
        frame = frames.pop()
        parent = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current)
        try:
            if _identity(parent) != (frames[-1].identity if frames else _identity(top)):
                raise LocalFailure(f"{os.fsdecode(frame.path)} was moved by another process while it was being removed")
            if not frame.kept:
                os.rmdir(frame.name, dir_fd=parent)
                self._gone(frame.path)
        except BaseException:
            os.close(parent)
            raise
        os.close(current)
        return parent


def _identity(descriptor: int) -> tuple[int, int]:
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino


def names_in(directory: int) -> Iterator[bytes]:
    """Names in a directory that is open in any mode. All are read before the first is returned."""
    names = SpillDict()
    readable = os.open(".", _OPEN, dir_fd=directory)
    try:
        with os.scandir(readable) as entries:
            for entry in entries:
                names.put(os.fsencode(entry.name))
    except BaseException:
        names.close()
        raise
    finally:
        os.close(readable)
    return _drained(names)


def _drained(names: SpillDict) -> Iterator[bytes]:
    try:
        for name, _ in names.descending():
            yield name
    finally:
        names.close()


def _open_writable(parent: int, name: bytes) -> int:
    """Open a directory to remove its content, and add the required permissions.

    Without root, even the user's own directories may lack them (as in rootless images).
    """
    if os.geteuid() != 0:
        with _opened(parent, name) as child:
            mode = os.fstat(child).st_mode
            if mode & _RWX != _RWX:
                os.chmod(f"/proc/self/fd/{child}", stat.S_IMODE(mode) | _RWX)
    return os.open(name, _OPEN, dir_fd=parent)


@contextmanager
def _opened(parent: int, name: bytes) -> Iterator[int]:
    """Open a directory with O_PATH, whatever its mode, for fstat and its path in /proc."""
    child = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield child
    finally:
        os.close(child)
