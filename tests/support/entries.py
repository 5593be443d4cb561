"""Entries of layers as the tar reader returns them."""

from __future__ import annotations

from dist_tool.tar.reader import FILE, Entry


def entry(name: str, kind: bytes = FILE) -> Entry:
    """An entry with an extended attribute of 100 bytes."""
    made = Entry()
    made.kind, made.name, made.link = kind, name.encode(), b""
    made.mode = made.uid = made.gid = made.size = made.mtime = made.atime = 0
    made.device, made.xattrs, made.sparse = (0, 0), {b"user.name": bytes(100)}, None
    return made
