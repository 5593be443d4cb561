"""Private temporary directory in which a tree is built: created, locked and removed by descriptor.

Its parent may belong to another user, who can rename it and create another file with its name.
So the name is used once, to open the directory, and the opened directory is checked. The process
holds a lock on it until it exits: the next run for the same target removes unlocked directories.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from contextlib import suppress

from dist_tool.errors import LocalFailure
from dist_tool.rootfs.names import shown
from dist_tool.rootfs.removal import Removal, keep_nothing, names_in

TREE = b"tree"  # the new tree; after an exchange, the replaced target
OLD = b"old"  # the replaced target, between two renames
_ATTEMPTS = 100
_LONGEST = 100  # bytes of the target's name that are part of the directory's name
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A parent's default ACL would give other users access to new files, whatever their modes.
_INHERITED = ("system.posix_acl_default", "system.posix_acl_access")


def _pattern(target: bytes) -> re.Pattern[bytes]:
    """Pattern of the names of a target's building directories."""
    return re.compile(rb"\.%b\.[0-9a-f]{12}\.part" % re.escape(target[:_LONGEST]))


def is_building_name(name: bytes, target: bytes) -> bool:
    """True if `name` is a building directory of the target."""
    return _pattern(target).fullmatch(name) is not None


class Building:
    """An open building directory. `parent` is the descriptor of its parent directory."""

    def __init__(self, parent: int, name: bytes, descriptor: int) -> None:
        self.parent = parent
        self.name = name
        self.descriptor = descriptor

    @classmethod
    def create(cls, parent: int, target: bytes) -> Building:
        """Create one for a target in the directory open as `parent`. Raises OSError, LocalFailure."""
        for _ in range(_ATTEMPTS):
            name = b".%b.%b.part" % (target[:_LONGEST], os.urandom(6).hex().encode())
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                continue
            building = cls(parent, name, -1)
            try:
                building.descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
                if building._claim():
                    return building
            except FileNotFoundError:  # another run removed it before it was locked
                pass
            except BaseException:
                building.close()
                with suppress(OSError):  # it is still empty; a non-empty replacement is not removed
                    os.rmdir(name, dir_fd=parent)
                raise
            building.close()
        raise LocalFailure("cannot create a temporary directory", hint="another process removes it; stop that process")

    def _claim(self) -> bool:
        """Check that it is new and ours, make it private and lock it; False if another run locked it first."""
        info = os.fstat(self.descriptor)
        if info.st_uid != os.geteuid() or info.st_mode & 0o077 or any(names_in(self.descriptor)):
            raise LocalFailure(
                f"the temporary directory {shown(self.name)} was replaced by another process",
                hint="unpack to a directory whose parent no other user can write to",
            )
        for attribute in _INHERITED:
            with suppress(OSError):
                os.removexattr(self.descriptor, attribute)
        if info.st_gid != os.getegid():  # inherited from a parent with the set-group-ID bit
            with suppress(OSError):
                os.chown(self.descriptor, -1, os.getegid())
        os.fchmod(self.descriptor, 0o700)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # the file system has no locks, so other runs cannot lock and remove it either
            pass
        # Another run may have removed it before it was locked.
        return os.path.samestat(info, os.stat(self.name, dir_fd=self.parent, follow_symlinks=False))

    def discard(self) -> bool:
        """Remove the directory and its content, whatever the modes; False if that failed."""
        try:
            Removal(keep_nothing, lambda _: None).contents(self.descriptor, b"")
            os.rmdir(self.name, dir_fd=self.parent)
        except (OSError, LocalFailure):
            return False
        return True

    def close(self) -> None:
        """Close the descriptor, which releases the lock. Idempotent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def clear_abandoned(parent: int, target: bytes) -> None:
    """Remove the building directories of killed runs for a target, and restore a target that they had moved away.

    Never raises: directories that cannot be read or removed remain.
    """
    pattern = _pattern(target)
    with suppress(OSError, LocalFailure):
        readable = os.open(".", _DIRECTORY, dir_fd=parent)
        try:
            for name in names_in(readable):
                if pattern.fullmatch(name):
                    _clear(parent, name, target)
        finally:
            os.close(readable)


def _clear(parent: int, name: bytes, target: bytes) -> None:
    with suppress(OSError, LocalFailure):
        found = Building(parent, name, os.open(name, _DIRECTORY, dir_fd=parent))
        try:
            info = os.fstat(found.descriptor)
            if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) != 0o700:
                return
            fcntl.flock(found.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its run is alive
            content = set(names_in(found.descriptor))
            if not content <= {TREE, OLD}:
                return
            if OLD in content and not _exists(parent, target):
                os.rename(OLD, target, src_dir_fd=found.descriptor, dst_dir_fd=parent)
            found.discard()
        finally:
            found.close()


def _exists(directory: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
