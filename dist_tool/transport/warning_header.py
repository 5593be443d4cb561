"""Parser for `Warning: 299 - "text"` headers (distribution-spec, "Warnings"; behaviours B43)."""

from __future__ import annotations

import re

from dist_tool.errors import printable

_WARNING = re.compile(r'299\s+-\s+"((?:[^"\\]|\\.)*)"')
_MOST = 10


def warning_texts(value: str) -> list[str]:
    """The texts of all 299 warnings in a header value, unescaped and safe to print; others are ignored."""
    return [printable(re.sub(r"\\(.)", r"\1", m), 300) for m in _WARNING.findall(value[: 16 << 10])[:_MOST]]
