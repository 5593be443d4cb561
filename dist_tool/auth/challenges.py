"""Parser for WWW-Authenticate: the offered schemes and their parameters (RFC 9110, section 11).

One header line may hold several challenges and one challenge several parameters, both
separated by commas, and HTTP libraries join repeated lines with a further comma (trap T6).
Only a full parser can separate them. Malformed parts are skipped: the header is untrusted
input, and the next challenge may be valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Every pattern is possessive: nothing is matched twice, so the time is linear.
_GAP = re.compile(r"[ \t,]*+")
_SPACE = re.compile(r"[ \t]*+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# A value that should have been quoted, as in realm=https://auth.example/token.
_BARE = re.compile(r'[^ \t,"]*+')
# Credentials-like data in place of parameters (Negotiate), up to a comma or the end.
_TOKEN68 = re.compile(r"[ \t]++[A-Za-z0-9\-._~+/]++=*+[ \t]*+(?=,|\Z)")
_TO_COMMA = re.compile(r"[^,]*+")


class Challenge(NamedTuple):
    """One challenge. Scheme and parameter names are in lower case, values as sent."""

    scheme: str
    parameters: Mapping[str, str] = {}


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """All challenges in the values of WWW-Authenticate, in order (behaviours C2, C3, T6).

    Never raises: malformed parts are skipped. If a parameter is repeated, the first one counts,
    so that text appended to a challenge cannot change it. Takes linear time.
    """
    return [challenge for value in values for challenge in _parse(value)]


def _parse(text: str) -> Iterable[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    at, end = 0, len(text)
    while (at := _after(_GAP, text, at)) < end:
        token = _TOKEN.match(text, at)
        if token is None:
            at = _skip_malformed(text, at)
            continue
        equals = _after(_SPACE, text, token.end())
        if not text.startswith("=", equals):
            found.append((token[0].lower(), {}))
            at = _after(_TOKEN68, text, token.end())
            continue
        value, at = _value(text, _after(_SPACE, text, equals + 1))
        if value is not None and found:
            found[-1][1].setdefault(token[0].lower(), value)
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _skip_malformed(text: str, at: int) -> int:
    """The position after a malformed part: after a stray quoted string, or at the next comma."""
    if not text.startswith('"', at):
        return _after(_TO_COMMA, text, at)
    quoted = _QUOTED.match(text, at)
    return quoted.end() if quoted else len(text)


def _value(text: str, at: int) -> tuple[str | None, int]:
    """A parameter's value and its end position; None for an unterminated quoted string."""
    if not text.startswith('"', at):
        bare = _BARE.match(text, at)
        return (bare[0], bare.end()) if bare else (None, len(text))
    quoted = _QUOTED.match(text, at)
    if quoted is None:
        return None, len(text)
    return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
