"""Token server protocol: building requests and parsing responses.

Specification: distribution's "Token Authentication" (GET) and "OAuth2" (POST) documents.
The caller sends the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from dist_tool.auth.credential_file import Credentials
from dist_tool.auth.token_cache import EARLY_S, LONGEST_S, is_sendable
from dist_tool.errors import (
    DistError,
    PermissionDenied,
    ProtocolError,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    printable,
)
from dist_tool.names.origin import redact
from dist_tool.stream.retry import PASSING_STATUSES

_CLIENT_ID = "dist"
_SHORTEST_S = 60.0  # the specification's minimum: older clients fail with less
_NO_SUCH_METHOD = frozenset({404, 405})


class TokenRequest(NamedTuple):
    """A request to a token server. It holds secrets: `repr` shows only method and URL."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    form: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"TokenRequest({self.method} {redact(self.url)})"


class TokenResponse(NamedTuple):
    """A token server's response. It may hold a token: `repr` shows only status and size."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"TokenResponse({self.status}, {len(self.body)} bytes)"


Exchange = Callable[[TokenRequest], TokenResponse]


class TokenParameters(NamedTuple):
    """Realm URL, service, scopes and credentials of a token request."""

    url: str
    service: str
    scopes: tuple[str, ...]
    credentials: Credentials | None = None

    @property
    def host(self) -> str:
        """The token server's name in messages."""
        return redact(self.url).split("/")[2]


def exchange_token(parameters: TokenParameters, exchange: Exchange, now: Callable[[], float]) -> tuple[str, float]:
    """Request a bearer token. Returns it with its expiry time (seconds since the epoch).

    An identity token is sent by POST, then without it by GET if the server does not support POST;
    other requests use GET (behaviours C5-C7, C19). Raises Unauthenticated or PermissionDenied if
    the server refuses, ResourceExhausted or ServerError for a temporary failure, ProtocolError for
    an invalid response. No message contains a secret, even if the server's does.
    """
    if parameters.credentials is not None:
        parameters.credentials.remembered()
    response = TokenResponse(0, {}, b"")
    for request in _requests(parameters):
        try:
            response = exchange(request)
        except DistError as error:
            raise _without_secrets(error, parameters.credentials) from error.cause
        if request.method != "POST" or response.status not in _NO_SUCH_METHOD:
            break
    if not 200 <= response.status < 300:
        raise _failure(parameters, response, now())
    return _token(parameters, response, now())


def _requests(parameters: TokenParameters) -> Iterator[TokenRequest]:
    credentials = parameters.credentials or Credentials()
    headers = {"Accept": "application/json"}
    if credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": parameters.service,
            "client_id": _CLIENT_ID,
            "scope": " ".join(parameters.scopes),
            "refresh_token": credentials.identity_token,
        }
        yield TokenRequest("POST", parameters.url, headers, {name: value for name, value in form.items() if value})
    if credentials.basic:
        headers = {**headers, "Authorization": credentials.basic}
    yield TokenRequest("GET", _query(parameters), headers)


def _query(parameters: TokenParameters) -> str:
    """The URL for GET: preserves the realm's own query and adds one parameter per scope (C5)."""
    url, _, query = parameters.url.partition("?")
    present = parse_qsl(query, keep_blank_values=True)
    wanted = [("service", parameters.service)] if parameters.service else []
    wanted += [("scope", scope) for scope in parameters.scopes]
    added = urlencode([pair for pair in wanted if pair not in present], safe=":/,*")
    return url + "?" * bool(query or added) + "&".join(part for part in (query, added) if part)


def _token(parameters: TokenParameters, response: TokenResponse, now: float) -> tuple[str, float]:
    document = _json_object(response.body)
    if document is None:
        kind = printable(_header(response.headers, "Content-Type") or "no content type", 60)
        raise ProtocolError(
            f"the token server {parameters.host} returned status {response.status} without a JSON object ({kind})",
            host=parameters.host,
            status=response.status,
        )
    # Both may be present; the specification does not say which one counts, and other clients use this one (C9).
    value = document.get("access_token") or document.get("token")
    if not is_sendable(value):
        message = f"the token server {parameters.host} returned {'an unusable token' if value else 'no token'}"
        raise ProtocolError(message, host=parameters.host, status=response.status)
    return str(value), _expiry(document, now)


def _expiry(document: Mapping[str, Any], now: float) -> float:
    """The token's expiry time (behaviours C10), counted from receipt if the clocks disagree."""
    lifetime = _lifetime(document.get("expires_in"))
    issued = _issued_at(document.get("issued_at"), now)
    expiry = issued + lifetime
    return now + lifetime if issued > now or expiry - EARLY_S <= now else expiry


def _lifetime(value: object) -> float:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:12])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # the last: NaN
        return _SHORTEST_S
    return float(max(_SHORTEST_S, min(value, LONGEST_S)))


def _issued_at(value: object, now: float) -> float:
    if not isinstance(value, str):
        return now
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return now


def _failure(parameters: TokenParameters, response: TokenResponse, now: float) -> DistError:
    """The error for a response status outside 2xx."""
    status, host = response.status, parameters.host
    if status == 429:
        from dist_tool.stream.retry import parse_retry_after

        limited = ResourceExhausted(f"the token server {host} limits the request rate", host=host, status=status)
        return limited.with_(retry_after=parse_retry_after(_header(response.headers, "Retry-After"), now=now))
    detail = _error_detail(response, parameters.credentials)
    if status in PASSING_STATUSES:
        return ServerError(f"the token server {host} failed with status {status}{detail}", host=host, status=status)
    # OAuth2 uses 400 for an expired refresh token.
    expired = status == 400 and parameters.credentials is not None and parameters.credentials.identity_token
    if status not in (401, 403) and not expired:
        return ProtocolError(f"the token server {host} returned status {status}{detail}", host=host, status=status)
    if parameters.credentials is None:
        return Unauthenticated(
            f"does not exist or may require authorization: {host} issues no token without credentials{detail}",
            host=host,
            status=status,
        )
    source = parameters.credentials.source
    if status == 403:
        return PermissionDenied(f"credentials from {source} give no access{detail}", host=host, status=status)
    return Unauthenticated(f"credentials from {source} were refused by {host}{detail}", host=host, status=status)


def _error_detail(response: TokenResponse, credentials: Credentials | None) -> str:
    """The server's error message, to append to our own; "" if it repeats one of our secrets."""
    document = _json_object(response.body) or {}
    entries = document.get("errors")
    if isinstance(entries, list) and entries and isinstance(entries[0], dict):
        document = entries[0]
    fields = ("code", "error", "message", "error_description", "details")
    texts = [document[name] for name in fields if isinstance(document.get(name), str) and document[name]]
    text = printable(": ".join(texts), 200)
    return f" ({text})" if text and not _repeats_secret(text, credentials) else ""


def _repeats_secret(text: str, credentials: Credentials | None) -> bool:
    return any(secret in text for secret in (credentials.secrets() if credentials else ()))


def _without_secrets(error: DistError, credentials: Credentials | None) -> DistError:
    """The error without the texts that repeat a secret: a server may echo the request."""
    hidden = f"{error.host or 'the token server'} failed, with a message that repeats credentials"
    echoed = any(_repeats_secret(str(entry), credentials) for entry in error.registry_errors)
    return error.with_(
        what=hidden if _repeats_secret(error.what, credentials) else error.what,
        hint="" if _repeats_secret(error.hint, credentials) else error.hint,
        attempts=[hidden if _repeats_secret(text, credentials) else text for text in error.attempts],
        registry_errors=() if echoed else error.registry_errors,
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    import json

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name.lower()), "")
