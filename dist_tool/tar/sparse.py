"""Sparse file maps: old GNU, and PAX 0.0, 0.1 and 1.0 (GNU tar manual, "Sparse Formats").

A map is limited to `EXTENSION_LIMIT` bytes (CVE-2025-58183) and validated before use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dist_tool.errors import InvalidContent, LimitExceeded
from dist_tool.tar.limits import EXTENSION_LIMIT
from dist_tool.tar.pax import Records, decimal, number

BLOCK = 512
Extents = tuple[tuple[int, int], ...]
ReadBlock = Callable[[], bytes]

_OLD_IN_HEADER, _OLD_IN_BLOCK = (386, 4), (0, 21)  # offset of the first pair, number of pairs
_OLD_MORE_HEADER, _OLD_MORE_BLOCK = 482, 504
_OLD_REAL_SIZE = slice(483, 495)


def checked(extents: Sequence[tuple[int, int]], size: int, stored: int) -> Extents:
    """Validate a map and drop its empty extents.

    The extents must be in ascending order, not overlap, and end within `size`, the file size; their
    lengths must add up to `stored`, the size of the stored data. All values are bytes. Raises
    InvalidContent.
    """
    end = total = 0
    for offset, length in extents:
        if offset < end or length < 0:
            raise InvalidContent("a sparse file's map is out of order")
        end = offset + length
        total += length
    if end > size or total != stored:
        raise InvalidContent("a sparse file's map does not fit its size")
    return tuple(extent for extent in extents if extent[1])


def old_gnu(header: bytes, read_block: ReadBlock) -> tuple[list[tuple[int, int]], int]:
    """The map of an entry of type `S`, and the file size. The map may continue in blocks after the header."""
    extents = _pairs(header, *_OLD_IN_HEADER)
    more, blocks = header[_OLD_MORE_HEADER], 0
    while more:
        blocks += 1
        if blocks * BLOCK > EXTENSION_LIMIT:
            raise LimitExceeded(f"a sparse file's map is over the limit of {EXTENSION_LIMIT} bytes")
        block = read_block()
        extents += _pairs(block, *_OLD_IN_BLOCK)
        more = block[_OLD_MORE_BLOCK]
    return extents, number(header[_OLD_REAL_SIZE])


def _pairs(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    """Pairs (offset, length) of 12-byte numbers, up to the first empty pair."""
    pairs: list[tuple[int, int]] = []
    for position in range(start, start + 24 * count, 24):
        if not block[position]:
            break
        pairs.append((number(block[position : position + 12]), number(block[position + 12 : position + 24])))
    return pairs


def pax_headers(records: Records) -> list[tuple[int, int]] | None:
    """The map of formats 0.0 and 0.1, from the extended header; None if it has none."""
    numbers: list[bytes] = []
    for key, value in records:
        if key == b"GNU.sparse.map":
            numbers = value.split(b",") if value else []
        elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if (len(numbers) % 2 == 0) != (key == b"GNU.sparse.offset"):
                raise InvalidContent("a sparse file's map is out of order")
            numbers.append(value)
        elif key != b"GNU.sparse.numblocks":
            continue
    return _paired(numbers) if numbers else None


def _paired(numbers: Sequence[bytes]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise InvalidContent("a sparse file's map is truncated")
    values = [decimal(text, "sparse map") for text in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def pax_1_0(read_block: ReadBlock) -> tuple[list[tuple[int, int]], int]:
    """The map of format 1.0, at the start of the data: lines of decimal digits, padded to a block.

    Returns the map and its size in bytes, padding included.
    """
    data = read_block()
    while True:
        count_text, newline, _ = data.partition(b"\n")
        if newline:
            wanted = 1 + 2 * decimal(count_text, "sparse map")
            if wanted > EXTENSION_LIMIT:
                break
            if data.count(b"\n") >= wanted:
                return _paired(data.split(b"\n", wanted)[1:wanted]), len(data)
        elif len(data) > BLOCK:
            raise InvalidContent("a sparse file's map has no length")
        if len(data) >= EXTENSION_LIMIT:
            break
        data += read_block()
    raise LimitExceeded(f"a sparse file's map is over the limit of {EXTENSION_LIMIT} bytes")
