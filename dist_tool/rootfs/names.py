"""Paths below a root: cleaning, joining, and formatting for messages."""

from __future__ import annotations

from dist_tool.errors import LimitExceeded


def clean(name: bytes, depth: int) -> bytes:
    """Clean a path: remove the leading slash, empty components, `.` and `..` (behaviours G9).

    `..` is resolved lexically and clamped at the root, like Go's `path.Clean("/" + name)`; the root
    itself is b"". Raises LimitExceeded for more than `depth` components.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b".." and parts:
            parts.pop()
        elif part not in (b"", b".", b".."):
            parts.append(part)
    if len(parts) > depth:
        raise LimitExceeded(f"a path has more than {depth} components", hint="see --max-depth")
    return b"/".join(parts)


def below(directory: bytes, name: bytes) -> bytes:
    """Join the path of a directory and a name in it; the path of the root is b""."""
    return directory + b"/" + name if directory else name


def shown(name: bytes) -> str:
    """Format a path for a message."""
    return name.decode("utf-8", "backslashreplace") or "."
