"""Over all faults of another host: no secret of ours reaches it, and none is shown (docs/security.md 5).

The faults of the remote's own host are in `test_messages`. Over every kind that speaks HTTP: a registry is shown a
token for a password, a web server the password, a bucket a signature with a session token. Token servers and scopes
are of registries only.
"""

from __future__ import annotations

from base64 import b64encode

import pytest
from support import catalogue, faults
from support.content import blob
from support.faults import blob_path, redirect
from support.fetching import SHORT, fetch
from support.kinds import PASSWORD, REGISTRY, REPOSITORY, TOKEN, Kind, login
from support.server import FaultServer, OpenServer, Step

from dist_tool.remotes.paths.sigv4 import Keys
from dist_tool.settings import Endpoint, Settings

BLOB = blob("credentials", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
HEADER, COOKIE, SIGNATURE = "tenant-s3cret", "c00kie", "s1gnature"
SECRETS = (PASSWORD, TOKEN, HEADER, COOKIE, SIGNATURE, b64encode(f"me:{PASSWORD}".encode()).decode())
OURS = {"authorization", "cookie", "x-tenant", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"}
NAMES = list(catalogue.failing(BLOB.data, ""))


def _serve(kind: Kind, server: FaultServer, step: Step) -> None:
    """`step` for whoever proves who he is, and nothing elsewhere."""
    server.always("GET", PATH, kind.lock(server, step))
    for path in (f"/v2/{REPOSITORY}/manifests/{BLOB.digest}", "/v2/"):
        server.always("GET", path, faults.status(404))


def _proofs(server: FaultServer) -> list[str]:
    return [proof for request in server.requests("GET", PATH) if (proof := request.header("authorization"))]


def _no_secrets(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_fault_of_another_host_reveals_a_secret(kind: Kind, servers: OpenServer, name: str) -> None:
    front, cdn = servers(), servers()
    cookie = [("Set-Cookie", f"session={COOKIE}; Path=/")]
    _serve(kind, front, redirect(cdn.url(f"/blob?sig={SIGNATURE}"), headers=cookie))
    fault = catalogue.failing(BLOB.data, cdn.host)[name]
    challenging = [("WWW-Authenticate", 'Basic realm="x"'), ("WWW-Authenticate", f'Bearer realm="{cdn.url("/token")}"')]
    cdn.always("GET", "/blob", faults.status(401, headers=challenging) if name == "status 401" else fault.step)
    remote = Endpoint(timeout=SHORT, header={"x-tenant": HEADER})
    place, settings = kind.at(front), login(front.host, cdn.host)
    outcome = fetch(place, BLOB.digest, remote=remote, settings=settings, attempts=fault.attempts)
    assert outcome.error is not None
    assert _proofs(front)
    assert cdn.log
    for request in cdn.log:
        seen = "\n".join(f"{key}: {value}" for key, value in request.headers)
        _no_secrets(seen.replace(SIGNATURE, ""))
        assert not {key.lower() for key, _ in request.headers} & OURS
    _no_secrets(outcome.said)


@pytest.mark.parametrize("code", [400, 401, 403, 500])
def test_a_token_server_that_repeats_what_it_was_sent_is_not_quoted(server: FaultServer, code: int) -> None:
    tokens = faults.TokenServer(server.url("/token"), f"repository:{REPOSITORY}:pull", prefix=TOKEN)
    echo = faults.registry_error(code, "DENIED", f"user me, password {PASSWORD} is wrong")
    server.always("GET", "/token", echo)
    server.always("GET", PATH, tokens.protect(faults.status(404)))
    outcome = fetch(REGISTRY.at(server), BLOB.digest, settings=login(server.host), attempts=2)
    assert outcome.error is not None
    _no_secrets(outcome.said)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 500])
def test_a_server_that_repeats_what_it_was_sent_is_not_quoted(kind: Kind, server: FaultServer, code: int) -> None:
    """As proxies do that explain what they did not like. What else it says is worth hearing."""

    _serve(kind, server, _repeating(kind, code))
    remote = Endpoint(header={"x-tenant": HEADER})
    outcome = fetch(kind.at(server), BLOB.digest, remote=remote, settings=login(server.host), attempts=2)
    assert outcome.error is not None
    assert _proofs(server)
    _no_secrets(outcome.said)
    if code != 500:  # of which S3's code says all that is shown
        assert {"***", "identity"} <= set(str(outcome.error).split())


def test_a_signed_url_that_is_repeated_is_not_quoted(kind: Kind, server: FaultServer) -> None:
    server.always("GET", PATH, redirect(f"/blob?sig={SIGNATURE}"))
    server.always("GET", "/blob", _repeating(kind, 403))
    outcome = fetch(kind.at(server), BLOB.digest, attempts=2)
    assert "/blob?sig=***" in str(outcome.error)
    _no_secrets(outcome.said)


def test_a_proxy_that_repeats_what_it_was_sent_is_not_quoted(kind: Kind, server: FaultServer) -> None:
    server.always("GET", f"http://registry.invalid{PATH}", _repeating(kind, 403))
    remote = Endpoint(plain_http=True, proxy=f"http://me:{PASSWORD}@{server.host}")
    outcome = fetch(kind.at(server, "registry.invalid"), BLOB.digest, remote=remote, attempts=2)
    assert server.log[0].header("proxy-authorization").startswith("Basic ")
    assert {"***", "identity"} <= set(str(outcome.error).split())
    _no_secrets(outcome.said)


def _repeating(kind: Kind, code: int) -> Step:
    def said(request: str) -> faults.Answer:
        if kind.name == "s3":
            return faults.s3_error(code, "AccessDenied", f"not with {request}")
        return faults.registry_error(code, "ODD", f"not with {request}")

    return faults.repeating(said)


def test_the_objects_of_a_session_do_not_show_secrets() -> None:
    """A traceback with variables, or a debugger's repr, ends up in bug reports."""
    remote = Endpoint(header={"x-tenant": HEADER}, proxy=f"http://me:{PASSWORD}@proxy.test:1")
    _no_secrets(repr(remote))
    _no_secrets(repr(Keys("AKIATEST", PASSWORD, TOKEN)))
    _no_secrets(repr(Settings(environ={"TOKEN": TOKEN}, routes=(remote,))))


def test_no_token_is_asked_for_that_no_request_would_carry(servers: OpenServer) -> None:
    """The third 401 is the last, even where it demands a further scope."""
    server, cdn = servers(), servers()
    cdn.always("GET", "/blob", faults.status(403))
    _serve(REGISTRY, server, faults.status(404))
    first, further = (
        faults.challenge(server.url("/token"), f"repository:{name}:pull") for name in (REPOSITORY, "team/base")
    )
    server.script("GET", PATH, first, redirect(cdn.url("/blob")), further)
    outcome = fetch(REGISTRY.at(server), BLOB.digest, settings=login(server.host), attempts=1)
    assert outcome.error is not None
    assert len(server.requests("GET", PATH)) == 3
    assert len(server.requests("GET", "/token")) == 1
