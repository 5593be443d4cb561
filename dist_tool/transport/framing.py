"""Strict parsing of HTTP/1 responses: status line, header fields, body length, chunk sizes (RFC 9112).

http.client accepts text that two parsers may interpret differently, such as a length of `+100` or a
bare CR inside a field. If the end of a body is ambiguous, it may be truncated or contain the first
bytes of the next response on the connection, so such a response is rejected.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable
from typing import NamedTuple

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t]([^\r\n\0]*))?\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?\n")
_CONTINUATION = re.compile(rb"[ \t]([^\r\n\0]*)\r?\n")
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_MOST_LINES = 100  # in one header section, as in http.client
# These statuses must not have a body, but some servers send one: the connection is not reused.
_OFTEN_WITH_LEFTOVERS = frozenset({204, 205, 304})
# Some proxies send a body with an error response to HEAD, so its connection is not reused, except
# after these statuses, which are too common for a new connection each time.
_REUSED_AFTER_FAILED_HEAD = frozenset({401, 404})

Fields = list[tuple[str, str]]


class MalformedResponse(http.client.HTTPException):
    """A response that is malformed or ambiguous."""


class StatusLine(NamedTuple):
    """A parsed status line. `version` is 10 for HTTP/1.0 and 11 for any later HTTP/1."""

    version: int
    status: int
    reason: str


class Framing(NamedTuple):
    """The framing of a body: chunked, `length` bytes, or until the connection closes if that is None.

    `persistent`: the connection may carry another request after this body.
    """

    chunked: bool
    length: int | None
    persistent: bool


def parse_status_line(line: bytes) -> StatusLine:
    """Parse a status line. Raises BadStatusLine, or IncompleteRead for a line without a line end."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        if line.startswith(b"HTTP/1.") and not line.endswith(b"\n"):
            raise http.client.IncompleteRead(line)
        raise http.client.BadStatusLine(line[:100].decode("latin-1"))
    minor, status, reason = match.groups()
    return StatusLine(10 if minor == b"0" else 11, int(status), (reason or b"").strip().decode("latin-1"))


def parse_fields(lines: Iterable[bytes]) -> Fields:
    """Parse header fields, in order, with continuation lines joined by a space (RFC 9112 5.2).

    Raises MalformedResponse for an invalid line: blanks in the name, no colon, a bare CR, a NUL.
    """
    fields: Fields = []
    for number, line in enumerate(lines):
        if number == _MOST_LINES:
            raise MalformedResponse(f"more than {_MOST_LINES} header lines")
        if match := _FIELD.fullmatch(line):
            fields.append((match[1].decode("ascii"), _text(match[2])))
        elif fields and (match := _CONTINUATION.fullmatch(line)):
            name, value = fields[-1]
            fields[-1] = name, f"{value} {_text(match[1])}".strip()
        else:
            raise MalformedResponse("malformed header line")
    return fields


def _text(value: bytes) -> str:
    return value.strip(b" \t").decode("latin-1")


def framing_of(method: str | None, status: StatusLine, fields: Fields) -> Framing:
    """The framing of a final response's body (RFC 9112 6.3).

    Raises MalformedResponse for a transfer coding other than `chunked` and for a Content-Length
    that is repeated or not a plain number.
    """
    codings, lengths = _values(fields, "transfer-encoding"), _values(fields, "content-length")
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        raise MalformedResponse(f"unsupported Transfer-Encoding {', '.join(codings)[:100]!r}")
    if len(lengths) > 1:
        raise MalformedResponse("more than one Content-Length")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise MalformedResponse(f"invalid Content-Length {lengths[0][:100]!r}")
    persistent = _keeps_alive(status.version, fields) and status.status not in _OFTEN_WITH_LEFTOVERS
    if method == "HEAD" or status.status < 200 or status.status in (204, 304):
        may_have_body = status.status >= 400 and status.status not in _REUSED_AFTER_FAILED_HEAD
        return Framing(False, 0, persistent and not may_have_body)
    if codings:  # chunked takes precedence (RFC 9112 6.1), but an intermediary may have used the length
        return Framing(True, None, persistent and not lengths and status.version > 10)
    if lengths:
        return Framing(False, int(lengths[0]), persistent)
    return Framing(False, None, False)


def _values(fields: Fields, name: str) -> list[str]:
    return [value for field, value in fields if field.lower() == name]


def _keeps_alive(version: int, fields: Fields) -> bool:
    options = {option.strip().lower() for value in _values(fields, "connection") for option in value.split(",")}
    return "close" not in options and (version > 10 or "keep-alive" in options)


def parse_chunk_line(line: bytes) -> int:
    """The size of a chunk from its chunk line. Raises MalformedResponse."""
    match = _CHUNK_LINE.fullmatch(line)
    if match is None:
        raise MalformedResponse("malformed chunk size")
    return int(match[1], 16)
