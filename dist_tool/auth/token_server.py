"""Talking to a token server: what is asked, and what its answer means.

Specification: distribution's "Token Authentication" (GET) and "OAuth2" (POST) documents.
Nothing here sends anything.
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
_SHORTEST_S = 60.0  # "never below 60": older clients fail with less
_NO_SUCH_METHOD = frozenset({404, 405})


class TokenRequest(NamedTuple):
    """A request to a token server. It holds secrets: `repr` shows where it goes only."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    form: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"TokenRequest({self.method} {redact(self.url)})"


class TokenResponse(NamedTuple):
    """A token server's answer. It may hold a token: `repr` shows the status only."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"TokenResponse({self.status}, {len(self.body)} bytes)"


Exchange = Callable[[TokenRequest], TokenResponse]


class TokenParameters(NamedTuple):
    """What is asked of a token server: for whom, for which scopes, and with what."""

    url: str
    service: str
    scopes: tuple[str, ...]
    credentials: Credentials | None = None

    @property
    def host(self) -> str:
        """The token server, as messages name it."""
        return redact(self.url).split("/")[2]


def exchange_token(demand: TokenParameters, exchange: Exchange, now: Callable[[], float]) -> tuple[str, float]:
    """A bearer token and the time at which it ends.

    An identity token goes by POST, and by GET where the server knows no POST; anything else
    goes by GET (behaviours C5-C7, C19). Raises Unauthenticated or PermissionDenied where the
    server says no, ResourceExhausted or ServerError where it cannot answer now, ProtocolError
    for what is no answer. No message repeats a secret, even if the server's does.
    """
    if demand.credentials is not None:
        demand.credentials.remembered()
    response = TokenResponse(0, {}, b"")
    for request in _requests(demand):
        try:
            response = exchange(request)
        except DistError as error:
            raise _clean(error, demand.credentials) from error.cause
        if request.method != "POST" or response.status not in _NO_SUCH_METHOD:
            break
    if not 200 <= response.status < 300:
        raise _failure(demand, response, now())
    return _token(demand, response, now())


def _requests(demand: TokenParameters) -> Iterator[TokenRequest]:
    credentials = demand.credentials or Credentials()
    headers = {"Accept": "application/json"}
    if credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": demand.service,
            "client_id": _CLIENT_ID,
            "scope": " ".join(demand.scopes),
            "refresh_token": credentials.identity_token,
        }
        yield TokenRequest("POST", demand.url, headers, {name: value for name, value in form.items() if value})
    if credentials.basic:
        headers = {**headers, "Authorization": credentials.basic}
    yield TokenRequest("GET", _query(demand), headers)


def _query(demand: TokenParameters) -> str:
    """The URL to GET: the realm's own query is kept, each scope is a parameter of its own (C5)."""
    url, _, query = demand.url.partition("?")
    present = parse_qsl(query, keep_blank_values=True)
    wanted = [("service", demand.service)] if demand.service else []
    wanted += [("scope", scope) for scope in demand.scopes]
    added = urlencode([pair for pair in wanted if pair not in present], safe=":/,*")
    return url + "?" * bool(query or added) + "&".join(part for part in (query, added) if part)


def _token(demand: TokenParameters, response: TokenResponse, now: float) -> tuple[str, float]:
    answer = _json_object(response.body)
    if answer is None:
        kind = printable(_header(response.headers, "Content-Type") or "no content type", 60)
        raise ProtocolError(
            f"the token server {demand.host} answered with status {response.status} and no JSON object ({kind})",
            host=demand.host,
            status=response.status,
        )
    # Both names may be there; which then counts is not specified, and peers take this one (C9).
    value = answer.get("access_token") or answer.get("token")
    if not is_sendable(value):
        what = "an unusable token" if value else "no token"
        raise ProtocolError(f"the token server {demand.host} gave {what}", host=demand.host, status=response.status)
    return str(value), _expiry(answer, now)


def _expiry(answer: Mapping[str, Any], now: float) -> float:
    """When the token ends (behaviours C10): re-based on receipt where the clocks disagree."""
    lifetime = _lifetime(answer.get("expires_in"))
    issued = _issued_at(answer.get("issued_at"), now)
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


def _failure(demand: TokenParameters, response: TokenResponse, now: float) -> DistError:
    """The error for a status that is no success."""
    status, host = response.status, demand.host
    if status == 429:
        from dist_tool.stream.retry import parse_retry_after

        limited = ResourceExhausted(f"the token server {host} limits the rate of requests", host=host, status=status)
        return limited.with_(retry_after=parse_retry_after(_header(response.headers, "Retry-After"), now=now))
    said = _said(response, demand.credentials)
    if status in PASSING_STATUSES:
        return ServerError(f"the token server {host} failed with status {status}{said}", host=host, status=status)
    # OAuth2 says 400 for a refresh token that has ended.
    spent = status == 400 and demand.credentials is not None and demand.credentials.identity_token
    if status not in (401, 403) and not spent:
        return ProtocolError(f"the token server {host} answered with status {status}{said}", host=host, status=status)
    if demand.credentials is None:
        return Unauthenticated(
            f"does not exist or may require authorization: {host} gives no token without credentials{said}",
            host=host,
            status=status,
        )
    source = demand.credentials.source
    if status == 403:
        return PermissionDenied(f"credentials from {source} give no access{said}", host=host, status=status)
    return Unauthenticated(f"credentials from {source} were refused by {host}{said}", host=host, status=status)


def _said(response: TokenResponse, credentials: Credentials | None) -> str:
    """What the server's error body says, to be appended; "" where it holds a secret of ours."""
    answer = _json_object(response.body) or {}
    entries = answer.get("errors")
    if isinstance(entries, list) and entries and isinstance(entries[0], dict):
        answer = entries[0]
    fields = ("code", "error", "message", "error_description", "details")
    texts = [answer[name] for name in fields if isinstance(answer.get(name), str) and answer[name]]
    text = printable(": ".join(texts), 200)
    return f" ({text})" if text and not _repeats_secret(text, credentials) else ""


def _repeats_secret(text: str, credentials: Credentials | None) -> bool:
    return any(secret in text for secret in (credentials.secrets() if credentials else ()))


def _clean(error: DistError, credentials: Credentials | None) -> DistError:
    """The error without the texts that repeat a secret: a server may echo what it was sent."""
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
