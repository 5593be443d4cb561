"""Exceptions of the HTTP libraries and statuses of servers, as errors of ours. The only place."""

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

_ERROR_BODY_LIMIT = 64 << 10
_NO_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")  # in the words of http.client, which has no others
_BY_STATUS: dict[int, type[DistError]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    405: Unsupported,
    410: NotFound,
    415: Unsupported,
}
_HEAD_UNEXPLAINED = frozenset({400, 501})
# A code says more than its status, except that a 401 stays one (behaviours B35-B37).
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
    """An exception and everything that it wraps, by cause, context, `reason` or argument."""
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
    """The error of ours for whatever requests, urllib3, http.client, ssl or socket raised.

    The libraries' own texts are not shown: they hold whole URLs, signatures included
    (ggcr #1408).
    """
    links = list(chain(error))
    for types, make in _BY_EXCEPTION:
        for link in links:
            error_of_ours: DistError | None = make(link, host) if isinstance(link, types) else None
            if error_of_ours is not None:
                return error_of_ours.with_(host=host)
    return Unavailable(f"{host}: {type(error).__name__}", host=host)


def _too_slow(error: Any, host: str) -> DistError:
    return DeadlineExceeded(error.what) if error.final else Unavailable(f"{host}: {error.what}")


def _untrusted(error: Any, host: str) -> DistError:
    return Unreachable(
        f"{host}: the TLS certificate is not trusted: {printable(error.verify_message, 200)}",
        hint="name its CA with SSL_CERT_FILE or tls.ca in the configuration",
    )


def _tls(error: Any, host: str) -> DistError:
    reason = getattr(error, "reason", None) or "failed"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return NotTls(
            f"{host} does not speak TLS", hint="if it is meant to be plain http, set plain_http = true for it"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Truncated(f"{host}: the connection was cut")
    return Unreachable(f"{host}: TLS: {printable(reason.replace('_', ' ').lower(), 100)}")


def _named(status: int) -> str:
    """`404 Not Found`."""
    return f"{status} {http.client.responses.get(status, '')}".strip()


def _proxy(error: Any, host: str) -> DistError:
    """A proxy that says no says so again; one that cannot get through, or is not there, may yet."""
    links = list(chain(error))
    for link in links:
        if refusal := _NO_TUNNEL.match(str(link)):
            status = int(refusal[1])
            make = Unavailable if status in PASSING_STATUSES else Unreachable
            hint = "user and password go into its URL" if status == 407 else ""
            return make(f"{host}: the proxy refuses: {_named(status)}", hint=hint)
    if any(isinstance(link, socket.gaierror) for link in links):
        return Unreachable(f"{host}: the name of the proxy does not resolve")
    said = next((link.strerror.lower() for link in links if isinstance(link, OSError) and link.strerror), "")
    return Unavailable(": ".join(part for part in (host, "the proxy does not answer", said) if part))


def _not_connected(error: Any, host: str) -> DistError | None:
    """A time-out. urllib3 has any other failure to connect for a kind of it: the system's error is further down."""
    return None if isinstance(error, u3.NewConnectionError) else Unavailable(f"{host}: no connection in time")


def _os_error(error: Any, host: str) -> DistError:
    hint = ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "allow more open files (ulimit -n), or do less at once (--jobs)"
    return Unavailable(f"{host}: {(error.strerror or type(error).__name__).lower()}", hint=hint)


_BY_EXCEPTION: tuple[tuple[Any, Any], ...] = (
    (TooSlow, _too_slow),
    (ssl.SSLCertVerificationError, _untrusted),
    (u3.ProxyError, _proxy),
    (ssl.SSLError, _tls),
    (socket.gaierror, lambda _, host: Unreachable(f"{host}: the name does not resolve")),
    (http.client.RemoteDisconnected, lambda _, host: Truncated(f"{host}: closed the connection without an answer")),
    (http.client.IncompleteRead, lambda _, host: Truncated(f"{host}: the connection was cut")),
    (MalformedResponse, lambda e, host: ProtocolError(f"{host}: malformed HTTP response: {printable(str(e), 200)}")),
    (http.client.HTTPException, lambda e, host: NotHttp(f"{host}: not HTTP: {type(e).__name__}")),
    (ConnectionRefusedError, lambda _, host: Unavailable(f"{host}: connection refused")),
    ((ConnectionResetError, BrokenPipeError), lambda _, host: Truncated(f"{host}: the connection was reset")),
    (TimeoutError, lambda _, host: Unavailable(f"{host}: no connection in time")),
    (u3.ConnectTimeoutError, _not_connected),
    (rq.Timeout, lambda _, host: Unavailable(f"{host}: no answer in time")),
    # requests' own exceptions are OSErrors too, without a number: they come further down.
    (OSError, lambda e, host: _os_error(e, host) if e.errno else None),
    (
        (rq.InvalidHeader, rq.InvalidURL, rq.InvalidProxyURL),
        lambda _, host: InvalidArgument(f"{host}: unusable URL or header"),
    ),
    ((u3.LocationParseError, UnicodeError), lambda _, host: ProtocolError(f"{host}: unusable URL")),
    ((u3.ProtocolError, rq.ChunkedEncodingError), lambda _, host: Truncated(f"{host}: the connection was cut")),
    (OSError, _os_error),
)


def registry_errors(body: bytes) -> tuple[RegistryError, ...]:
    """The entries of an error body; () for anything else, such as a page of HTML (B34)."""
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
    """The error for an answer that is not what was hoped for.

    `request` is the method and redacted URL. Unknown codes, empty bodies and HTML are fine.
    """
    entries = registry_errors(body)
    make = _class_of(status, entries)
    said = "; ".join(str(entry) for entry in entries) or _named(status)
    error = make(f"{said} ({request})", host=host, status=status, registry_errors=entries)
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
    """Whether a HEAD failed in a way that GET may not, or that only the body of a GET explains (behaviours B13).

    Some servers and signatures allow GET only; S3 says 400 of a token that has expired.
    """
    return isinstance(error, Unsupported | PermissionDenied) or error.status in _HEAD_UNEXPLAINED
