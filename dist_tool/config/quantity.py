"""Parsing of durations and sizes: `1m30s`, `8MiB`."""

from __future__ import annotations

import re

from dist_tool.errors import InvalidArgument, printable

# Below the limit of socket timeouts, 24 days (31 bits of milliseconds). Longer values are likely mistakes.
LONGEST_S = 7 * 86_400.0
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)"
_SECONDS = re.compile(_NUMBER)
_UNITS = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")
_IN_SECONDS = (3600.0, 60.0, 1.0, 0.001)
_BYTES = re.compile(r"([0-9]{1,19})(?: ?(B|[kKMGT]B|[KMGT]iB))?")
_POWERS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_duration(text: str) -> float:
    """Parse a duration: `10s`, `1m30s`, `500ms`, `1.5h` or a number of seconds. Returns seconds.

    Raises InvalidArgument for anything else, and for more than a week.
    """
    return checked_seconds(_parse_seconds(text))


def parse_age(text: str) -> float:
    """Parse an age, in the form of a duration. Returns seconds; without the limit of a week.

    Raises InvalidArgument for anything else.
    """
    return _parse_seconds(text)


def _parse_seconds(text: str) -> float:
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _UNITS.fullmatch(text) if text else None
    if match is None:
        raise InvalidArgument(
            f"{printable(text, 80)!r} is not a duration", hint="expected seconds, or a form like 10s, 1m30s or 500ms"
        )
    return sum(float(part) * unit for part, unit in zip(match.groups("0"), _IN_SECONDS, strict=True))


def checked_seconds(seconds: float) -> float:
    """Return `seconds` if it is within the limits of a duration. Raises InvalidArgument, for `nan` too."""
    if not 0 <= seconds <= LONGEST_S:
        raise InvalidArgument("a duration must be between 0 and 7 days")
    return float(seconds)


def parse_bytes(text: str) -> int:
    """Parse `8MiB` (powers of 1024), `4MB` (powers of 1000) or a number of bytes. Returns bytes.

    Raises InvalidArgument for anything else, and for 2**63 and above.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise InvalidArgument(
            f"{printable(text, 80)!r} is not a size", hint="expected whole bytes, or a form like 8MiB or 4MB"
        )
    number, unit = int(match[1]), match[2] or "B"
    base = 1024 if unit.endswith("iB") else 1000
    return checked_bytes(number * base ** _POWERS.get(unit[0], 0))


def checked_bytes(number: int) -> int:
    """Return `number` if it is within the limits of a size. Raises InvalidArgument."""
    if not 0 <= number < 2**63:
        raise InvalidArgument("a size must be between 0 and 2**63 - 1 bytes")
    return number
