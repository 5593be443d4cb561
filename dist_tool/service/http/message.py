"""HTTP/1.1 messages: strict request parser and response serializer (RFC 9112, RFC 9110).

Ambiguous requests are rejected: bare line feeds, folded fields, repeated Host or Content-Length,
any Transfer-Encoding. A lenient server may parse another request than the proxy in front of it
(request smuggling).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from dist_tool.errors import InvalidArgument, RegistryError, printable
from dist_tool.names.hints import parse_size
from dist_tool.service.http.settings import ServerLimits

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_REQUEST_LINE = re.compile(r"([A-Z]{1,20}) ([!-\"$-~]+) HTTP/1\.([0-9])")
# The absolute form, which clients send to proxies and every server must accept (RFC 9112 3.2.2).
_ABSOLUTE = re.compile(rf"https?://({_HOST})((?:[/?].*)?)", re.IGNORECASE)
_VERSION = re.compile(r"[!-~]+ [!-~]+ HTTP/[0-9](?:\.[0-9])?")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AUTHORITY = re.compile(_HOST)
# Fields that make a request ambiguous if repeated.
_SINGLE = frozenset({"authorization", "content-length", "content-type", "host", "if-range", "range"})
_QUERY_FIELDS = 64
_AROUND_TARGET = len("X" * 20 + "  HTTP/1.1\r")

JSON = "application/json"


class RequestRefused(Exception):
    """Raised to answer a request with an error.

    `close` also ends the connection, because the start of the next request cannot be determined.
    """

    def __init__(
        self, status: int, error: RegistryError, *, headers: Mapping[str, str] | None = None, close: bool = False
    ) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.error = error
        self.headers = dict(headers or {})
        self.close = close

    def response(self) -> ServerResponse:
        """The response with the error in the format of the distribution-spec ("Error Codes")."""
        body = {"errors": [{"code": self.error.code, "message": printable(self.error.message)}]}
        return ServerResponse.of_json(self.status, body, headers=self.headers, close=self.close)


def malformed(why: str, status: int = 400) -> RequestRefused:
    """The error for a message that is not a supported HTTP request."""
    return RequestRefused(status, RegistryError("UNKNOWN", why), close=True)


class ServerRequest(NamedTuple):
    """A parsed request. `segments` are those of the path, each percent-decoded once.

    Header names are in lower case. `content_length` is the size of the body in bytes.
    """

    method: str
    target: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    keep_alive: bool
    content_length: int = 0
    body: bytes = b""

    def parameter(self, name: str) -> str | None:
        """The value of a query parameter, None if it is absent. Raises RequestRefused if it is repeated."""
        values = [value for key, value in self.query if key == name]
        if len(values) > 1:
            raise RequestRefused(400, RegistryError("UNSUPPORTED", f"the parameter {name} is repeated"))
        return values[0] if values else None

    @property
    def expects_continue(self) -> bool:
        """True if the client waits for `100 Continue` before it sends the body (RFC 9110 10.1.1)."""
        return self.headers.get("expect", "").lower() == "100-continue"


class FileSlice(NamedTuple):
    """A part of an open file, as a body. The owner of the slice closes it."""

    fd: int
    offset: int
    length: int

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


@dataclass(slots=True)
class ServerResponse:
    """A response. `length` is the value of Content-Length: the size of the body, also if HEAD omits it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""
    length: int = 0
    close: bool = False

    @classmethod
    def of_json(
        cls, status: int, value: Any, *, headers: Mapping[str, str] | None = None, close: bool = False
    ) -> ServerResponse:
        """A response with a JSON body. `headers` may replace the Content-Type."""
        data = json.dumps(value, separators=(",", ":")).encode()
        return cls(status, {"Content-Type": JSON, **(headers or {})}, data, len(data), close)

    def without_body(self) -> ServerResponse:
        """The response to HEAD: the same headers without the body."""
        self.discard()
        self.body = b""
        return self

    def discard(self) -> None:
        """Close the file of a body that will not be sent, if there is one."""
        if isinstance(self.body, FileSlice):
            self.body.close()

    def head(self, date: str) -> bytes:
        """The status line and header fields, including the empty line at the end."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Date: {date}",
            "Docker-Distribution-Api-Version: registry/2.0",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        if self.status != HTTPStatus.NOT_MODIFIED:
            lines.append(f"Content-Length: {self.length}")
        if self.close:
            lines.append("Connection: close")
        # No value contains a line break: all are built or checked by this program.
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def split_head(buffer: bytearray, limits: ServerLimits) -> bytes | None:
    """Remove a complete header section from the buffer and return it; None while it is incomplete.

    Raises RequestRefused as soon as the received bytes cannot become a request within the limits.
    """
    while buffer.startswith(b"\r\n"):  # RFC 9112 2.2: some clients send an extra CR LF after a body
        del buffer[:2]
    if buffer and not 65 <= buffer[0] <= 90:  # for example a TLS handshake: reject it immediately
        raise malformed("this is not an HTTP request")
    match = _END_OF_HEAD.search(buffer, 0, limits.head_bytes + 4)
    if match is not None:
        head, end = bytes(buffer[: match.start()]), match[0]
        del buffer[: match.end()]
        if end != b"\r\n\r\n":
            raise malformed("a line does not end with CR LF")
        return head
    first_line = buffer.find(b"\n", 0, limits.head_bytes)
    if (first_line if first_line >= 0 else len(buffer)) > limits.target_bytes + _AROUND_TARGET:
        raise malformed("the request target is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
    if len(buffer) > limits.head_bytes:
        raise malformed("the header is too long", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    return None


def parse_head(head: bytes, limits: ServerLimits) -> ServerRequest:
    """Parse a header section from `split_head`. Raises RequestRefused."""
    first, *rest = head.decode("latin-1").split("\r\n")
    method, target, minor = _request_line(first, limits)
    headers = _fields(rest, limits)
    if minor != "0" and "host" not in headers:
        raise malformed("the Host field is missing")
    if not _AUTHORITY.fullmatch(headers.get("host", "unknown")):
        raise malformed("the Host field is not a valid host")
    if "transfer-encoding" in headers:
        raise malformed("Transfer-Encoding is not supported; send Content-Length", HTTPStatus.LENGTH_REQUIRED)
    local = target
    if absolute := _ABSOLUTE.fullmatch(target):
        headers["host"] = absolute[1]  # overrides the Host field (RFC 9112 3.2.2)
        local = absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"
    path, _, query = local.partition("?")
    connection = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return ServerRequest(
        method,
        target,
        tuple(_decoded(segment) for segment in path[1:].split("/")),
        _query(query),
        headers,
        keep_alive=minor != "0" and "close" not in connection,
        content_length=_length(headers.get("content-length", "0")),
    )


def _request_line(line: str, limits: ServerLimits) -> tuple[str, str, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _VERSION.fullmatch(line) and not line.rpartition(" ")[2].startswith("HTTP/1."):
            raise malformed("unsupported HTTP version; use HTTP/1.1", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        raise malformed("the request line is not METHOD /PATH HTTP/1.1")
    method, target, minor = match.groups()  # higher minor versions are treated as 1.1 (RFC 9110 2.5)
    if not target.startswith("/") and not _ABSOLUTE.fullmatch(target):
        raise malformed("the request line is not METHOD /PATH HTTP/1.1")
    if len(target) > limits.target_bytes:
        raise malformed("the request target is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
    return method, target, minor


def _fields(lines: list[str], limits: ServerLimits) -> dict[str, str]:
    if len(lines) > limits.header_fields:
        raise malformed("too many header fields", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    out: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None or _CONTROL.search(match[2]):
            raise malformed("a header field is malformed")
        name, value = match[1].lower(), match[2]
        if name in out and name in _SINGLE:
            raise malformed(f"the field {name} is repeated")
        out[name] = f"{out[name]}, {value}" if name in out else value
    return out


def _decoded(text: str) -> str:
    """Percent-decode a path segment once. Rejects results with a special meaning in a path, such as `..`."""
    if "%" in text:
        if _BAD_ESCAPE.search(text):
            raise malformed("a percent sign is not followed by two hexadecimal digits")
        try:
            text = unquote(text, errors="strict")
        except UnicodeDecodeError as error:
            raise malformed("the path is not UTF-8") from error
    if text in (".", "..") or "/" in text or not text.isprintable():
        raise malformed("the path has an invalid segment")
    return text


def _query(text: str) -> tuple[tuple[str, str], ...]:
    if _BAD_ESCAPE.search(text):
        raise malformed("a percent sign is not followed by two hexadecimal digits")
    try:
        return tuple(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_QUERY_FIELDS))
    except ValueError as error:
        raise malformed("the query is malformed") from error


def _length(text: str) -> int:
    try:
        return parse_size(text, "Content-Length")
    except InvalidArgument as error:
        raise malformed(error.what) from error
