"""Whiteout and metadata names in layers (image-spec layer.md, "Whiteouts")."""

from __future__ import annotations

from dist_tool.errors import UnsafePath
from dist_tool.rootfs.names import shown

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_METADATA = b".wh..wh."  # prefix of the names of AUFS's own files


def whiteouts(path: bytes, parent: bytes, base: bytes) -> tuple[bytes, ...] | None:
    """The names in `parent` that the entry `path` removes, b"" for all of them; None if it is no whiteout.

    Empty for a path at or below an AUFS metadata name, which is ignored (behaviours G3). Raises
    UnsafePath for a path below a whiteout, for `.wh.` alone, and for whiteouts of `.` or `..`
    (containerd 2018: a whiteout of `..` deleted the parent).
    """
    if WHITEOUT not in path:
        return None
    if _is_metadata(path):
        return ()
    if any(part.startswith(WHITEOUT) for part in parent.split(b"/")):
        raise UnsafePath(f"{shown(path)}: is below a whiteout")  # no such file can exist
    if not base.startswith(WHITEOUT):
        return None
    if base == OPAQUE:
        return (b"",)
    target = base[len(WHITEOUT) :]
    if target in (b"", b".", b".."):
        raise UnsafePath(f"{shown(path)}: not a valid whiteout")
    return (target,)


def _is_metadata(path: bytes) -> bool:
    return _METADATA in path and any(part.startswith(_METADATA) and part != OPAQUE for part in path.split(b"/"))
