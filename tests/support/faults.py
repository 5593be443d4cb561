"""The library of faults: steps for `server.FaultServer`, from sound answers to the worst of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from support.server import Exchange, Step

_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as right or as wrong as its fields say. Itself a step.

    `framing`: `length`, `chunked`, `close` (HTTP/1.1, ended by closing) or `http10`.
    `declared` is sent as Content-Length instead of the truth. After `cut` bytes of body comes
    `ending`: `close`, `reset` or `hang`. A Range is honoured where `ranges` says so.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    framing: str = "length"
    declared: int | str | None = None
    cut: int | None = None
    ending: str = "close"
    ranges: bool = True

    def but(self, **changes: Any) -> Answer:
        """The same answer with other fields."""
        return replace(self, **changes)

    def with_header(self, name: str, value: str) -> Answer:
        return self.but(headers=(*self.headers, (name, value)))

    def __call__(self, exchange: Exchange) -> None:
        answer = self._for_range(exchange.request.first_byte)
        exchange.head(
            f"{answer.status} {_reason(answer.status)}",
            [*answer.headers, *answer._framing_headers()],
            version="HTTP/1.0" if answer.framing == "http10" else "HTTP/1.1",
        )
        if exchange.request.method != "HEAD" and answer.status != HTTPStatus.NO_CONTENT:
            answer._send_body(exchange)

    def _for_range(self, first: int | None) -> Answer:
        if first is None or not self.ranges or self.status != HTTPStatus.OK:
            return self
        size = len(self.body)
        if first >= size:
            return self.but(status=416, body=b"", headers=(*self.headers, ("Content-Range", f"bytes */{size}")))
        content_range = ("Content-Range", f"bytes {first}-{size - 1}/{size}")
        return self.but(status=206, body=self.body[first:], headers=(*self.headers, content_range))

    def _framing_headers(self) -> list[tuple[str, str]]:
        if self.framing == "chunked":
            return [("Transfer-Encoding", "chunked")]
        if self.framing in ("close", "http10"):
            return [("Connection", "close")]
        return [("Content-Length", str(len(self.body) if self.declared is None else self.declared))]

    def _send_body(self, exchange: Exchange) -> None:
        data = self.body if self.cut is None else self.body[: self.cut]
        if self.framing != "chunked":
            exchange.body(data)
        else:
            for start in range(0, len(data), _CHUNK):
                piece = data[start : start + _CHUNK]
                exchange.body(b"%x\r\n%b\r\n" % (len(piece), piece))
            if self.cut is None:
                exchange.send(b"0\r\n\r\n")
        if self.cut is not None or self.framing in ("close", "http10") or self.declared is not None:
            {"close": exchange.close, "reset": exchange.reset, "hang": exchange.hang}[self.ending]()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unheard Of"


# Sound answers.


def content(body: bytes, media_type: str = "application/octet-stream", *, digest: object = None) -> Answer:
    """The object, by any Range; `digest` is sent as Docker-Content-Digest."""
    headers = [("Content-Type", media_type)]
    if digest is not None:
        headers.append(("Docker-Content-Digest", str(digest)))
    return Answer(body=body, headers=tuple(headers))


def status(code: int, *, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """A bare status."""
    return Answer(code, body, tuple(headers), ranges=False)


def registry_error(status_code: int, code: str, message: str = "") -> Answer:
    """A status with the error body of the distribution-spec."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    return status(status_code, body=body, headers=[("Content-Type", "application/json")])


def s3_error(status_code: int, code: str, message: str = "", **elements: str) -> Answer:
    """A status with the error body of S3."""
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in {"Code": code, "Message": message, **elements}.items())
    return status(status_code, body=f'<?xml version="1.0"?>\n<Error>{inner}</Error>'.encode())


def json_answer(value: object, *, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """A document of JSON."""
    return Answer(200, json.dumps(value).encode(), (("Content-Type", "application/json"), *headers), ranges=False)


def redirect(location: str, code: int = 307, *, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    return status(code, headers=[("Location", location), *headers])


def in_turn(*steps: Step) -> Step:
    """Each step once, the last for ever: for `always`."""
    left = list(steps)

    def step(exchange: Exchange) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return step


# Bodies that are cut, too long or wrong.


def cut(body: bytes, at: int, framing: str = "length", ending: str = "close") -> Answer:
    """The object, honouring a Range, with the connection ended `at` bytes into the body."""
    return content(body).but(cut=at, framing=framing, ending=ending)


def longer(body: bytes, extra: bytes = b"extra", framing: str = "length") -> Answer:
    """More bytes than the object has, and a Content-Length that says so."""
    return content(body + extra).but(framing=framing, ranges=False)


def overflowing(body: bytes, extra: bytes = b"extra") -> Answer:
    """The right Content-Length, and then more bytes."""
    return content(body + extra).but(declared=len(body), ranges=False)


def flipped(body: bytes, bit: int) -> Answer:
    """The object with one bit wrong."""
    out = bytearray(body)
    out[bit // 8] ^= 1 << bit % 8
    return content(bytes(out))


def declaring(body: bytes, length: int | str) -> Answer:
    """The object under a wrong Content-Length."""
    return content(body).but(declared=length, ranges=False)


# Ranges gone wrong.


def range_ignored(body: bytes) -> Answer:
    """200 and the whole object, whatever was asked for."""
    return content(body).but(ranges=False)


def partial(body: bytes, first: int, content_range: str | None) -> Answer:
    """206 with the bytes from `first` on, under any Content-Range or none."""
    headers = [("Content-Type", "application/octet-stream")]
    if content_range is not None:
        headers.append(("Content-Range", content_range))
    return Answer(206, body[first:], tuple(headers), ranges=False)


def unsatisfiable(total: int | str | None) -> Answer:
    """416; `total` None leaves Content-Range out."""
    return status(416, headers=[] if total is None else [("Content-Range", f"bytes */{total}")])


# Codings.


def labelled(body: bytes, coding: str) -> Answer:
    """The stored bytes under a Content-Encoding that they do not have."""
    return content(body).but(ranges=False).with_header("Content-Encoding", coding)


def coded(body: bytes, coding: str) -> Answer:
    """The object in a real gzip transfer, under the name `coding`."""
    return labelled(gzip.compress(body, mtime=0), coding)


# Ends, silence and noise.


def reset(exchange: Exchange) -> None:
    """Reset without an answer."""
    exchange.reset()


def hang_up(exchange: Exchange) -> None:
    """Close without an answer."""
    exchange.close()


def silent(exchange: Exchange) -> None:
    """Never answer."""
    exchange.hang()


def silent_in_headers(exchange: Exchange) -> None:
    """Stop in the middle of a header."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: appli")
    exchange.hang()


def slow_headers(interval_s: float) -> Step:
    """Headers without end, a byte each `interval_s`: never silent, never done."""

    def step(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while exchange.wait(interval_s):
            exchange.send(b"x")

    return step


def slow_body(body: bytes, interval_s: float) -> Step:
    """The object, a byte each `interval_s`."""

    def step(exchange: Exchange) -> None:
        exchange.head("200 OK", [("Content-Length", len(body))])
        for byte in body:
            if not exchange.wait(interval_s):
                break
            exchange.body(bytes([byte]))
        exchange.close()

    return step


def endless_continue(exchange: Exchange) -> None:
    """`100 Continue`, and nothing else, for ever."""
    exchange.pour(b"HTTP/1.1 100 Continue\r\n\r\n" * 64)


def endless_header(exchange: Exchange) -> None:
    """One header that does not end."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    exchange.pour(b"x" * 65536)


def endless_headers(exchange: Exchange) -> None:
    """Headers, one after the other, for ever."""
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    exchange.pour(b"X-Endless: yes\r\n" * 4096)


def endless_trailers(body: bytes) -> Step:
    """The whole object in one chunk, and after the last one trailers for ever."""

    def step(exchange: Exchange) -> None:
        exchange.head("200 OK", [("Transfer-Encoding", "chunked")])
        exchange.body(b"%x\r\n%b\r\n0\r\n" % (len(body), body))
        exchange.pour(b"X-Endless: yes\r\n" * 4096)

    return step


def endless_chunk_size(exchange: Exchange) -> None:
    """A chunk whose size is in a line that does not end."""
    exchange.head("200 OK", [("Transfer-Encoding", "chunked")])
    exchange.pour(b"1; x=" + b"x" * 65536)


def chunks(*pieces: bytes) -> Step:
    """A body in chunks, as raw as they are given; then the connection ends."""

    def step(exchange: Exchange) -> None:
        exchange.head("200 OK", [("Transfer-Encoding", "chunked")])
        for piece in pieces:
            exchange.body(piece)
        exchange.close()

    return step


def raw(*pieces: bytes) -> Step:
    """An answer as raw as it is given, each piece in a segment of its own; the connection stays open."""

    def step(exchange: Exchange) -> None:
        for number, piece in enumerate(pieces):
            if number:
                exchange.wait(0.005)
            exchange.body(piece)

    return step


def endless_body(
    code: int = 200, headers: Sequence[tuple[str, str]] = (), *, piece: bytes = b"[" * 65536, most: int = 64 << 20
) -> Step:
    """A body that does not end, of no declared length. The client must hang up before `most` bytes."""

    def step(exchange: Exchange) -> None:
        exchange.head(f"{code} {_reason(code)}", [*headers, ("Connection", "close")])
        exchange.pour(piece, most=most)

    return step


def not_http(exchange: Exchange) -> None:
    """An answer in another language."""
    exchange.send(b"220 mail.test ESMTP ready\r\n")
    exchange.close()


# What intermediaries and overloaded servers say.


def html_page(code: int = 200) -> Answer:
    """The page of a captive portal or a proxy."""
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"
    return status(code, body=page, headers=[("Content-Type", "text/html; charset=utf-8")])


def repeating(make: Callable[[str], Answer]) -> Step:
    """What `make` says of the request's target and headers, such as a debugging proxy shows; secrets first."""

    def step(exchange: Exchange) -> None:
        values = sorted(
            exchange.request.headers, key=lambda header: "auth" not in header[0] and "token" not in header[0]
        )
        make(" ".join((*(value for _, value in values), exchange.request.target)))(exchange)

    return step


def too_many(retry_after: str | None) -> Answer:
    """429; `retry_after` in seconds or as an HTTP-date."""
    headers = [] if retry_after is None else [("Retry-After", retry_after)]
    return registry_error(429, "TOOMANYREQUESTS", "slow down").but(
        headers=(("Content-Type", "application/json"), *headers)
    )


# Authentication.


def challenge(realm: str, scope: str, *, service: str = "registry.test", error: str = "") -> Answer:
    """401 that names a token server."""
    value = f'Bearer realm="{realm}",service="{service}",scope="{scope}"' + (f',error="{error}"' if error else "")
    return registry_error(401, "UNAUTHORIZED", "authentication required").with_header("WWW-Authenticate", value)


class TokenServer:
    """Issues tokens and asks for them. A token is good for `uses` requests (None: for ever).

    `issue` is the step of the realm; `protect` makes a step ask for a valid token first.
    """

    def __init__(self, realm: str, scope: str, *, uses: int | None = None, prefix: str = "token-of-the-test") -> None:
        self._realm = realm
        self._scope = scope
        self._uses = uses
        self._prefix = prefix
        self._left: dict[str, int] = {}
        self.issued: list[str] = []

    def issue(self, exchange: Exchange) -> None:
        token = f"{self._prefix}-{len(self.issued) + 1}"
        self.issued.append(token)
        self._left[token] = -1 if self._uses is None else self._uses
        json_answer({"token": token, "expires_in": 300})(exchange)

    def protect(self, step: Step) -> Step:
        def protected(exchange: Exchange) -> None:
            scheme, _, token = exchange.request.header("authorization").partition(" ")
            left = self._left.get(token, 0) if scheme == "Bearer" else 0
            if not left:
                error = "invalid_token" if token else ""
                return challenge(self._realm, self._scope, error=error)(exchange)
            self._left[token] = left - 1
            return step(exchange)

        return protected


# Paths of the distribution-spec.


def blob_path(repository: str, digest: object) -> str:
    return f"/v2/{repository}/blobs/{digest}"


def manifest_path(repository: str, name: object) -> str:
    return f"/v2/{repository}/manifests/{name}"
