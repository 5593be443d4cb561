"""What holds for every test: a home of its own, no settings from outside, no network but loopback."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dist_tool import redaction

pytest_plugins = ["support.fast", "support.registry_fixture", "support.scarcity"]

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("fast", max_examples=10, deadline=None)
settings.register_profile(
    "ci", max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "dev"))

# A shell that starts the suite in the background, and nohup, ignore these signals for it; the processes that tests
# start would inherit that.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# Variables that would let the machine's own configuration, credentials, proxies or trust into a test.
_FOREIGN_VARIABLES = frozenset(
    {
        "ALL_PROXY",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
        "CONTAINERS_REGISTRIES_CONF",
        "CURL_CA_BUNDLE",
        "DOCKER_AUTH_CONFIG",
        "DOCKER_CONFIG",
        "DOCKER_HOST",
        "FORCE_COLOR",
        "FTP_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NETRC",
        "NO_COLOR",
        "NO_PROXY",
        "REGISTRY_AUTH_FILE",
        "REQUESTS_CA_BUNDLE",
        "SSLKEYLOGFILE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
    }
)
_FOREIGN_PREFIXES = ("DIST_", "AWS_", "REGISTRY_", "XDG_")


@pytest.fixture(autouse=True)
def isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory; returns it. Each XDG directory lies in it, none exists yet but the runtime one."""
    for name in list(os.environ):
        if name.upper() in _FOREIGN_VARIABLES or name.upper().startswith(_FOREIGN_PREFIXES):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True, mode=0o700)
    for name, directory in (
        ("HOME", home),
        ("XDG_CONFIG_HOME", home / ".config"),
        ("XDG_CACHE_HOME", home / ".cache"),
        ("XDG_DATA_HOME", home / ".local" / "share"),
        ("XDG_STATE_HOME", home / ".local" / "state"),
        ("XDG_RUNTIME_DIR", home / "run"),
    ):
        monkeypatch.setenv(name, str(directory))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("DIST_IMPORT", "none")  # the machine's own containerd and containers files
    return home


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests() -> Iterator[None]:
    """What one test has registered as a secret may be a common word to the next."""
    yield
    redaction.forget_all()


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """Fail whatever test reaches for the network.

    Names need no resolver: `*.test` is this machine, which gives tests as many public names as
    they like; `*.invalid` does not exist. Both are reserved for this (RFC 6761).
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", _guarded_lookup(socket.getaddrinfo))
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded_connect(getattr(socket.socket, name)))
        yield


def _guarded_lookup(lookup: Any) -> Any:
    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is None or name == "localhost" or _is_address(name):
            return lookup(host, port, *args, **kwargs)
        if name.endswith(".test"):
            return lookup("127.0.0.1", port, *args, **kwargs)
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        pytest.fail(f"a test looked up {name!r}")

    return getaddrinfo


def _guarded_connect(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            pytest.fail(f"a test connected to {address!r}")
        return connect(self, address)

    return guarded


def _is_address(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host.partition("%")[0]).is_loopback)
