"""Whiteout and metadata names in layers (image-spec layer.md, "Whiteouts")."""

from __future__ import annotations

from dist_tool.errors import UnsafePath
from dist_tool.rootfs.names import shown

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_METADATA = b".wh..wh."  # prefix of the names of AUFS's own files


def is_metadata(path: bytes) -> bool:
    """True for a path at or below an AUFS metadata name, which is ignored (behaviours G3)."""
    return _METADATA in path and any(part.startswith(_METADATA) and part != OPAQUE for part in path.split(b"/"))


def whiteout_target(path: bytes, base: bytes) -> bytes:
    """The name that the whiteout `base` removes; b"" for the opaque marker.

    Raises UnsafePath for `.wh.` alone and for whiteouts of `.` or `..` (containerd 2018: a
    whiteout of `..` deleted the parent).
    """
    if base == OPAQUE:
        return b""
    target = base[len(WHITEOUT) :]
    if target in (b"", b".", b".."):
        raise UnsafePath(f"{shown(path)}: not a valid whiteout")
    return target


def check_parents(path: bytes, parent: bytes) -> None:
    """Raise UnsafePath if a directory in the path is a whiteout name: no such file can exist."""
    if WHITEOUT in parent and any(part.startswith(WHITEOUT) for part in parent.split(b"/")):
        raise UnsafePath(f"{shown(path)}: is below a whiteout")
