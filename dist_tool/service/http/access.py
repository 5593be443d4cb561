"""Who may read: anybody, whoever knows the password, or whoever holds a token.

The token server is the one of the distribution project's specification ("Token Authentication
Specification"; behaviours C1-C14). Tokens are signed, not remembered: there is nothing that a
flood of token requests could fill.
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
    """The scope that reading a repository takes."""
    return f"repository:{repository}:pull"


CATALOG_SCOPE = "registry:catalog:*"


class Gate(Protocol):
    """Decides who may read."""

    def check(self, request: ServerRequest, scope: str) -> None:
        """Let the request through, or raise RequestRefused with a challenge. `scope` "" is any."""


class OpenGate:
    """Lets everybody read."""

    def check(self, request: ServerRequest, scope: str) -> None:
        """Nothing to show."""


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The one user. Compared in constant time."""

    user: str
    password: str = field(repr=False)

    def admits(self, user: str, password: str) -> bool:
        """True where both are right; takes as long where only one is wrong."""
        same_user = hmac.compare_digest(_bytes(user), _bytes(self.user))
        same_password = hmac.compare_digest(_bytes(password), _bytes(self.password))
        return same_user & same_password

    def admits_basic(self, authorization: str) -> bool:
        """True where a header field holds the right Basic credentials (RFC 7617)."""
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
    """As they were in the environment or on the wire, UTF-8 or not."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class BasicGate:
    """Wants name and password with every request."""

    account: ServerAccount

    def check(self, request: ServerRequest, scope: str) -> None:
        """Let the user through, to everything."""
        del scope
        if not self.account.admits_basic(request.headers.get("authorization", "")):
            raise _unauthorized(f'Basic realm="{SERVICE}"')


@dataclass(frozen=True, slots=True)
class TokenGate:
    """Wants a token that its own token server gave; that one wants the account, where there is one."""

    scheme: str
    ttl_s: int
    account: ServerAccount | None = None
    clock: Callable[[], float] = time.monotonic
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def check(self, request: ServerRequest, scope: str) -> None:
        """Let a valid token of this scope through."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise _unauthorized(self._challenge(request, scope))
        granted = self._read(token.strip())
        if granted is None:
            raise _unauthorized(self._challenge(request, scope, "invalid_token"))
        if scope and scope not in granted:
            raise _unauthorized(self._challenge(request, scope, "insufficient_scope"))

    def token(self, request: ServerRequest) -> ServerResponse:
        """Give a token: GET with Basic, or POST of an OAuth2 form (behaviours C5, C6)."""
        if request.method == "POST":
            asked = self._form(request)
        else:
            if self.account and not self.account.admits_basic(request.headers.get("authorization", "")):
                raise _unauthorized(f'Basic realm="{SERVICE}"')
            asked = [value for name, value in request.query if name == "scope"]
        scopes = sorted(_granted(asked))
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
            raise RequestRefused(415, RegistryError("UNSUPPORTED", f"the token server reads {_FORM}"))
        try:
            form = dict(parse_qsl(request.body.decode("ascii"), errors="strict", max_num_fields=32))
        except ValueError as error:
            raise RequestRefused(400, RegistryError("UNSUPPORTED", "the form is malformed")) from error
        if form.get("grant_type") != "password":  # refresh tokens are never given out
            raise RequestRefused(400, RegistryError("UNSUPPORTED", "only grant_type=password is known"))
        if self.account and not self.account.admits(form.get("username", ""), form.get("password", "")):
            raise _unauthorized(f'Basic realm="{SERVICE}"')
        return [form.get("scope", "")]

    def _challenge(self, request: ServerRequest, scope: str, error: str = "") -> str:
        # The host as the client wrote it, so that the realm is one it can reach; its grammar was checked.
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
        """The scopes of a valid token; None for any other."""
        try:
            data = b64decode(token, b"-_", validate=True)
        except ValueError:
            return None
        mac, payload = data[:32], data[32:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            return None
        claims = json.loads(payload)  # ours: the signature says so
        return frozenset(claims["scopes"]) if self.clock() < claims["until"] else None

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self.key, payload, "sha256")


def _granted(asked: Iterable[str]) -> set[str]:
    """What of the scopes asked for can be had: pulling, and the catalog. Less is not an error (C11)."""
    out: set[str] = set()
    for scope in " ".join(asked).split()[:_SCOPES]:
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
