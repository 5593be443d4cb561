"""A home directory with credential files and credential helpers, for tests of the keychain."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dist_tool.auth.keychain import Credentials, Keychain
from dist_tool.run import Notice, Run
from dist_tool.settings import AuthSettings

SECRET = "s3cr3t-p4ss"
HUB_KEY = "https://index.docker.io/v1/"


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


def auths(**hosts: str) -> dict[str, Any]:
    return {"auths": {host: auth(pair) for host, pair in hosts.items()}}


class Home:
    """A home directory and the environment of a user in it."""

    def __init__(self, root: Path) -> None:
        self.path = root
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        self.environ = {
            "HOME": str(root),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "PATH": f"{self.bin}:/usr/bin:/bin",
        }

    def write(self, name: str, content: Any) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def docker(self, content: Any) -> Path:
        return self.write(".docker/config.json", content)

    def helper(self, name: str, body: str) -> Path:
        """A helper that notes each question in asked-NAME; returns that file."""
        asked = self.path / f"asked-{name}"
        program = self.bin / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\nserver=$(cat)\necho "$* $server" >> "{asked}"\n{body}\n')
        program.chmod(0o755)
        return asked

    def keychain(self, report: Callable[[Notice], None] = lambda _: None, **settings: Any) -> Keychain:
        return Keychain(AuthSettings(**settings), self.environ, Run(report))

    def lookup(self, host: str, path: str = "a/b", **settings: Any) -> Credentials | None:
        return self.keychain(**settings).lookup(host, path)

    def fill_every_source(self) -> None:
        """Give each source of credentials a user of its own for `all.test`."""
        docker_config = self.path / "docker-config"
        self.environ |= {
            "DIST_AUTH_CONFIG": json.dumps(auths(**{"all.test": "dist:p"})),
            "REGISTRY_AUTH_FILE": str(self.write("named.json", auths(**{"all.test": "named:p"}))),
            "DOCKER_AUTH_CONFIG": json.dumps(auths(**{"all.test": "docker-env:p"})),
            "DOCKER_CONFIG": str(docker_config),
            "XDG_CONFIG_HOME": str(self.path / "config"),
        }
        self.write("docker-config/config.json", auths(**{"all.test": "docker-file:p"}))
        self.write("run/containers/auth.json", auths(**{"all.test": "runtime:p"}))
        self.write("config/containers/auth.json", auths(**{"all.test": "config:p"}))
        self.write(".dockercfg", {"all.test": auth("legacy:p")})

    def user(self, host: str, path: str = "a/b", **settings: Any) -> str:
        found = self.lookup(host, path, **settings)
        return found.username if found else ""


def answers(username: str, secret: str) -> str:
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': username, 'Secret': secret})}'"


def everything(error: BaseException) -> str:
    """All that a log, a traceback or a debugger would show of an error and those behind it."""
    shown: list[str] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is not None:
            shown += [str(current), repr(current), repr(vars(current)), repr(current.args)]
            shown += traceback.format_exception(current)
            waiting += [current.__cause__, current.__context__]
            details: Mapping[str, Any] = {
                name: getattr(current, name, "") for name in ("doc", "object", "output", "stdout", "cmd")
            }
            shown.append(repr(details))
    return "\n".join(shown)
