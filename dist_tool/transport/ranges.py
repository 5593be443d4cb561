"""Responses to range requests: which bytes of the object a body holds (behaviours B25-B27)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)", re.ASCII)


class Extent(NamedTuple):
    """The offset of a body in the object, and the object's size in bytes, None if not declared."""

    start: int
    total: int | None


def content_length(headers: Mapping[str, str]) -> int | None:
    """The declared length of the body, None if it is missing or not a plain number.

    `int` accepts "1_0", "+1" and non-ASCII digits, which HTTP does not (trap T7).
    """
    if "Transfer-Encoding" in headers:
        return None
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None


def extent(status: int, headers: Mapping[str, str], start: int) -> Extent | None:
    """The extent of a 200, 206 or 416 response to a request for the bytes from `start` on.

    None means that the response cannot be used, and the object must be read from its beginning.
    A 200 ignores the range and begins at 0. A 416 is usable if it declares a total size of `start`
    bytes: there is nothing left to read.
    """
    if status == 200:
        return Extent(0, content_length(headers))
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None or headers.get("Content-Type", "").lower().startswith("multipart/byteranges"):
        return None
    first, last, size = match.groups()
    total = None if size == "*" else int(size)
    if status == 416:
        return Extent(start, total) if first is None and total == start else None
    if status != 206 or first is None or int(first) != start or int(last) < start:
        return None
    length = content_length(headers)
    if length is not None and length != int(last) - start + 1:
        return None
    # A server may send less than the rest of the object; without a total, that is treated as a truncation.
    if total is not None and int(last) + 1 != total:
        return None
    return Extent(start, total)
