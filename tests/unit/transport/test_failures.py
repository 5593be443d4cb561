"""What the libraries raise and what servers answer, as errors of ours."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from email.utils import formatdate
from typing import Any

import pytest
import requests.exceptions as rq
import urllib3.exceptions as u3

from dist_tool.errors import (
    DeadlineExceeded,
    DistError,
    InvalidArgument,
    NotFound,
    NotHttp,
    NotTls,
    PermissionDenied,
    ProtocolError,
    RegistryError,
    RemoteFailed,
    ResourceExhausted,
    ServerError,
    Truncated,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Unsupported,
)
from dist_tool.stream.retry import parse_retry_after
from dist_tool.transport.deadlines import TooSlow
from dist_tool.transport.failures import chain, from_exception, from_status, registry_errors

HOST = "registry.test:5000"


def _untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate\x1b[2J"
    return error


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def _retries(reason: Exception) -> rq.ConnectionError:
    """As requests raises it: an argument of an argument, the cause only in `reason`."""
    url = "/v2/x?sig=secret"
    return rq.ConnectionError(u3.MaxRetryError(None, url, reason))  # type: ignore[arg-type]


def _caused(outer: Exception, inner: BaseException) -> Exception:
    outer.__cause__ = inner
    return outer


RAISED: dict[str, tuple[Any, type[DistError], str]] = {
    "refused": (ConnectionRefusedError(111, "Connection refused"), Unavailable, f"{HOST}: connection refused"),
    "refused, wrapped": (
        _retries(_caused(u3.NewConnectionError(None, "m"), ConnectionRefusedError(111, "r"))),  # type: ignore[arg-type]
        Unavailable,
        "connection refused",
    ),
    "reset": (ConnectionResetError(104, "Connection reset by peer"), Truncated, "the connection was reset"),
    "reset, wrapped": (
        rq.ConnectionError(u3.ProtocolError("Connection aborted.", ConnectionResetError(104, "r"))),
        Truncated,
        "the connection was reset",
    ),
    "broken pipe while sending": (BrokenPipeError(32, "Broken pipe"), Truncated, "the connection was reset"),
    "no name": (
        _retries(_caused(u3.NameResolutionError("h", None, socket.gaierror(-2, "x")), socket.gaierror(-2, "x"))),  # type: ignore[arg-type]
        Unreachable,
        "the name does not resolve",
    ),
    "no route": (OSError(113, "No route to host"), Unavailable, "no route to host"),
    "connect time-out": (rq.ConnectTimeout(_retries(u3.ConnectTimeoutError())), Unavailable, "connection timed out"),
    "read time-out": (rq.ReadTimeout("x"), Unavailable, "timed out waiting for a response"),
    "socket time-out": (TimeoutError("timed out"), Unavailable, "connection timed out"),
    "ended without an answer": (http.client.RemoteDisconnected("x"), Truncated, "closed the connection without"),
    "incomplete": (http.client.IncompleteRead(b"x", 5), Truncated, "the connection was cut"),
    "cut chunk": (
        rq.ChunkedEncodingError(u3.ProtocolError("x", http.client.IncompleteRead(b""))),
        Truncated,
        "the connection was cut",
    ),
    "bad status line": (http.client.BadStatusLine("220 mail"), NotHttp, "not HTTP: BadStatusLine"),
    "endless header": (http.client.LineTooLong("header line"), NotHttp, "not HTTP: LineTooLong"),
    "untrusted": (_retries(_untrusted()), Unreachable, "certificate is not trusted: self-signed certificate\\x1b[2J"),
    "no TLS": (_retries(_tls("WRONG_VERSION_NUMBER")), NotTls, "does not use TLS"),
    "alert": (_tls("TLSV1_ALERT_UNKNOWN_CA"), Unreachable, "TLS: tlsv1 alert unknown ca"),
    "TLS cut": (ssl.SSLEOFError(8, "EOF occurred"), Truncated, "the connection was cut"),
    "silence": (_retries(TooSlow("no data received for 30 s")), Unavailable, f"{HOST}: no data received for 30 s"),
    "our deadline": (TooSlow("the time is over", final=True), DeadlineExceeded, "the time is over"),
    "bad header": (rq.InvalidHeader("x"), InvalidArgument, "invalid URL or header"),
    "bad URL": (rq.InvalidURL("x"), InvalidArgument, "invalid URL or header"),
    "bad label": (u3.LocationParseError("x"), ProtocolError, "invalid URL"),
    "no_report of": (ValueError("https://h/x?sig=secret"), Unavailable, f"{HOST}: ValueError"),
}


@pytest.mark.parametrize(("raised", "expected", "what"), RAISED.values(), ids=RAISED.keys())
def test_what_a_library_raises_becomes_an_error_of_ours(
    raised: Exception, expected: type[DistError], what: str
) -> None:
    error = from_exception(raised, HOST)
    assert type(error) is expected
    assert what in error.what
    assert error.host == HOST


@pytest.mark.parametrize("raised", [case[0] for case in RAISED.values()], ids=RAISED.keys())
def test_the_libraries_own_words_are_not_shown_they_hold_whole_urls(raised: Exception) -> None:
    """ggcr #1408: a signed URL appeared in a connection error."""
    assert "secret" not in str(from_exception(raised, HOST))


@pytest.mark.parametrize(
    ("raised", "again"),
    [
        (ConnectionRefusedError(111, "r"), True),
        (ConnectionResetError(104, "r"), True),
        (TooSlow("x"), True),
        (TooSlow("x", final=True), False),
        (_untrusted(), False),
        (socket.gaierror(-2, "x"), False),
        (http.client.BadStatusLine("x"), False),
    ],
)
def test_only_what_may_change_is_tried_again(raised: Exception, again: bool) -> None:
    assert from_exception(raised, HOST).retryable is again


def test_a_distrusted_certificate_and_a_missing_plain_http_say_what_to_do() -> None:
    assert "SSL_CERT_FILE or tls.ca" in from_exception(_untrusted(), HOST).hint
    assert "plain_http = true" in from_exception(_tls("WRONG_VERSION_NUMBER"), HOST).hint


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert set(chain(first)) == {first, second}


def _body(*entries: tuple[str, str]) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message} for code, message in entries]}).encode()


STATUSES: list[tuple[int, bytes, type[DistError]]] = [
    (400, b"", RemoteFailed),
    (401, b"", Unauthenticated),
    (401, _body(("DENIED", "no")), Unauthenticated),
    (401, _body(("MANIFEST_UNKNOWN", "")), Unauthenticated),
    (403, b"", PermissionDenied),
    (403, _body(("DENIED", "no")), PermissionDenied),
    (404, b"", NotFound),
    (404, b"<html>no</html>", NotFound),
    (404, _body(("NEW_CODE", "x")), NotFound),
    (405, b"", Unsupported),
    (408, b"", ServerError),
    (410, b"", NotFound),
    (415, b"", Unsupported),
    (418, b"", RemoteFailed),
    (429, b"", ResourceExhausted),
    (429, _body(("DENIED", "x")), ResourceExhausted),
    (499, b"", ServerError),
    (500, b"", ServerError),
    (501, b"", RemoteFailed),
    (502, b"<html>Bad Gateway</html>", ServerError),
    (503, _body(("UNAVAILABLE", "x")), ServerError),
    (504, b"", ServerError),
    (522, b"", ServerError),
    (400, _body(("NAME_INVALID", "x")), InvalidArgument),
    (400, _body(("TAG_INVALID", "x")), InvalidArgument),
    (400, _body(("UNSUPPORTED", "x")), Unsupported),
    (400, _body(("MANIFEST_UNKNOWN", "x")), NotFound),
    (400, _body(("UNKNOWN", "Not Found")), NotFound),  # registry.redhat.io
    (400, _body(("UNKNOWN", "artifact a/b:c not found")), NotFound),  # Harbor
    (400, _body(("UNKNOWN", "something else")), RemoteFailed),
    (400, _body(("TOOMANYREQUESTS", "x")), ResourceExhausted),
    (500, _body(("UNKNOWN", "user not found")), ServerError),
    (400, _body(("NEW_CODE", "x"), ("DENIED", "y")), PermissionDenied),
]


@pytest.mark.parametrize(("status", "body", "expected"), STATUSES)
def test_a_status_and_its_error_codes_decide_the_class(status: int, body: bytes, expected: type[DistError]) -> None:
    error = from_status(status, {}, body, host=HOST, request="GET https://registry.test/v2/")
    assert type(error) is expected
    assert (error.status, error.host) == (status, HOST)
    assert "GET https://registry.test/v2/" in error.what


def test_a_registrys_own_words_are_told_with_their_code() -> None:
    error = from_status(404, {}, _body(("NAME_UNKNOWN", "no such repository")), host=HOST, request="GET x")
    assert error.what == "NAME_UNKNOWN: no such repository (GET x)"
    assert error.registry_errors == (RegistryError("NAME_UNKNOWN", "no such repository"),)


def test_without_words_the_status_is_told() -> None:
    assert from_status(502, {}, b"", host=HOST, request="GET x").what == "502 Bad Gateway (GET x)"
    assert from_status(599, {}, b"", host=HOST, request="GET x").what == "599 (GET x)"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (_body(("A", "b"), ("C", "")), [("A", "b"), ("C", "")]),
        (b'{"details":"too many requests"}', [("UNKNOWN", "too many requests")]),  # Docker Hub
        (b'{"message":"object not found"}', [("UNKNOWN", "object not found")]),  # Docker Hub
        (b'{"error":"unauthorized"}', [("UNKNOWN", "unauthorized")]),
        (b'{"errors":[{"detail":1}]}', [("UNKNOWN", "")]),
        (b'{"errors":[{"code":null,"message":null}, "text", 7]}', [("UNKNOWN", "")]),
        (b'{"errors":[{"code":404,"message":["x"]}]}', [("404", "['x']")]),
        (b'{"errors":{"code":"A"}}', []),
        (b'{"errors":[]}', []),
        (b"[]", []),
        (b"null", []),
        (b"<html><body>Not Found</body></html>", []),
        (b"", []),
        (b"\xff\xfe", []),
        (b"[" * 50_000, []),
        (b'{"details":' + b"9" * 5000 + b"}", []),
    ],
)
def test_an_error_body_may_be_anything(body: bytes, expected: list[tuple[str, str]]) -> None:
    assert registry_errors(body) == tuple(RegistryError(*entry) for entry in expected)


def test_words_of_a_server_are_bounded_and_cannot_drive_a_terminal() -> None:
    (entry,) = registry_errors(_body(("A\x1b[31m", "b\r\n" + "x" * 10_000)))
    assert entry.code == "A\\x1b[31m"
    assert entry.message.startswith("b\\r\\nx")
    assert len(entry.message) == 300
    assert len(registry_errors(_body(*[("A", "b")] * 1000))) == 10


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), None),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 251696106880.0),
        ("-5", None),
        ("1.5", None),
        ("1_0", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("9" * 5000, 999999999999.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date_to_come(text: str, expected: float | None) -> None:
    assert parse_retry_after(text, now=NOW) == expected


def test_the_wait_that_a_server_asks_for_goes_with_the_error() -> None:
    error = from_status(429, {"Retry-After": "30"}, b"", host=HOST, request="GET x")
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after == 30
