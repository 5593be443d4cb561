"""A token server in this process, and a user with credentials, a clock and a token cache."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dist_tool.auth.authenticator import (
    Authenticator,
    TokenRequest,
    TokenResponse,
    TokenSources,
)
from dist_tool.auth.keychain import Keychain
from dist_tool.auth.token_cache import TokenCache
from dist_tool.errors import (
    DistError,
)
from dist_tool.names.origin import Origin
from dist_tool.run import Notice, Run
from dist_tool.settings import AuthSettings

NOW = 1_700_000_000.0
SECRET = "s3cr3t-p4ss"
PULL = ("repository:a/b:pull",)
BASIC = "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode()


def bearer(realm: str = "https://auth.test/token", scope: str = PULL[0], **more: str) -> str:
    fields = {"realm": realm, "service": "registry", "scope": scope, **more}
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in fields.items() if value)


class TokenServer:
    """A token server that hands out numbered tokens, or a scripted answer, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[TokenRequest] = []
        self.script: list[Any] = []
        self.expires_in = 300

    def __call__(self, request: TokenRequest) -> TokenResponse:
        self.requests.append(request)
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, DistError):
            raise answer
        if isinstance(answer, int):
            return TokenResponse(answer, {}, b"")
        if isinstance(answer, bytes):
            return TokenResponse(200, {"Content-Type": "text/html"}, answer)
        token = answer or f"t{len(self.requests)}"
        return TokenResponse(200, {}, json.dumps({"token": token, "expires_in": self.expires_in}).encode())

    def scopes(self) -> list[list[str]]:
        """The scopes of each GET, in order."""
        return [parse_qs(urlsplit(request.url).query).get("scope", []) for request in self.requests]

    def authorizations(self) -> list[str]:
        return [request.headers.get("Authorization", "") for request in self.requests]


class World:
    """A user, a clock, a token server, and processes of that user's."""

    def __init__(self, root: Path) -> None:
        self.home = root / "someone"
        self.home.mkdir()
        self.cache_dir = str(root / "cache")
        self.server = TokenServer()
        self.now = NOW
        self.notices: list[Notice] = []
        self.settings = AuthSettings()

    def logged_in(self, host: str = "registry.test", **entry: str) -> None:
        content = {"auths": {host: entry or {"username": "user", "password": SECRET}}}
        (self.home / ".docker").mkdir(exist_ok=True)
        (self.home / ".docker/config.json").write_text(json.dumps(content))

    def process(
        self, origin: str = "https://registry.test", account: str = "registry.test", *, verified: bool = True
    ) -> Authenticator:
        """What a new process of the user's starts with: nothing in memory."""
        environ = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"), "PATH": str(self.home / "bin")}
        means = TokenSources(
            Keychain(self.settings, environ, Run(self.notices.append)),
            TokenCache(self.cache_dir, clock=lambda: self.now, run=Run(self.notices.append)),
            self.server,
        )
        return Authenticator(Origin.of(origin), account, means, run=Run(self.notices.append), verified=verified)

    def helper(self, username: str, secret: str) -> Path:
        """Installs a helper for all hosts; returns the file in which it counts."""
        (self.home / ".docker").mkdir()
        (self.home / ".docker/config.json").write_text('{"credsStore": "test"}')
        (self.home / "bin").mkdir()
        program, count = self.home / "bin/docker-credential-test", self.home / "asked"
        program.write_text(
            f'#!/bin/sh\necho x >> {count}\necho \'{{"Username": "{username}", "Secret": "{secret}"}}\'\n'
        )
        program.chmod(0o755)
        return count
