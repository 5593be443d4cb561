"""Names in layers: cleaning them, and what whiteout names mean (image-spec layer.md, "Whiteouts")."""

from __future__ import annotations

from dist_tool.errors import UnsafePath
from dist_tool.rootfs.names import shown

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_METADATA = b".wh..wh."  # what AUFS kept its own files under


def is_metadata(path: bytes) -> bool:
    """True for what lies at or under an AUFS metadata name: ignored (behaviours G3)."""
    return _METADATA in path and any(part.startswith(_METADATA) and part != OPAQUE for part in path.split(b"/"))


def whiteout_target(path: bytes, base: bytes) -> bytes:
    """The name that a whiteout called `base` removes; b"" for the opaque marker.

    Raises UnsafePath for `.wh.` alone and for those that would mean `.` or `..` (containerd
    2018: a whiteout of `..` deleted the parent).
    """
    if base == OPAQUE:
        return b""
    target = base[len(WHITEOUT) :]
    if target in (b"", b".", b".."):
        raise UnsafePath(f"{shown(path)}: not a whiteout")
    return target


def check_parents(path: bytes, parent: bytes) -> None:
    """Raise UnsafePath where something lies below a whiteout's name: no such file can exist."""
    if WHITEOUT in parent and any(part.startswith(WHITEOUT) for part in parent.split(b"/")):
        raise UnsafePath(f"{shown(path)}: below a whiteout")
