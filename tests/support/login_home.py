"""A home directory with docker's file and credential helpers, for tests of saved logins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dist_tool.auth.credential_file import Credentials
from dist_tool.auth.keychain import Keychain
from dist_tool.auth.saved_logins import CredentialLocation, SavedLogin, remove, save
from dist_tool.settings import AuthSettings

HUB = "https://index.docker.io/v1/"
ME = Credentials("me", "p:ä s")


class Home:
    """A home directory with docker's file, and helpers in PATH that note what they are told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)
        self.file = directory / ".docker" / "config.json"
        self.environ = {"HOME": str(directory), "PATH": f"{self.bin}:/usr/bin:/bin"}

    def write(self, value: Any) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(value if isinstance(value, str) else json.dumps(value))

    def read(self) -> Any:
        return json.loads(self.file.read_text())

    def helper(self, name: str, after: str = "exit 0") -> Path:
        """A helper that notes action and input in told-NAME; returns that file."""
        told = self.directory / f"told-{name}"
        program = self.bin / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\n{{ echo "$1"; cat; echo; }} >> {told}\n{after}\n')
        program.chmod(0o755)
        return told

    def save(self, host: str, **auth: Any) -> SavedLogin:
        return save(CredentialLocation.choose(AuthSettings(**auth), self.environ), host, ME, self.environ)

    def remove(self, host: str, **auth: Any) -> SavedLogin:
        return remove(CredentialLocation.choose(AuthSettings(**auth), self.environ), host, self.environ)

    def found(self, host: str) -> Credentials | None:
        return Keychain(AuthSettings(), self.environ).lookup(host, "any")
