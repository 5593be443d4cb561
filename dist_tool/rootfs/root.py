"""The directory that layers are applied to: opened once, and never left.

The only module besides `removal` and `metadata` that changes the file system. Everything is
relative to a directory descriptor that was resolved inside the root; the last component of a
name is never followed (behaviours G10, G11).
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

_CACHED = 64  # open parents
_RWX = stat.S_IRWXU
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class RootDirectory:
    """An open directory. `path` is without symlinks; `own` once it is known that this layer put something there."""

    __slots__ = ("fd", "own", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path
        self.own = False


class Attributes(NamedTuple):
    """What a directory gets at the end, since working in it changes it (behaviours G16, G17).

    Owners and times (access, modification) that are None are left alone, and extended attributes
    where none were given, not even an empty set.
    """

    mode: int
    owner: tuple[int, int] | None = None
    times: tuple[int, int] | None = None
    xattrs: dict[bytes, bytes] | None = None


class Root:
    """The root while one layer is applied. `close` lets go of everything.

    Parents stay open under the names by which they were asked for. That is sound because a name
    that resolves keeps resolving to the same directory until a directory or a symlink is
    removed, and `remove` is the only way here to do that: it empties the cache first
    (CVE-2025-47290 is what happens otherwise). New names cannot change what old ones mean.

    `owner` is whom parents without an entry of their own belong to.
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
        self._own = SpillDict()  # what this layer put there, and everything above it
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
        """The directory that a cleaned name means; None where there is none and `create` is off.

        Raises UnsafePath, NotADirectoryError for a file in the way, and other OSError. The
        result is good until `settle`.
        """
        if not path:
            return self._top
        found = self._open.get(path)
        if found is None:
            self._creating = create
            try:
                place = self._resolver.open(path)
            except (FileNotFoundError, NotADirectoryError):
                if create:
                    raise
                return None
            found = RootDirectory(place.descriptor, place.path)
            if len(self._open) >= self._cached:
                self._retired.append(self._open.pop(next(iter(self._open))))
            self._open[path] = found
        return found

    def _missing(self, descriptor: int, path: bytes, name: bytes) -> None:
        """Create a parent that no entry mentions (behaviours G8)."""
        if not self._creating:
            raise FileNotFoundError
        self.mark(RootDirectory(descriptor, path), name)
        os.mkdir(name, _RWX, dir_fd=descriptor)
        self.later(below(path, name), Attributes(0o755, self._owner))

    def _visit(self, place: OpenParent) -> None:
        """Without root, see that we can work in a directory of ours; `finish` restores it."""
        if self._privileged:
            return
        info = os.fstat(place.descriptor)
        if info.st_mode & _RWX != _RWX and info.st_uid == os.geteuid():
            self._keep_attributes(place.descriptor, place.path)
            os.chmod(f"/proc/self/fd/{place.descriptor}", stat.S_IMODE(info.st_mode) | _RWX)

    def settle(self) -> None:
        """Close what is not in use any more; directories handed out before are no longer good."""
        for directory in self._retired:
            os.close(directory.fd)
        self._retired.clear()

    def close(self) -> None:
        """Let go of every descriptor. Idempotent."""
        self._forget_open()
        self.settle()
        if self._top.fd >= 0:
            os.close(self._top.fd)
            self._top.fd = -1
        self._own.close()
        self._attributes.close()

    def _forget_open(self) -> None:
        """Nothing that was resolved counts any more. Closed later: the current entry may work there."""
        self._retired += self._open.values()
        self._open.clear()

    # What this layer did

    def mark(self, directory: RootDirectory, name: bytes) -> None:
        """This layer is about to put `name` there: its whiteouts leave it alone (behaviours G4)."""
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
        """True for what this layer put there, or put something below."""
        return below(directory, name) in self._own

    def touch(self, directory: RootDirectory) -> None:
        """Before the first change in a directory that the layer does not mention: keep its times."""
        self._keep_attributes(directory.fd, directory.path)

    def _keep_attributes(self, descriptor: int, path: bytes) -> None:
        if path not in self._attributes:
            info = os.fstat(descriptor)
            times = (info.st_atime_ns, info.st_mtime_ns)
            self.later(path, Attributes(stat.S_IMODE(info.st_mode), times=times))

    def later(self, path: bytes, attributes: Attributes) -> None:
        """Set what a directory gets at the end; replaces what was set before."""
        self._attributes.put(path, marshal.dumps(tuple(attributes)))

    def deepest_first(self) -> Iterator[tuple[bytes, Attributes]]:
        """What directories get, children before their parents."""
        for path, packed in self._attributes.descending():
            yield path, Attributes(*marshal.loads(packed))  # noqa: S302  our own, of this process

    # Removing

    def remove(self, directory: RootDirectory, name: bytes, keep: Keep = keep_nothing) -> bool:
        """Remove `name` and all below it, but for what `keep` says; False where there is nothing.

        Raises OSError.
        """
        try:
            mode = os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._forget_open()
        self.touch(directory)
        Removal(keep, self._attributes.drop, self._keep_attributes).name(directory.fd, directory.path, name)
        return True

    def remove_contents(self, directory: RootDirectory, keep: Keep) -> None:
        """Remove what is in a directory, but for what `keep` says. Raises OSError."""
        self._forget_open()
        self.touch(directory)
        Removal(keep, self._attributes.drop, self._keep_attributes).contents(directory.fd, directory.path)

    def open_real(self, path: bytes) -> int:
        """A readable descriptor of a directory by its path without symlinks. Raises OSError."""
        place = self._resolver.open(path, follow=False)
        try:
            return os.open(".", _READ_DIRECTORY, dir_fd=place.descriptor)
        finally:
            os.close(place.descriptor)
