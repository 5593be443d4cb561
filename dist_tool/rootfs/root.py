"""The root directory that layers are applied to. It is opened once, and operations never leave it.

All operations are relative to a directory descriptor that was resolved inside the root; the last
component of a path is never followed (behaviours G10, G11).
"""

from __future__ import annotations

import marshal
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from dist_tool.rootfs.names import below
from dist_tool.rootfs.removal import Keep, Removal, keep_nothing
from dist_tool.rootfs.resolve import Hooks, OpenParent, PathResolver
from dist_tool.rootfs.spill import SpillDict

_CACHED = 64  # maximum number of open parent directories
_RWX = stat.S_IRWXU
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class RootDirectory:
    """An open directory. `path` has no symlinks. `own` is True once this layer has added a name to it."""

    __slots__ = ("fd", "own", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path
        self.own = False


class Attributes(NamedTuple):
    """Attributes of a directory, set at the end because changes in it modify them (behaviours G16, G17).

    An owner, times (access, modification) or extended attributes of None are left unchanged; an
    empty `xattrs` removes the existing attributes.
    """

    mode: int
    owner: tuple[int, int] | None = None
    times: tuple[int, int] | None = None
    xattrs: dict[bytes, bytes] | None = None


class Root:
    """The root while one layer is applied. `close` releases all descriptors.

    Parent directories are cached as open descriptors by requested path. This is safe because a path
    resolves to the same directory until a directory or a symlink is removed, which only `remove` and
    `remove_contents` do: they clear the cache first (otherwise: CVE-2025-47290). New names cannot change how
    existing paths resolve.

    `owner` is the owner of parent directories without an entry.
    """

    def __init__(
        self, fd: int, *, owner: tuple[int, int] | None = None, use_openat2: bool = True, cached: int = _CACHED
    ) -> None:
        self._privileged = os.geteuid() == 0
        self._owner = owner
        self._resolver = PathResolver(fd, Hooks(self._missing, self._visit), use_openat2=use_openat2)
        self._cached = cached
        self._open: dict[bytes, RootDirectory] = {}
        self._retired: list[RootDirectory] = []
        self._own = SpillDict()  # paths that this layer added, and their parents
        self._attributes = SpillDict()
        self._creating = False
        self._top = RootDirectory(os.dup(fd), b"")
        try:
            self._visit(OpenParent(self._top.fd, b""))
        except BaseException:
            self.close()
            raise

    # Directories

    def directory(self, path: bytes, *, create: bool = False) -> RootDirectory | None:
        """Open the directory at a cleaned path.

        If the path does not exist or a component is a file, returns None, or with `create` creates
        missing directories and raises NotADirectoryError for a file. Raises UnsafePath and other
        OSError. The result is valid until `settle`.
        """
        if not path:
            return self._top
        found = self._open.get(path)
        if found is None:
            self._creating = create
            try:
                opened = self._resolver.open(path)
            except (FileNotFoundError, NotADirectoryError):
                if create:
                    raise
                return None
            found = RootDirectory(opened.descriptor, opened.path)
            if len(self._open) >= self._cached:
                self._retired.append(self._open.pop(next(iter(self._open))))
            self._open[path] = found
        return found

    def _missing(self, descriptor: int, path: bytes, name: bytes) -> None:
        """Create a parent directory without an entry (behaviours G8)."""
        if not self._creating:
            raise FileNotFoundError
        self.mark(RootDirectory(descriptor, path), name)
        os.mkdir(name, _RWX, dir_fd=descriptor)
        self.later(below(path, name), Attributes(0o755, self._owner))

    def _visit(self, directory: OpenParent) -> None:
        """Without root, add the permissions needed in the user's own directories; they are restored at the end."""
        if self._privileged:
            return
        info = os.fstat(directory.descriptor)
        if info.st_mode & _RWX != _RWX and info.st_uid == os.geteuid():
            self._save_attributes(directory.descriptor, directory.path)
            os.chmod(f"/proc/self/fd/{directory.descriptor}", stat.S_IMODE(info.st_mode) | _RWX)

    def settle(self) -> None:
        """Close evicted directories. Directories returned earlier are no longer valid."""
        for directory in self._retired:
            os.close(directory.fd)
        self._retired.clear()

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        self._forget_open()
        self.settle()
        if self._top.fd >= 0:
            os.close(self._top.fd)
            self._top.fd = -1
        self._own.close()
        self._attributes.close()

    def _forget_open(self) -> None:
        """Clear the cache. Descriptors are closed in `settle`, because the current entry may still use them."""
        self._retired += self._open.values()
        self._open.clear()

    # Names added by this layer

    def mark(self, directory: RootDirectory, name: bytes) -> None:
        """Record that this layer adds `name`, so that its whiteouts do not affect it (behaviours G4)."""
        if not directory.own:
            directory.own = True
            self.touch(directory)
            self._own_above(directory.path)
        self._own.put(below(directory.path, name))

    def _own_above(self, path: bytes) -> None:
        while path and path not in self._own:
            self._own.put(path)
            path = path.rpartition(b"/")[0]

    def is_own(self, directory: bytes, name: bytes) -> bool:
        """True if this layer added the name or a path below it."""
        return below(directory, name) in self._own

    def touch(self, directory: RootDirectory) -> None:
        """Before the first change in a directory, save its mode and times, to be restored at the end."""
        self._save_attributes(directory.fd, directory.path)

    def _save_attributes(self, descriptor: int, path: bytes) -> None:
        if path not in self._attributes:
            info = os.fstat(descriptor)
            times = (info.st_atime_ns, info.st_mtime_ns)
            self.later(path, Attributes(stat.S_IMODE(info.st_mode), times=times))

    def later(self, path: bytes, attributes: Attributes) -> None:
        """Schedule attributes to set on a directory at the end; replaces earlier ones."""
        self._attributes.put(path, marshal.dumps(tuple(attributes)))

    def deepest_first(self) -> Iterator[tuple[bytes, Attributes]]:
        """The scheduled attributes of directories, children before their parents."""
        for path, packed in self._attributes.descending():
            yield path, Attributes(*marshal.loads(packed))  # noqa: S302  written by this process

    # Removing

    def remove(self, directory: RootDirectory, name: bytes, keep: Keep = keep_nothing) -> bool:
        """Remove `name` recursively, except names for which `keep` returns True; False if it does not exist.

        Raises OSError, LocalFailure.
        """
        try:
            mode = os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._forget_open()
        self.touch(directory)
        Removal(keep, self._attributes.drop, self._save_attributes).name(directory.fd, directory.path, name)
        return True

    def remove_contents(self, directory: RootDirectory, keep: Keep) -> None:
        """Remove a directory's content, except names for which `keep` returns True. Raises OSError, LocalFailure."""
        self._forget_open()
        self.touch(directory)
        Removal(keep, self._attributes.drop, self._save_attributes).contents(directory.fd, directory.path)

    def open_real(self, path: bytes) -> int:
        """Open a directory for reading by its path without symlinks. Raises OSError, LocalFailure."""
        opened = self._resolver.open(path, follow=False)
        try:
            return os.open(".", _READ_DIRECTORY, dir_fd=opened.descriptor)
        finally:
            os.close(opened.descriptor)
