"""The directory that layers are applied to: opened once, and never left.

The only module besides `removal` and `metadata` that changes the file system. Everything is
relative to a directory descriptor that was resolved inside the root; the last component of a
name is never followed (behaviours G10, G11).
"""

from __future__ import annotations

import os
import stat
from struct import Struct

from dist_tool.layers.removal import Keep, Removal, keep_nothing
from dist_tool.layers.resolve import Hooks, PathResolver, Place

_CACHED = 64  # open parents
_RWX = stat.S_IRWXU
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Names:
    """Names in one directory: compact until somebody asks, since nearly nobody does."""

    __slots__ = ("_set", "_text")

    def __init__(self) -> None:
        self._text = bytearray()
        self._set: set[bytes] | None = None

    def add(self, name: bytes) -> None:
        """Remember a name."""
        if self._set is None:
            self._text += name
            self._text += b"/"
        else:
            self._set.add(name)

    def __contains__(self, name: bytes) -> bool:
        if self._set is None:
            self._set = set(bytes(self._text).split(b"/")) - {b""}
            self._text = bytearray()
        return name in self._set


class Directory:
    """An open directory. `path` is without symlinks; `names` what this layer put there."""

    __slots__ = ("fd", "names", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path
        self.names: Names | None = None


class Attributes:
    """What directories get at the end, since working in them changes it (behaviours G16, G17).

    Packed, because a layer may have very many. Owners and times of -1 are left alone, and
    extended attributes of directories for which none were given, not even an empty set.
    """

    _PACKED = Struct("<Hqqqq?")

    def __init__(self) -> None:
        self._packed: dict[bytes, bytes] = {}
        self._xattrs: dict[bytes, dict[bytes, bytes]] = {}

    def __contains__(self, path: bytes) -> bool:
        return path in self._packed

    def put(
        self,
        path: bytes,
        mode: int,
        owner: tuple[int, int] | None = None,
        times: tuple[int, int] | None = None,
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        """Set what `path` gets; replaces what was set before."""
        self._packed[path] = self._PACKED.pack(mode, *(owner or (-1, -1)), *(times or (-1, -1)), xattrs is not None)
        self._xattrs.pop(path, None)
        if xattrs:
            self._xattrs[path] = xattrs

    def drop(self, path: bytes) -> None:
        """Forget a directory that is gone."""
        self._packed.pop(path, None)
        self._xattrs.pop(path, None)

    def deepest_first(self) -> list[bytes]:
        """Paths, children before their parents."""
        return sorted(self._packed, reverse=True)

    def get(self, path: bytes) -> tuple[int, tuple[int, int] | None, tuple[int, int] | None, dict[bytes, bytes] | None]:
        """Mode, owner, times (atime, mtime) and extended attributes."""
        mode, uid, gid, atime, mtime, has_xattrs = self._PACKED.unpack(self._packed[path])
        owner = None if uid < 0 else (uid, gid)
        xattrs = self._xattrs.get(path, {}) if has_xattrs else None
        return mode, owner, None if mtime < 0 else (atime, mtime), xattrs


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
        self._open: dict[bytes, Directory] = {}
        self._retired: list[Directory] = []
        self._upper: dict[bytes, Names] = {}
        self._creating = False
        self.attributes = Attributes()
        self._top = Directory(os.dup(fd), b"")
        try:
            self._visit(Place(self._top.fd, b""))
        except BaseException:
            self.close()
            raise

    # Directories

    def directory(self, path: bytes, *, create: bool = False) -> Directory | None:
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
            found = Directory(place.descriptor, place.path)
            found.names = self._upper.get(place.path)
            if len(self._open) >= self._cached:
                self._retired.append(self._open.pop(next(iter(self._open))))
            self._open[path] = found
        return found

    def _missing(self, descriptor: int, path: bytes, name: bytes) -> None:
        """Create a parent that no entry mentions (behaviours G8)."""
        if not self._creating:
            raise FileNotFoundError
        self.mark(Directory(descriptor, path), name)
        os.mkdir(name, _RWX, dir_fd=descriptor)
        self.attributes.put(path + b"/" + name if path else name, 0o755, self._owner)

    def _visit(self, place: Place) -> None:
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

    def _forget_open(self) -> None:
        """Nothing that was resolved counts any more. Closed later: the current entry may work there."""
        self._retired += self._open.values()
        self._open.clear()

    # What this layer did

    def mark(self, directory: Directory, name: bytes) -> None:
        """This layer is about to put `name` there: its whiteouts leave it alone (behaviours G4)."""
        names = directory.names
        if names is None:
            names = directory.names = self._names(directory.path)
            self.touch(directory)
        names.add(name)

    def _names(self, path: bytes) -> Names:
        """The record of a directory, made on first use; its ancestors count as this layer's too."""
        names = self._upper.get(path)
        if names is None:
            names = self._upper[path] = Names()
            if path:
                parent, _, name = path.rpartition(b"/")
                self._names(parent).add(name)
        return names

    def is_own(self, directory: bytes, name: bytes) -> bool:
        """True for what this layer put there, or put something below."""
        names = self._upper.get(directory)
        return names is not None and name in names

    def touch(self, directory: Directory) -> None:
        """Before the first change in a directory that the layer does not mention: keep its times."""
        if directory.path not in self.attributes:
            self._keep_attributes(directory.fd, directory.path)

    def _keep_attributes(self, descriptor: int, path: bytes) -> None:
        if path not in self.attributes:
            info = os.fstat(descriptor)
            self.attributes.put(path, stat.S_IMODE(info.st_mode), times=(info.st_atime_ns, info.st_mtime_ns))

    # Removing

    def remove(self, directory: Directory, name: bytes, keep: Keep = keep_nothing) -> bool:
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
        Removal(keep, self._gone).name(directory.fd, directory.path, name)
        return True

    def remove_contents(self, directory: Directory, keep: Keep) -> None:
        """Remove what is in a directory, but for what `keep` says. Raises OSError."""
        self._forget_open()
        self.touch(directory)
        Removal(keep, self._gone).contents(directory.fd, directory.path)

    def _gone(self, path: bytes) -> None:
        self.attributes.drop(path)
        self._upper.pop(path, None)

    def open_real(self, path: bytes) -> int:
        """A readable descriptor of a directory by its path without symlinks. Raises OSError."""
        place = self._resolver.open(path)
        try:
            return os.open(".", _READ_DIRECTORY, dir_fd=place.descriptor)
        finally:
            os.close(place.descriptor)
