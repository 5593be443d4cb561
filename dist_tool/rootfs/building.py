"""The closed directory in which a tree is built: created, locked and removed by descriptor.

Its parent may belong to another user, who can rename it and put something else under its name.
So the name is used once, to open it, and what was opened is checked. A lock on it lasts as long
as the process: the next run for the same target removes what nobody holds.
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

TREE = b"tree"  # what is built; after an exchange, what it replaced
OLD = b"old"  # what it replaces, between two renames
_ATTEMPTS = 100
_LONGEST = 100  # bytes of the target's name that the directory's name repeats
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A parent's default ACL would give others access to new files, whatever their modes.
_INHERITED = ("system.posix_acl_default", "system.posix_acl_access")


def _pattern(target: bytes) -> re.Pattern[bytes]:
    """Names of the building directories of a target."""
    return re.compile(rb"\.%b\.[0-9a-f]{12}\.part" % re.escape(target[:_LONGEST]))


def is_building_name(name: bytes, target: bytes) -> bool:
    """True for the name of a building directory of the target."""
    return _pattern(target).fullmatch(name) is not None


class Building:
    """An open building directory: `descriptor` is itself, `parent` the directory that it is in."""

    def __init__(self, parent: int, name: bytes, descriptor: int) -> None:
        self.parent = parent
        self.name = name
        self.descriptor = descriptor

    @classmethod
    def create(cls, parent: int, target: bytes) -> Building:
        """A new one for a target in the directory open as `parent`. Raises OSError, LocalFailure."""
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
                with suppress(OSError):  # empty so far, and whatever took its place is left alone
                    os.rmdir(name, dir_fd=parent)
                raise
            building.close()
        raise LocalFailure("no temporary directory could be created", hint="another process keeps removing it")

    def _claim(self) -> bool:
        """Check that it is new and ours, close it to others and lock it; False if another run was first."""
        info = os.fstat(self.descriptor)
        if info.st_uid != os.geteuid() or info.st_mode & 0o077 or any(names_in(self.descriptor)):
            raise LocalFailure(
                f"the temporary directory {shown(self.name)} was replaced by another process",
                hint="unpack to a directory whose parent is not another user's",
            )
        for attribute in _INHERITED:
            with suppress(OSError):
                os.removexattr(self.descriptor, attribute)
        if info.st_gid != os.getegid():  # a parent with the set-group-id bit passes its group on
            with suppress(OSError):
                os.chown(self.descriptor, -1, os.getegid())
        os.fchmod(self.descriptor, 0o700)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks here, so that other runs cannot lock and remove it either
            pass
        # Another run may have removed it before it was locked.
        return os.path.samestat(info, os.stat(self.name, dir_fd=self.parent, follow_symlinks=False))

    def discard(self) -> bool:
        """Remove it with all that is in it, whatever the modes; False if something had to stay."""
        try:
            Removal(keep_nothing, lambda _: None).contents(self.descriptor, b"")
            os.rmdir(self.name, dir_fd=self.parent)
        except (OSError, LocalFailure):
            return False
        return True

    def close(self) -> None:
        """Give the lock back. Idempotent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def clear_abandoned(parent: int, target: bytes) -> None:
    """Remove the building directories of killed runs for a target, and give it back what they had moved away.

    Never raises: what cannot be looked at or removed stays.
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
            fcntl.flock(found.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held while its run lives
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
