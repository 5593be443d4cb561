"""Other programs: finding them, running servers of theirs, and running `dist` as a process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
_READY_S = 20
_STOP_S = 10


def require_program(name: str) -> str:
    """The path of a program of PATH. Without it the test is skipped; under `CI=true` it fails, lest it rot."""
    path = shutil.which(name)
    if path is None:
        message = f"the program {name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


def optional_program(name: str) -> str:
    """The path of a program that Debian does not have. Without it the test is skipped, also under `CI=true`."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"the program {name} is not installed")
    return path


class Result(NamedTuple):
    """What a run of `dist` left. `stderr` is text; a negative `code` is a signal's."""

    stdout: bytes
    stderr: str
    code: int


def dist_command(*args: str) -> list[str]:
    """The argument vector that runs `dist` from this tree."""
    return [sys.executable, "-m", "dist_tool", *args]


def dist_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test's environment, with this tree importable and `env` added."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}


def run_dist(
    args: Sequence[str], env: Mapping[str, str] | None = None, stdin: bytes = b"", *, timeout_s: float = 60
) -> Result:
    """Run `dist ARGS` to its end, in an environment of the test's with `env` added."""
    done = subprocess.run(
        dist_command(*args), env=dist_environment(env), input=stdin, capture_output=True, timeout=timeout_s, check=False
    )
    return Result(done.stdout, done.stderr.decode("utf-8", "backslashreplace"), done.returncode)


def run_program(*argv: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> bytes:
    """Run a program that must succeed; returns its stdout. A failure shows its stderr."""
    done = subprocess.run(
        [require_program(argv[0]), *argv[1:]],
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr.decode(errors='replace')}")
    return done.stdout


@contextmanager
def running(
    argv: Sequence[str], log: Path, ready: Callable[[str], bool], env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server from when `ready` says so of its output, which goes to `log`, to the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
    try:
        _wait_until_ready(process, log, ready)
        yield process
    finally:
        stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, ready: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + _READY_S
    while not ready(log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            state = "is not ready" if process.returncode is None else f"ended with {process.returncode}"
            pytest.fail(f"{process.args!r} {state}:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started: politely, then not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


class Authority:
    """A certificate authority of the tests' own, made by the openssl program."""

    NAMES = ("localhost", "registry.test", "mirror.test", "cdn.test", "auth.test", "other.test")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._openssl = require_program("openssl")
        self.ca = str(directory / "ca.crt")
        self._make("ca", "/CN=authority of the tests", ["basicConstraints=critical,CA:TRUE"])

    def issue(self, name: str, hosts: Sequence[str] = NAMES, *, days: int = 2) -> tuple[str, str]:
        """A certificate (for servers and clients) and its key, as PEM files; `name` is the common name."""
        alternatives = ",".join(["IP:127.0.0.1", "IP:::1", *(f"DNS:{host}" for host in hosts)])
        return self._make(name, f"/CN={name}", [f"subjectAltName={alternatives}"], days=days, signed=True)

    def server_context(self, *, ask_client: bool = False, hosts: Sequence[str] = NAMES) -> ssl.SSLContext:
        """What a server of `hosts` uses; with `ask_client` it asks for, and takes, our client certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(f"server of {hosts[0]}", hosts))
        if ask_client:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(self.ca)
        return context

    def _make(
        self, name: str, subject: str, extensions: Sequence[str], *, days: int = 2, signed: bool = False
    ) -> tuple[str, str]:
        stem = re.sub(r"[^a-z0-9]+", "-", name)
        certificate, key = self._directory / f"{stem}.crt", self._directory / f"{stem}.key"
        if certificate.exists():
            return str(certificate), str(key)
        signer = ["-CA", self.ca, "-CAkey", str(self._directory / "ca.key")] if signed else []
        run_program(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", subject, "-days", str(days), "-keyout", str(key), "-out", str(certificate), *signer),
            *(word for extension in extensions for word in ("-addext", extension)),
        )
        return str(certificate), str(key)


class Registry(NamedTuple):
    """A running docker-registry. `host` is HOST:PORT; `log` its output so far; `ca` trusts it, where it has TLS."""

    host: str
    log: Path
    user: str = ""
    password: str = ""
    ca: str = ""

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://{self.host}"


_LISTENING = re.compile(r"listening on (?:127\.0\.0\.1|\[::\]):([0-9]+)")


@contextmanager
def docker_registry(
    directory: Path, *, credentials: tuple[str, str] | None = None, authority: Authority | None = None
) -> Iterator[Registry]:
    """Run Debian's docker-registry on a free port of 127.0.0.1, its data in `directory`.

    `credentials` (user, password) make it ask for Basic authentication; `authority` for TLS.
    """
    program = require_program("docker-registry")
    config, log = directory / "config.yml", directory / "registry.log"
    config.write_text(_registry_config(directory, credentials, authority))
    with running([program, "serve", str(config)], log, lambda text: bool(_LISTENING.search(text))):
        listening = _LISTENING.search(log.read_text())
        assert listening is not None
        user, password = credentials or ("", "")
        yield Registry(f"127.0.0.1:{listening[1]}", log, user, password, authority.ca if authority else "")


def _registry_config(directory: Path, credentials: tuple[str, str] | None, authority: Authority | None) -> str:
    lines = [
        "version: 0.1",
        "log: {level: info, accesslog: {disabled: false}}",
        f"storage: {{filesystem: {{rootdirectory: '{directory / 'data'}'}}, delete: {{enabled: true}}}}",
        "http:",
        "  addr: 127.0.0.1:0",
        "  secret: of-the-tests",
    ]
    if authority is not None:
        certificate, key = authority.issue("docker registry")
        lines.append(f"  tls: {{certificate: '{certificate}', key: '{key}'}}")
    if credentials is not None:
        passwords = directory / "htpasswd"
        passwords.write_bytes(run_program("htpasswd", "-nbB", "-C", "4", *credentials))
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: '{passwords}'}}}}")
    return "\n".join(lines) + "\n"
