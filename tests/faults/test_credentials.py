"""Over all faults: no secret of ours on another origin, and none in anything that is shown (docs/security.md 5)."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from support import catalogue, faults
from support.content import blob
from support.faults import blob_path, redirect
from support.fetching import SHORT, docker_config, fetch
from support.server import Exchange, FaultServer, OpenServer

from dist_tool.settings import RemoteSettings, Settings

REPOSITORY = "team/app"
BLOB = blob("credentials", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
PASSWORD, TOKEN, HEADER, COOKIE, SIGNATURE = "pass-w0rd", "t0ken-issued", "tenant-s3cret", "c00kie", "s1gnature"
SECRETS = (PASSWORD, TOKEN, HEADER, COOKIE, SIGNATURE, b64encode(f"me:{PASSWORD}".encode()).decode())
NAMES = list(catalogue.failing(BLOB.data, ""))


@pytest.fixture
def settings(tmp_path: Path, server: FaultServer) -> Settings:
    (tmp_path / "config.json").write_text(docker_config({server.host: f"me:{PASSWORD}"}))
    return Settings(environ={"DOCKER_CONFIG": str(tmp_path)})


def _registry(server: FaultServer, step: object) -> faults.TokenServer:
    """A registry that wants a token for a password, and sets a cookie."""
    tokens = faults.TokenServer(server.url("/token"), f"repository:{REPOSITORY}:pull", prefix=TOKEN)
    server.always("GET", "/token", tokens.issue)
    server.always("GET", PATH, tokens.protect(step))  # type: ignore[arg-type]
    for path in (f"/v2/{REPOSITORY}/manifests/{BLOB.digest}", "/v2/"):
        server.always("GET", path, faults.status(404))
    return tokens


def _no_secrets(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_fault_of_the_registry_makes_a_secret_seen(server: FaultServer, settings: Settings, name: str) -> None:
    tokens = _registry(server, catalogue.failing(BLOB.data, server.host)[name].step)
    remote = RemoteSettings(timeout=SHORT, header={"x-tenant": HEADER})
    outcome = fetch(f"{server.host}/{REPOSITORY}", BLOB.digest, remote=remote, settings=settings, attempts=2)
    assert outcome.error is not None
    assert tokens.issued  # so there was something to be seen
    assert server.requests("GET", "/token")[0].header("authorization").startswith("Basic ")
    _no_secrets(outcome.said)


@pytest.mark.parametrize("name", NAMES)
def test_no_fault_of_another_host_makes_it_get_a_secret(
    servers: OpenServer, server: FaultServer, settings: Settings, name: str
) -> None:
    cdn = servers()
    cookie = [("Set-Cookie", f"session={COOKIE}; Path=/")]
    _registry(server, redirect(cdn.url(f"/blob?sig={SIGNATURE}"), headers=cookie))
    fault = catalogue.failing(BLOB.data, cdn.host)[name]
    challenging = [("WWW-Authenticate", 'Basic realm="x"'), ("WWW-Authenticate", f'Bearer realm="{cdn.url("/token")}"')]

    def step(exchange: Exchange) -> None:
        if name == "status 401":
            faults.status(401, headers=challenging)(exchange)
        else:
            fault.step(exchange)

    cdn.always("GET", "/blob", step)
    remote = RemoteSettings(timeout=SHORT, header={"x-tenant": HEADER})
    outcome = fetch(f"{server.host}/{REPOSITORY}", BLOB.digest, remote=remote, settings=settings, attempts=2)
    assert outcome.error is not None
    assert cdn.log
    for request in cdn.log:
        seen = "\n".join(f"{key}: {value}" for key, value in request.headers)
        _no_secrets(seen.replace(SIGNATURE, ""))
        assert [key for key, _ in request.headers if key.lower() in ("authorization", "cookie", "x-tenant")] == []
    _no_secrets(outcome.said)


@pytest.mark.parametrize("code", [400, 401, 403, 500])
def test_a_token_server_that_repeats_what_it_was_sent_is_not_quoted(
    server: FaultServer, settings: Settings, code: int
) -> None:
    tokens = faults.TokenServer(server.url("/token"), f"repository:{REPOSITORY}:pull", prefix=TOKEN)
    echo = faults.registry_error(code, "DENIED", f"user me, password {PASSWORD} is wrong")
    server.always("GET", "/token", echo)
    server.always("GET", PATH, tokens.protect(faults.status(404)))
    outcome = fetch(f"{server.host}/{REPOSITORY}", BLOB.digest, settings=settings, attempts=2)
    assert outcome.error is not None
    _no_secrets(outcome.said)


def test_the_objects_of_a_session_do_not_show_secrets(server: FaultServer, settings: Settings) -> None:
    """A traceback with variables, or a debugger's repr, ends up in bug reports."""
    remote = RemoteSettings(header={"x-tenant": HEADER}, proxy=f"http://me:{PASSWORD}@proxy.test:1")
    _no_secrets(repr(remote))
    _no_secrets(repr(Settings(environ={"TOKEN": TOKEN}, remotes=(remote,))))


def test_no_token_is_asked_for_that_no_request_would_carry(
    servers: OpenServer, server: FaultServer, settings: Settings
) -> None:
    """The third 401 is the last, even where it demands a further scope."""
    cdn = servers()
    cdn.always("GET", "/blob", faults.status(403))
    tokens = _registry(server, faults.status(404))
    first, further = (
        faults.challenge(server.url("/token"), f"repository:{name}:pull") for name in (REPOSITORY, "team/base")
    )
    server.script("GET", PATH, first, redirect(cdn.url("/blob")), further)
    outcome = fetch(f"{server.host}/{REPOSITORY}", BLOB.digest, settings=settings, attempts=1)
    assert outcome.error is not None
    assert len(server.requests("GET", PATH)) == 3
    assert len(tokens.issued) == 1
