"""Target directory of an unpacked tree: checks before it is replaced, and the directory to build in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from dist_tool.errors import InvalidArgument, LocalFailure
from dist_tool.rootfs.building import clear_abandoned, is_building_name

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOST_AND_FOUND = b"lost+found"  # exists in a new ext4 file system


class Target(NamedTuple):
    """The target: `name` in the directory open as `parent`. `path` is its absolute path.

    `inside` is a descriptor of the target itself if it is an empty directory that cannot be
    replaced by a rename and is filled instead; -1 otherwise.
    """

    path: bytes
    parent: int
    name: bytes
    inside: int

    @property
    def built_in(self) -> int:
        """Descriptor of the directory in which the tree is built, on the target's file system."""
        return self.parent if self.inside < 0 else self.inside


@contextmanager
def opened_target(text: str, *, force: bool, protected: Sequence[str] = ()) -> Iterator[Target]:
    """Check and open a target. It must not be a directory in `protected` or a parent of one.

    Raises InvalidArgument for an empty name and for a directory that is never replaced (/, the
    current directory, the home directory, and their parents); LocalFailure for an existing target
    without `force`, and for mount points that would be replaced.
    """
    if not text:
        raise InvalidArgument("the name of the target directory is empty", hint="give the name of a directory")
    path = os.path.realpath(os.fsencode(text))  # replace what a symlink points to, not the symlink
    _refuse_protected(text, path, protected)
    parent_path, name = os.path.split(path)
    try:
        parent = os.open(parent_path, _DIRECTORY)
    except OSError as error:
        hint = "create its parent directory first" if isinstance(error, FileNotFoundError) else ""
        raise LocalFailure(f"{text}: {error.strerror}", hint=hint) from error
    inside = -1
    try:
        clear_abandoned(parent, name)
        try:
            inside = _inspect(text, Target(path, parent, name, -1), force=force)
        except OSError as error:
            raise LocalFailure(f"{text}: {error.strerror}") from error
        yield Target(path, parent, name, inside)
    finally:
        if inside >= 0:
            os.close(inside)
        os.close(parent)


def _refuse_protected(text: str, target: bytes, protected: Sequence[str]) -> None:
    for what, path in (("the root directory", b"/"), *_own_directories(), *_named("home", protected)):
        if path == target or path.startswith(target.rstrip(b"/") + b"/"):
            above = "" if path == target else "a parent of "
            raise InvalidArgument(
                f"{text} is {above}{what}, which is never replaced", hint="choose a new directory below it"
            )


def _own_directories() -> Iterator[tuple[str, bytes]]:
    with suppress(OSError):  # it was removed
        yield "the current directory", os.path.realpath(os.getcwdb())
    import pwd

    with suppress(KeyError):  # a UID without an account, as in many containers
        yield from _named("home", [pwd.getpwuid(os.getuid()).pw_dir])


def _named(kind: str, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        real = os.path.realpath(os.fsencode(path))
        if path and real != b"/":  # "/" is the home directory of accounts without one
            yield f"the {kind} directory", real


def _inspect(text: str, target: Target, *, force: bool) -> int:
    """Check an existing target. Returns a descriptor of a directory to fill, else -1."""
    try:
        mode = os.stat(target.name, dir_fd=target.parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return -1
    if not stat.S_ISDIR(mode):
        if force:
            return -1
        raise _in_use(text)
    mounts = mount_points(target.path)
    try:
        descriptor = os.open(target.name, _READ_DIRECTORY, dir_fd=target.parent)
    except PermissionError:
        if not force:
            raise
        refuse_mounts(text, mounts)
        return -1
    try:
        is_mount = target.path in mounts
        if is_mount:
            clear_abandoned(descriptor, target.name)
        if _is_empty(descriptor, target.name, is_mount=is_mount):
            if is_mount or not os.access(".", os.W_OK | os.X_OK, dir_fd=target.parent, effective_ids=True):
                clear_abandoned(descriptor, target.name)
                filled, descriptor = descriptor, -1
                return filled
            return -1
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    if not force:
        if is_mount:
            raise LocalFailure(
                f"{text} is a mount point and not empty", hint="remove its content, or choose a directory below it"
            )
        raise _in_use(text)
    refuse_mounts(text, mounts)
    return -1


def _in_use(text: str) -> LocalFailure:
    return LocalFailure(f"{text} already exists", hint="choose another name, or replace it with --force")


def _is_empty(descriptor: int, name: bytes, *, is_mount: bool) -> bool:
    with os.scandir(descriptor) as entries:
        for entry in entries:
            found = os.fsencode(entry.name)
            if not (is_mount and found == _LOST_AND_FOUND) and not is_building_name(found, name):
                return False
    return True


def refuse_mounts(text: str, mounts: Sequence[bytes]) -> None:
    """Raise LocalFailure if there are mount points at or below a target that would be removed."""
    for path in mounts:
        raise LocalFailure(
            f"{text}: {os.fsdecode(path)} is a mount point, which is never replaced",
            hint="unmount it, or choose a directory below it",
        )


def mount_points(directory: bytes) -> list[bytes]:
    """The mount points at and below an absolute path without symlinks."""
    found = {directory} if os.path.ismount(directory) else set()
    try:
        with open("/proc/self/mountinfo", "rb") as lines:
            for line in lines:
                path = _unescaped(line.split(b" ")[4])
                if path == directory or path.startswith(directory + b"/"):
                    found.add(path)
    except (OSError, IndexError):  # no /proc: ismount still detects mounts of other file systems
        pass
    return sorted(found)


def _unescaped(path: bytes) -> bytes:
    """Decode a path of mountinfo, which has octal escapes for white space and backslashes."""
    head, *rest = path.split(b"\\")
    return head + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)
