"""Users and groups of a root file system, read without leaving it (CVE-2024-9676)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from dist_tool.errors import InvalidContent, LimitExceeded, LocalFailure
from dist_tool.files import NotRegularFile, open_regular, read_at_most
from dist_tool.rootfs.resolve import LINKS, Hooks, PathResolver

_LIMIT = 4 << 20  # bytes of a file of accounts


class Account(NamedTuple):
    """A line of /etc/passwd; `name` is "" for a number without one."""

    name: str
    uid: int
    gid: int


class Accounts:
    """What `/etc/passwd` and `/etc/group` of a root say; absent files are empty."""

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
        """Those of the directory open as `root`. Raises LimitExceeded, InvalidContent, LocalFailure."""
        return cls(_text(root, b"etc/passwd"), _text(root, b"etc/group"))

    def user(self, text: str) -> Account | None:
        """The user that an image's configuration names, None if there is none.

        Digits are an id and never the name of an account, as in runc: otherwise a line
        `1000:x:0:0` would turn the user 1000 into root. An id needs no line.
        """
        if not _is_number(text):
            return next((account for account in self._users if account.name == text), None)
        if not _is_id(text):
            return None
        uid = int(text)
        return next((account for account in self._users if account.uid == uid), Account("", uid, 0))

    def group(self, text: str) -> int | None:
        """The id of a group, None if there is no such group; digits are an id, as for users."""
        if _is_number(text):
            return int(text) if _is_id(text) else None
        return next((gid for name, gid, _ in self._groups if name == text), None)

    def supplementary(self, user: str, gid: int) -> list[int]:
        """Numbers of the further groups that a user is in, beside `gid`."""
        return sorted({number for _, number, members in self._groups if user in members} - {gid})


def _lines(text: str, least: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= least and not line.startswith("#"):
            yield fields


def _is_number(text: str) -> bool:
    """True for what a runtime would read as a number, in range or not."""
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
    """A regular file's content by its name below `root`, symlinks resolved inside.

    Raises FileNotFoundError where there is none, LimitExceeded over `limit` bytes,
    InvalidContent for what is no regular file, and other OSError.
    """
    resolver = PathResolver(root, Hooks(_missing, lambda _: None))
    for _ in range(LINKS):
        directory, _, name = path.rpartition(b"/")
        place = resolver.open(directory)
        try:
            return _read_at(place.descriptor, name, limit, path)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            target = os.readlink(name, dir_fd=place.descriptor)
            path = _joined(place.path, target)
        finally:
            os.close(place.descriptor)
    raise InvalidContent(f"{os.fsdecode(path)}: more than {LINKS} symlinks on the way")


def _joined(directory: bytes, target: bytes) -> bytes:
    """Where a link in a directory points to; the resolver clamps what climbs out."""
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
        raise LimitExceeded(f"{os.fsdecode(path)} is over the limit of {limit} bytes")
    return data
