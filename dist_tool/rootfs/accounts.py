"""Users and groups of a root file system, read without leaving the root (CVE-2024-9676)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from dist_tool.errors import InvalidContent, LimitExceeded, LocalFailure
from dist_tool.files import NotRegularFile, open_regular, read_at_most
from dist_tool.rootfs.resolve import LINKS, Hooks, PathResolver

_LIMIT = 4 << 20  # maximum size of /etc/passwd and /etc/group, in bytes


class Account(NamedTuple):
    """A line of /etc/passwd; `name` is "" for a UID without a line."""

    name: str
    uid: int
    gid: int


class Accounts:
    """Parsed `/etc/passwd` and `/etc/group` of a root. A missing file is treated as empty."""

    def __init__(self, passwd: str, group: str) -> None:
        self._users = [
            Account(fields[0], int(fields[2]), int(fields[3]))
            for fields in _lines(passwd, 4)
            if _is_id(fields[2]) and _is_id(fields[3])
        ]
        self._groups = [
            (fields[0], int(fields[2]), fields[3].split(",") if len(fields) > 3 else [])
            for fields in _lines(group, 3)
            if _is_id(fields[2])
        ]

    @classmethod
    def read(cls, root: int) -> Accounts:
        """Read them from the directory open as `root`. Raises LimitExceeded, InvalidContent, LocalFailure."""
        return cls(_text(root, b"etc/passwd"), _text(root, b"etc/group"))

    def user(self, text: str) -> Account | None:
        """Look up the user in an image's configuration, by name or UID; None if there is no such user.

        Digits are a UID and never an account name, as in runc: otherwise a line `1000:x:0:0` would
        turn the user 1000 into root. A UID without a line is valid.
        """
        if not _is_number(text):
            return next((account for account in self._users if account.name == text), None)
        if not _is_id(text):
            return None
        uid = int(text)
        return next((account for account in self._users if account.uid == uid), Account("", uid, 0))

    def group(self, text: str) -> int | None:
        """Look up a GID by name or GID; None if there is no such group. Digits are a GID, as for users."""
        if _is_number(text):
            return int(text) if _is_id(text) else None
        return next((gid for name, gid, _ in self._groups if name == text), None)

    def supplementary(self, user: str, gid: int) -> list[int]:
        """GIDs of the groups that have the user as a member, without `gid`."""
        return sorted({number for _, number, members in self._groups if user in members} - {gid})


def _lines(text: str, min_fields: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= min_fields and not line.startswith("#"):
            yield fields


def _is_number(text: str) -> bool:
    """True for text that a runtime parses as a number, in range or not."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdigit()


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**32 - 1


def _text(root: int, path: bytes) -> str:
    try:
        data = read_file(root, path, _LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise LocalFailure(f"{os.fsdecode(path)}: {error.strerror}") from error
    return data.decode("utf-8", "surrogateescape")


def read_file(root: int, path: bytes, limit: int) -> bytes:
    """Read a regular file by its path below `root`; symlinks are resolved inside the root.

    Raises FileNotFoundError, LimitExceeded for more than `limit` bytes, InvalidContent if it is
    not a regular file, and other OSError.
    """
    resolver = PathResolver(root, Hooks(_missing, lambda _: None))
    for _ in range(LINKS):
        directory, _, name = path.rpartition(b"/")
        parent = resolver.open(directory)
        try:
            return _read_at(parent.descriptor, name, limit, path)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            target = os.readlink(name, dir_fd=parent.descriptor)
            path = _joined(parent.path, target)
        finally:
            os.close(parent.descriptor)
    raise InvalidContent(f"{os.fsdecode(path)}: its path has more than {LINKS} symlinks")


def _joined(directory: bytes, target: bytes) -> bytes:
    """The path that a symlink in a directory points to. The resolver clamps `..` at the root."""
    return target if target.startswith(b"/") else directory + b"/" + target


def _missing(_descriptor: int, _path: bytes, _name: bytes) -> None:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _read_at(directory: int, name: bytes, limit: int, path: bytes) -> bytes:
    try:
        descriptor = open_regular(name, dir_fd=directory)
    except NotRegularFile as error:
        raise InvalidContent(f"{os.fsdecode(path)} is not a regular file") from error
    try:
        data = read_at_most(descriptor, limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise LimitExceeded(f"{os.fsdecode(path)} exceeds the limit of {limit} bytes")
    return data
