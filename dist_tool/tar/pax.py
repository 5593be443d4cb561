"""Strict parsing of POSIX pax extended headers and of numeric tar header fields."""

from __future__ import annotations

from functools import lru_cache

from dist_tool.errors import InvalidContent

_LONGEST_NUMBER = 40  # characters; int() of megabytes of digits would take minutes
_LARGEST = 2**63 - 1
XATTR = b"SCHILY.xattr."

Records = list[tuple[bytes, bytes]]


def number(field: bytes) -> int:
    """Parse a numeric header field: octal digits padded with spaces and NULs, or base-256 (GNU, star).

    Raises InvalidContent for anything else and for values that do not fit in 63 bits.
    """
    if field[0] & 0x80:
        return _base256(field)
    text = field.strip(b"\0 ")
    if not text:
        return 0
    if not text.isdigit():
        raise InvalidContent(f"a tar header has the invalid number {text.decode('latin-1')!r}")
    try:
        return int(text, 8)
    except ValueError as error:
        raise InvalidContent(f"a tar header has the invalid octal number {text.decode('latin-1')!r}") from error


small_number = lru_cache(maxsize=512)(number)  # modes and owners are highly repetitive


def _base256(field: bytes) -> int:
    value = int.from_bytes(field, "big")
    bits = 8 * len(field)
    if field[0] & 0x40:
        value -= 1 << bits  # negative, two's complement
    else:
        value -= 1 << (bits - 1)  # the marker bit
    if not -_LARGEST <= value <= _LARGEST:
        raise InvalidContent("a tar header has a number of more than 63 bits")
    return value


def parse_records(data: bytes) -> Records:
    """Parse records `LENGTH KEY=VALUE` that end with a line feed, in order; the last record of a key takes effect.

    Raises InvalidContent for any record that is not exactly of this form: in other parsers a zero
    length causes an endless loop (CVE-2019-20907), and a wrong length hides entries (CVE-2025-62518).
    """
    records: Records = []
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise InvalidContent("an extended header is not a list of records")
        following = position + int(digits)
        if following > end or following <= space + 1 or data[following - 1 : following] != b"\n":
            raise InvalidContent("an extended header has a record of the wrong length")
        key, separator, value = data[space + 1 : following - 1].partition(b"=")
        if not separator or not key or b"\0" in key:
            raise InvalidContent("an extended header has a record without a key")
        records.append((key, value))
        position = following
    return records


def decimal(value: bytes, what: str) -> int:
    """Parse a non-negative decimal integer; `what` names it in the error. Raises InvalidContent."""
    if not value.isdigit() or len(value) > _LONGEST_NUMBER or int(value) > _LARGEST:
        raise InvalidContent(f"an extended header's {what} is {value[:40]!r}")
    return int(value)


def timestamp(value: bytes) -> int:
    """Parse decimal seconds as nanoseconds; digits after the ninth decimal are dropped.

    Raises InvalidContent.
    """
    negative = value.startswith(b"-")
    whole, dot, fraction = value[negative:].partition(b".")
    if not whole.isdigit() or len(whole) > _LONGEST_NUMBER or (dot and fraction and not fraction.isdigit()):
        raise InvalidContent(f"an extended header's time is {value[:40]!r}")
    nanoseconds = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0") or 0)
    return -nanoseconds if negative else nanoseconds
