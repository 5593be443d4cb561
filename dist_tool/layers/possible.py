"""Checks for entries that no Linux file system can hold, whoever applies or writes them."""

from __future__ import annotations

from dist_tool.errors import InvalidContent
from dist_tool.layers.options import map_id
from dist_tool.rootfs.names import shown
from dist_tool.tar.reader import BLOCKDEV, CHAR, LINK, SYMLINK, Entry

_LARGEST_MAJOR, _LARGEST_MINOR = 0xFFF, 0xFFFFF
_LONGEST_NAME = 255  # bytes of one component (NAME_MAX)
_LONGEST_TARGET = 4095  # bytes of a symlink's target (PATH_MAX without its NUL)


def check_entry(path: bytes, entry: Entry) -> None:
    """Raise InvalidContent for an entry that root could not unpack at the cleaned name `path`.

    A hard link sets no attributes: those in its header are not checked.
    """
    if len(path) > _LONGEST_NAME and max(map(len, path.split(b"/"))) > _LONGEST_NAME:
        raise InvalidContent(f"{shown(path)}: a name of more than {_LONGEST_NAME} bytes")
    if entry.kind == LINK:
        return
    map_id(entry.uid, (), "uid")
    map_id(entry.gid, (), "gid")
    if entry.kind in (CHAR, BLOCKDEV):
        check_device(path, entry)
    elif entry.kind == SYMLINK:
        check_target(path, entry.link)


def check_device(path: bytes, entry: Entry) -> None:
    """Raise InvalidContent for device numbers that Linux does not have."""
    major, minor = entry.device
    if not (0 <= major <= _LARGEST_MAJOR and 0 <= minor <= _LARGEST_MINOR):
        raise InvalidContent(f"{shown(path)}: the device {major}:{minor} is out of range")


def check_target(path: bytes, target: bytes) -> None:
    """Raise InvalidContent for a symlink's target that is empty or too long."""
    if not target:
        raise InvalidContent(f"{shown(path)}: a symlink to nothing")
    if len(target) > _LONGEST_TARGET:
        raise InvalidContent(f"{shown(path)}: a symlink's target of more than {_LONGEST_TARGET} bytes")
