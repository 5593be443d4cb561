"""Names below a root: cleaned, joined, and shown in messages."""

from __future__ import annotations

from dist_tool.errors import LimitExceeded


def clean(name: bytes, depth: int) -> bytes:
    """`name` below the root: without leading slash, `.`, empty components and `..` (behaviours G9).

    `..` is taken by the text and clamped at the root, as in `clean("/" + name)`; the root
    itself is b"". Raises LimitExceeded for more than `depth` components.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b".." and parts:
            parts.pop()
        elif part not in (b"", b".", b".."):
            parts.append(part)
    if len(parts) > depth:
        raise LimitExceeded(f"a name of more than {depth} components", hint="see --max-depth")
    return b"/".join(parts)


def below(directory: bytes, name: bytes) -> bytes:
    """The path of `name` in a directory by its path; the root's is b""."""
    return directory + b"/" + name if directory else name


def shown(name: bytes) -> str:
    """`name` for a message."""
    return name.decode("utf-8", "backslashreplace") or "."
