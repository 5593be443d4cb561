"""Path resolution inside a root, with symlinks (behaviours G10).

If the path has no symlinks, the kernel resolves it in one call (openat2). Otherwise, or if the
kernel does not have the call, each component is opened separately without following symlinks, and
symlinks are expanded here: an absolute target restarts at the root, and `..` stops at the root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from dist_tool.errors import LocalFailure, UnsafePath
from dist_tool.rootfs import openat2
from dist_tool.rootfs.names import shown

LINKS = 40  # the limit of the kernel
STEPS = 20_000  # components, including those of all symlinks; limits the time of one resolution
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANYTHING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# Errors after which to resolve by component: a symlink, a missing or inaccessible directory, a path
# longer than PATH_MAX, no openat2, a seccomp filter. Any other error would only recur.
_WALK = frozenset({errno.ELOOP, errno.ENOENT, errno.EACCES, errno.ENAMETOOLONG, errno.ENOSYS, errno.EPERM})


class OpenParent(NamedTuple):
    """A resolved directory: a descriptor (O_PATH) that the caller closes, and its path without symlinks."""

    descriptor: int
    path: bytes


class Hooks(NamedTuple):
    """Callbacks during resolution.

    `missing(descriptor, path, name)` creates a missing directory or raises FileNotFoundError.
    `visit(directory)` is called for every directory that is reached; of a path opened by openat2, only
    for the last.
    """

    missing: Callable[[int, bytes, bytes], None]
    visit: Callable[[OpenParent], None]


class PathResolver:
    """Opens directories below the descriptor `root`. Without `use_openat2` it always resolves by component."""

    def __init__(self, root: int, hooks: Hooks, *, use_openat2: bool = True) -> None:
        self._root = root
        self._hooks = hooks
        self._use_openat2 = use_openat2

    def open(self, path: bytes, *, follow: bool = True) -> OpenParent:
        """Open the directory at the cleaned path `path`; b"" is the root.

        Raises UnsafePath for too many symlinks, LocalFailure for any symlink if `follow` is False,
        FileNotFoundError, NotADirectoryError and other OSError.
        """
        if path:
            descriptor = self.try_open([path])
            if descriptor >= 0:
                return self._visited(OpenParent(descriptor, path))
        return _Walk(self, path, follow=follow).run()

    def _visited(self, directory: OpenParent) -> OpenParent:
        try:
            self._hooks.visit(directory)
        except BaseException:
            os.close(directory.descriptor)
            raise
        return directory

    def try_open(self, names: list[bytes]) -> int:
        """Open a path from the root in one call; -1 if it must be resolved by component. Raises OSError."""
        if self._use_openat2 and names:
            try:
                return openat2.open_directory(self._root, b"/".join(names))
            except OSError as error:
                if error.errno not in _WALK:
                    raise
        return -1

    def start(self) -> int:
        """Open a new descriptor of the root."""
        return os.open(".", _DIRECTORY, dir_fd=self._root)

    def step(self, descriptor: int, path: bytes, name: bytes) -> int:
        """Open one component of any file type; the `missing` hook may create a missing directory."""
        try:
            return os.open(name, _ANYTHING, dir_fd=descriptor)
        except FileNotFoundError:
            self._hooks.missing(descriptor, path, name)
            return os.open(name, _DIRECTORY, dir_fd=descriptor)

    def visit(self, directory: OpenParent) -> None:
        """Call the `visit` hook."""
        self._hooks.visit(directory)


class _Walk:
    """State of one resolution: the current directory and the pending components.

    The descriptor is updated only before a name is looked up in it, and sequences of components
    without a symlink are opened in one call, so that the time does not grow with the product of
    the number of symlinks and the depth.
    """

    def __init__(self, resolver: PathResolver, path: bytes, *, follow: bool) -> None:
        self._resolver = resolver
        self._may_follow = follow
        self._asked = path
        self._pending = _components(path)
        self._real: list[bytes] = []
        self._links = 0
        self._steps = 0
        self._is_current = True  # the descriptor refers to `_real`
        self._may_leap = True
        self._descriptor = resolver.start()

    def run(self) -> OpenParent:
        try:
            while self._pending:
                if not (self._may_leap and self._leap()):
                    self._count()
                    self._advance(self._pending.pop())
            self._settle()
        except BaseException:
            os.close(self._descriptor)
            raise
        return OpenParent(self._descriptor, b"/".join(self._real))

    def _count(self) -> None:
        self._steps += 1
        if self._steps > STEPS:
            raise UnsafePath(f"{shown(self._asked)}: its symlinks have too many components")

    def _leap(self) -> bool:
        """Open as many pending components as possible in one call; False to advance by one component."""
        length = 0
        while length < len(self._pending) and self._pending[-1 - length] != b"..":
            length += 1
        while length > 1:
            self._count()
            names = self._pending[: -1 - length : -1]
            descriptor = self._resolver.try_open([*self._real, *names])
            if descriptor >= 0:
                del self._pending[-length:]
                self._real += names
                self._stand(descriptor)
                self._resolver.visit(OpenParent(descriptor, b"/".join(self._real)))
                return True
            length //= 2
        self._may_leap = False
        return False

    def _advance(self, name: bytes) -> None:
        if name == b"..":
            self._climb()
            return
        self._settle()
        child = self._resolver.step(self._descriptor, b"/".join(self._real), name)
        try:
            mode = os.fstat(child).st_mode
            if stat.S_ISLNK(mode):
                self._follow(os.readlink(b"", dir_fd=child))
                return
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._descriptor, child = child, self._descriptor
            self._real.append(name)
            self._resolver.visit(OpenParent(self._descriptor, b"/".join(self._real)))
        finally:
            os.close(child)

    def _follow(self, target: bytes) -> None:
        if not self._may_follow:
            raise LocalFailure(f"{shown(self._asked)} was replaced by another process while it was written")
        self._links += 1
        if self._links > LINKS:
            raise UnsafePath(f"{shown(self._asked)}: its path has more than {LINKS} symlinks")
        if target.startswith(b"/"):
            self._real.clear()
            self._is_current = False
        self._pending += _components(target)
        self._may_leap = True

    def _climb(self) -> None:
        """Go up by dropping the last component of `_real`: `..` itself is never opened."""
        if self._real:
            self._real.pop()
            self._is_current = False
        self._may_leap = True

    def _stand(self, descriptor: int) -> None:
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._is_current = True

    def _settle(self) -> None:
        """Make the descriptor refer to `_real`: directories that were visited, still without following symlinks."""
        if self._is_current:
            return
        descriptor = self._resolver.try_open(self._real)
        if descriptor < 0:
            descriptor = self._reopened()
        self._stand(descriptor)

    def _reopened(self) -> int:
        descriptor = self._resolver.start()
        try:
            for name in self._real:
                self._count()
                child = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = child
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _components(path: bytes) -> list[bytes]:
    """The components of a path without empty ones and `.`, in reverse order."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
