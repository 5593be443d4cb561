"""Checks for entries that no Linux file system can store."""

from __future__ import annotations

from dist_tool.errors import InvalidContent
from dist_tool.layers.options import map_id
from dist_tool.rootfs.names import shown
from dist_tool.tar.reader import BLOCKDEV, CHAR, LINK, SYMLINK, Entry

_LARGEST_MAJOR, _LARGEST_MINOR = 0xFFF, 0xFFFFF
_LONGEST_NAME = 255  # bytes in one component (NAME_MAX)
_LONGEST_TARGET = 4095  # bytes of a symlink's target (PATH_MAX without its NUL)


def check_entry(path: bytes, entry: Entry) -> None:
    """Raise InvalidContent for an entry that root could not unpack at the cleaned path `path`.

    A hard link sets no attributes, so those in its header are not checked.
    """
    if len(path) > _LONGEST_NAME and max(map(len, path.split(b"/"))) > _LONGEST_NAME:
        raise InvalidContent(f"{shown(path)}: a name is longer than {_LONGEST_NAME} bytes")
    if entry.kind == LINK:
        return
    map_id(entry.uid, (), "uid")
    map_id(entry.gid, (), "gid")
    if entry.kind in (CHAR, BLOCKDEV):
        check_device(path, entry)
    elif entry.kind == SYMLINK:
        check_target(path, entry.link)


def check_device(path: bytes, entry: Entry) -> None:
    """Raise InvalidContent for device numbers that Linux does not support."""
    major, minor = entry.device
    if not (0 <= major <= _LARGEST_MAJOR and 0 <= minor <= _LARGEST_MINOR):
        raise InvalidContent(f"{shown(path)}: the device number {major}:{minor} is out of range")


def check_target(path: bytes, target: bytes) -> None:
    """Raise InvalidContent for a symlink target that is empty or too long."""
    if not target:
        raise InvalidContent(f"{shown(path)}: a symlink has an empty target")
    if len(target) > _LONGEST_TARGET:
        raise InvalidContent(f"{shown(path)}: a symlink's target is longer than {_LONGEST_TARGET} bytes")
