"""Range answers: what exactly a server sent of what was asked for (behaviours B25-B27)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)", re.ASCII)


class Extent(NamedTuple):
    """Where in the object a body begins, and the object's size in bytes where that is told."""

    start: int
    total: int | None


def content_length(headers: Mapping[str, str]) -> int | None:
    """The declared length of the body, None where there is none or it is not a plain number.

    "1_0", "+1" and other scripts' digits are numbers to `int` and to nobody else (trap T7).
    """
    if "Transfer-Encoding" in headers:
        return None
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None


def extent(status: int, headers: Mapping[str, str], asked: int) -> Extent | None:
    """What a 200, 206 or 416 holds, having been asked from byte `asked` on.

    None means an answer that cannot be used: then the object is read from its beginning.
    A 200 ignored the range and begins at 0; a 416 is good news where it says that the object
    ends at `asked`.
    """
    if status == 200:
        return Extent(0, content_length(headers))
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None or headers.get("Content-Type", "").lower().startswith("multipart/byteranges"):
        return None
    first, last, size = match.groups()
    total = None if size == "*" else int(size)
    if status == 416:
        return Extent(asked, total) if first is None and total == asked else None
    if status != 206 or first is None or int(first) != asked or int(last) < asked:
        return None
    length = content_length(headers)
    if length is not None and length != int(last) - asked + 1:
        return None
    # A server may give less than the rest; without a total the end is then a cut like any other.
    if total is not None and int(last) + 1 != total:
        return None
    return Extent(asked, total)
