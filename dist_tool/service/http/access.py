"""Access control: none, HTTP Basic, or bearer tokens.

The token server implements the distribution project's "Token Authentication Specification"
(behaviours C1-C14). Tokens are signed, not stored, so that a flood of token requests uses no
memory.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl

from dist_tool.errors import RegistryError
from dist_tool.oci.mediatypes import essence
from dist_tool.service.http.message import RequestRefused, ServerRequest, ServerResponse

SERVICE = "dist"
_SCOPES = 32
_LONGEST_SCOPE = 300
_FORM = "application/x-www-form-urlencoded"


def pull_scope(repository: str) -> str:
    """The scope required to read a repository."""
    return f"repository:{repository}:pull"


CATALOG_SCOPE = "registry:catalog:*"


class Gate(Protocol):
    """Authorizes requests."""

    def check(self, request: ServerRequest, scope: str) -> None:
        """Return if the request is authorized, else raise RequestRefused with a challenge. `scope` "" means any."""


class OpenGate:
    """Allows all requests."""

    def check(self, request: ServerRequest, scope: str) -> None:
        """Allow the request."""


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """User name and password of the only account. Comparisons take constant time."""

    user: str
    password: str = field(repr=False)

    def admits(self, user: str, password: str) -> bool:
        """True if user and password are correct; takes the same time if only one of them is wrong."""
        same_user = hmac.compare_digest(_bytes(user), _bytes(self.user))
        same_password = hmac.compare_digest(_bytes(password), _bytes(self.password))
        return same_user & same_password

    def admits_basic(self, authorization: str) -> bool:
        """True if an Authorization field holds the correct Basic credentials (RFC 7617)."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, separator, password = (
                b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape").partition(":")
            )
        except ValueError:
            return False
        return bool(separator) and self.admits(user, password)


def _bytes(text: str) -> bytes:
    """The original bytes, as in the environment or on the wire, valid UTF-8 or not."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class BasicGate:
    """Requires Basic credentials with every request."""

    account: ServerAccount

    def check(self, request: ServerRequest, scope: str) -> None:
        """Allow everything to the account. Raises RequestRefused (401)."""
        del scope
        if not self.account.admits_basic(request.headers.get("authorization", "")):
            raise _unauthorized(f'Basic realm="{SERVICE}"')


@dataclass(frozen=True, slots=True)
class TokenGate:
    """Requires a token of its own token server, which requires the credentials of `account`, if set.

    Tokens expire after `ttl_s` seconds.
    """

    scheme: str
    ttl_s: int
    account: ServerAccount | None = None
    clock: Callable[[], float] = time.monotonic
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def check(self, request: ServerRequest, scope: str) -> None:
        """Allow requests with a valid token of this scope. Raises RequestRefused (401)."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise _unauthorized(self._challenge(request, scope))
        granted = self._read(token.strip())
        if granted is None:
            raise _unauthorized(self._challenge(request, scope, "invalid_token"))
        if scope and scope not in granted:
            raise _unauthorized(self._challenge(request, scope, "insufficient_scope"))

    def token(self, request: ServerRequest) -> ServerResponse:
        """Issue a token: GET with Basic, or POST of an OAuth2 form (behaviours C5, C6). Raises RequestRefused."""
        if request.method == "POST":
            requested = self._form(request)
        else:
            if self.account and not self.account.admits_basic(request.headers.get("authorization", "")):
                raise _unauthorized(f'Basic realm="{SERVICE}"')
            requested = [value for name, value in request.query if name == "scope"]
        scopes = sorted(_granted(requested))
        token = self._sign(scopes)
        body = {
            "token": token,
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.ttl_s,
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "scope": " ".join(scopes),
        }
        return ServerResponse.of_json(200, body, headers={"Cache-Control": "no-store"})

    def _form(self, request: ServerRequest) -> list[str]:
        if essence(request.headers.get("content-type", "")) != _FORM:
            raise RequestRefused(415, RegistryError("UNSUPPORTED", f"the token server accepts only {_FORM}"))
        try:
            form = dict(parse_qsl(request.body.decode("ascii"), errors="strict", max_num_fields=32))
        except ValueError as error:
            raise RequestRefused(400, RegistryError("UNSUPPORTED", "the form is malformed")) from error
        if form.get("grant_type") != "password":  # refresh tokens are never issued
            raise RequestRefused(400, RegistryError("UNSUPPORTED", "only grant_type=password is supported"))
        if self.account and not self.account.admits(form.get("username", ""), form.get("password", "")):
            raise _unauthorized(f'Basic realm="{SERVICE}"')
        return [form.get("scope", "")]

    def _challenge(self, request: ServerRequest, scope: str, error: str = "") -> str:
        # The Host of the request, so that the client can reach the realm; `parse_head` checked its syntax.
        realm = f"{self.scheme}://{request.headers.get('host', 'localhost')}/token"
        parts = [f'Bearer realm="{realm}"', f'service="{SERVICE}"']
        if scope:
            parts.append(f'scope="{scope}"')
        if error:
            parts.append(f'error="{error}"')
        return ",".join(parts)

    def _sign(self, scopes: list[str]) -> str:
        claims = {"nonce": secrets.token_hex(16), "until": self.clock() + self.ttl_s, "scopes": scopes}
        payload = json.dumps(claims).encode()
        return urlsafe_b64encode(self._mac(payload) + payload).decode()

    def _read(self, token: str) -> frozenset[str] | None:
        """The scopes of a valid token; None for an invalid one."""
        try:
            data = b64decode(token, b"-_", validate=True)
        except ValueError:
            return None
        mac, payload = data[:32], data[32:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            return None
        claims = json.loads(payload)  # signed by this server
        return frozenset(claims["scopes"]) if self.clock() < claims["until"] else None

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self.key, payload, "sha256")


def _granted(requested: Iterable[str]) -> set[str]:
    """The requested scopes that can be granted: pull and catalog. Others are not an error (behaviours C11)."""
    out: set[str] = set()
    for scope in " ".join(requested).split()[:_SCOPES]:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if len(scope) > _LONGEST_SCOPE or not {"pull", "*"} & set(actions.split(",")):
            continue
        if kind == "repository":
            out.add(pull_scope(name))
        elif scope == CATALOG_SCOPE:
            out.add(CATALOG_SCOPE)
    return out


def _unauthorized(challenge: str) -> RequestRefused:
    error = RegistryError("UNAUTHORIZED", "authentication required")
    return RequestRefused(401, error, headers={"WWW-Authenticate": challenge})
