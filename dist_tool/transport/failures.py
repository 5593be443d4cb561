"""Mapping of HTTP library exceptions and response statuses to DistError. No other module does this."""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

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
    printable,
)
from dist_tool.stream.retry import PASSING_STATUSES, parse_retry_after
from dist_tool.transport.deadlines import TooSlow
from dist_tool.transport.framing import MalformedResponse

_NO_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")  # http.client's message; the status is nowhere else
_BY_STATUS: dict[int, type[DistError]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    405: Unsupported,
    410: NotFound,
    415: Unsupported,
}
_HEAD_UNEXPLAINED = frozenset({400, 501})
# An error code takes precedence over the status, except over 401 (behaviours B35-B37).
_BY_CODE: dict[str, type[DistError]] = {
    "BLOB_UNKNOWN": NotFound,
    "MANIFEST_UNKNOWN": NotFound,
    "MANIFEST_BLOB_UNKNOWN": NotFound,
    "NAME_UNKNOWN": NotFound,
    "NAME_INVALID": InvalidArgument,
    "TAG_INVALID": InvalidArgument,
    "DENIED": PermissionDenied,
    "TOOMANYREQUESTS": ResourceExhausted,
    "UNSUPPORTED": Unsupported,
}


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all exceptions that it wraps, by cause, context, `reason` or argument."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, getattr(current, "reason", None), *current.args, current.__context__]


def from_exception(error: BaseException, host: str) -> DistError:
    """The DistError for an exception of requests, urllib3, http.client, ssl or socket.

    The libraries' messages are not shown: they contain complete URLs with signatures (ggcr #1408).
    """
    links = list(chain(error))
    for types, make in _BY_EXCEPTION:
        for link in links:
            mapped: DistError | None = make(link, host) if isinstance(link, types) else None
            if mapped is not None:
                return mapped.with_(host=host)
    return Unavailable(f"{host}: {type(error).__name__}", host=host)


def _too_slow(error: Any, host: str) -> DistError:
    return DeadlineExceeded(error.what) if error.final else Unavailable(f"{host}: {error.what}")


def _untrusted(error: Any, host: str) -> DistError:
    return Unreachable(
        f"{host}: the TLS certificate is not trusted: {printable(error.verify_message, 200)}",
        hint="set SSL_CERT_FILE or tls.ca in the configuration to the file of its CA",
    )


def _tls(error: Any, host: str) -> DistError:
    reason = getattr(error, "reason", None) or "failed"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return NotTls(f"{host} does not use TLS", hint="if it is meant to use plain http, set plain_http = true for it")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Truncated(f"{host}: the connection was cut")
    return Unreachable(f"{host}: TLS: {printable(reason.replace('_', ' ').lower(), 100)}")


def _with_reason(status: int) -> str:
    """The status with its standard reason phrase, such as `404 Not Found`."""
    return f"{status} {http.client.responses.get(status, '')}".strip()


def _proxy(error: Any, host: str) -> DistError:
    """The error of a proxy. A refusal is permanent; a gateway error or an unreachable proxy is retried."""
    links = list(chain(error))
    for link in links:
        if refusal := _NO_TUNNEL.match(str(link)):
            status = int(refusal[1])
            make = Unavailable if status in PASSING_STATUSES else Unreachable
            hint = "put user and password into the proxy URL" if status == 407 else ""
            return make(f"{host}: the proxy refuses: {_with_reason(status)}", hint=hint)
    if any(isinstance(link, socket.gaierror) for link in links):
        return Unreachable(f"{host}: the name of the proxy does not resolve")
    reason = next((link.strerror.lower() for link in links if isinstance(link, OSError) and link.strerror), "")
    return Unavailable(": ".join(part for part in (host, "cannot connect to the proxy", reason) if part))


def _not_connected(error: Any, host: str) -> DistError | None:
    """The error for a connect timeout, None for other failures to connect.

    urllib3's class for those is a subclass of its timeout; they are mapped by their OSError instead.
    """
    return None if isinstance(error, u3.NewConnectionError) else Unavailable(f"{host}: connection timed out")


def _os_error(error: Any, host: str) -> DistError:
    hint = ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "allow more open files (ulimit -n), or reduce --jobs"
    return Unavailable(f"{host}: {(error.strerror or type(error).__name__).lower()}", hint=hint)


_BY_EXCEPTION: tuple[tuple[Any, Any], ...] = (
    (TooSlow, _too_slow),
    (ssl.SSLCertVerificationError, _untrusted),
    (u3.ProxyError, _proxy),
    (ssl.SSLError, _tls),
    (socket.gaierror, lambda _, host: Unreachable(f"{host}: the name does not resolve")),
    (http.client.RemoteDisconnected, lambda _, host: Truncated(f"{host}: closed the connection without a response")),
    (http.client.IncompleteRead, lambda _, host: Truncated(f"{host}: the connection was cut")),
    (MalformedResponse, lambda e, host: ProtocolError(f"{host}: malformed HTTP response: {printable(str(e), 200)}")),
    (http.client.HTTPException, lambda e, host: NotHttp(f"{host}: not HTTP: {type(e).__name__}")),
    (ConnectionRefusedError, lambda _, host: Unavailable(f"{host}: connection refused")),
    ((ConnectionResetError, BrokenPipeError), lambda _, host: Truncated(f"{host}: the connection was reset")),
    (TimeoutError, lambda _, host: Unavailable(f"{host}: connection timed out")),
    (u3.ConnectTimeoutError, _not_connected),
    (rq.Timeout, lambda _, host: Unavailable(f"{host}: timed out waiting for a response")),
    # requests' own exceptions are OSErrors as well, without an errno: they are mapped further down.
    (OSError, lambda e, host: _os_error(e, host) if e.errno else None),
    (
        (rq.InvalidHeader, rq.InvalidURL, rq.InvalidProxyURL),
        lambda _, host: InvalidArgument(f"{host}: invalid URL or header"),
    ),
    ((u3.LocationParseError, UnicodeError), lambda _, host: ProtocolError(f"{host}: invalid URL")),
    ((u3.ProtocolError, rq.ChunkedEncodingError), lambda _, host: Truncated(f"{host}: the connection was cut")),
    (OSError, _os_error),
)


def registry_errors(body: bytes) -> tuple[RegistryError, ...]:
    """The entries of a registry's error body; () for any other body, such as an HTML page (B34)."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(value, dict):
        return ()
    entries = value.get("errors")
    if isinstance(entries, list):
        return tuple(_entry(e) for e in entries[:10] if isinstance(e, dict))
    text = value.get("details") or value.get("message") or value.get("error")
    return (RegistryError("UNKNOWN", printable(str(text), 300)),) if text else ()


def _entry(entry: Mapping[str, object]) -> RegistryError:
    code, message = str(entry.get("code") or "UNKNOWN"), str(entry.get("message") or "")
    return RegistryError(printable(code, 60), printable(message, 300))


def from_status(status: int, headers: Mapping[str, str], body: bytes, *, host: str, request: str) -> DistError:
    """The error for a response with an error status.

    `request` is the method and redacted URL. The body may be empty or HTML, and hold unknown codes.
    """
    entries = registry_errors(body)
    make = _class_of(status, entries)
    what = "; ".join(str(entry) for entry in entries) or _with_reason(status)
    error = make(f"{what} ({request})", host=host, status=status, registry_errors=entries)
    if not isinstance(error, RemoteFailed):
        return error
    return error.with_(retry_after=parse_retry_after(headers.get("Retry-After", "")))


def _class_of(status: int, entries: tuple[RegistryError, ...]) -> type[DistError]:
    if status == 429:
        return ResourceExhausted
    if status in PASSING_STATUSES:
        return ServerError
    if status != 401:
        for entry in entries:
            if entry.code in _BY_CODE:
                return _BY_CODE[entry.code]
            if entry.code == "UNKNOWN" and "not found" in entry.message.lower() and 400 <= status < 500:
                return NotFound
    return _BY_STATUS.get(status, RemoteFailed)


def should_retry_with_get(error: DistError) -> bool:
    """Whether to repeat a failed HEAD as GET: it may succeed, or its body may explain the failure (behaviours B13).

    Some servers and signed URLs allow only GET; S3 returns 400 for an expired token.
    """
    return isinstance(error, Unsupported | PermissionDenied) or error.status in _HEAD_UNEXPLAINED
