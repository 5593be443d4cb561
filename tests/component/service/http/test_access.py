"""Who may read: the token server's challenges and answers, and passwords."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from support.fetching import fetch
from support.processes import Authority
from support.serving import Answer, Sample, ask, connect, read_to_end

from dist_tool.errors import InvalidArgument, LocalFailure, NotFound
from dist_tool.service.http import AccessLogEntry, RegistryServer
from dist_tool.service.http.access import ServerAccount, TokenGate
from dist_tool.service.http.message import RequestRefused, ServerRequest
from dist_tool.settings import Settings

PULL = "repository:demo:pull"
MANIFEST = "/v2/demo/manifests/v1"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def challenge(answer: Answer) -> dict[str, str]:
    """The parameters of a bearer challenge; fails where the answer has another."""
    assert answer.status == 401
    assert answer.codes == ["UNAUTHORIZED"]
    scheme, _, rest = answer.headers["WWW-Authenticate"].partition(" ")
    assert scheme == "Bearer"
    assert re.fullmatch(r'[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*', rest)
    return dict(re.findall(r'([a-z]+)="([^"]*)"', rest))


@pytest.fixture
def guarded(sample: Sample, log: list[AccessLogEntry]) -> Iterator[str]:
    with RegistryServer(sample.path, name="demo", token_auth=True, observe=log.append) as server:
        yield server.address


def token_for(address: str, *scopes: str, headers: dict[str, str] | None = None) -> str:
    query = urlencode([("service", "dist"), *(("scope", scope) for scope in scopes)])
    answer = ask(address, f"/token?{query}", headers=headers)
    assert answer.status == 200
    return str(answer.json()["token"])


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/v2/", None),
        (MANIFEST, PULL),
        ("/v2/demo/tags/list", PULL),
        (f"/v2/library/redis/blobs/sha256:{'0' * 64}", "repository:library/redis:pull"),
        (f"/v2/demo/referrers/sha256:{'0' * 64}", PULL),
        ("/v2/_catalog", "registry:catalog:*"),
        ("/v2/no/such/manifests/v1", "repository:no/such:pull"),
    ],
)
def test_whoever_has_no_token_is_told_where_to_get_which(guarded: str, path: str, scope: str | None) -> None:
    expected = {"realm": f"http://{guarded}/token", "service": "dist"}
    assert challenge(ask(guarded, path)) == (expected | {"scope": scope} if scope else expected)
    assert challenge(ask(guarded, path, headers=basic("a", "b"))) == challenge(ask(guarded, path))


def test_the_realm_has_the_host_that_the_client_asked(guarded: str) -> None:
    found = challenge(ask(guarded, "/v2/", headers={"Host": "registry.test:5000"}))
    assert found["realm"] == "http://registry.test:5000/token"


def test_a_token_opens_what_it_was_given_for(guarded: str, sample: Sample) -> None:
    token = token_for(guarded, PULL)
    assert ask(guarded, MANIFEST, headers=bearer(token)).body == sample.plain.root.data
    assert ask(guarded, "/v2/", headers=bearer(token)).status == 200
    assert ask(guarded, MANIFEST, headers={"Authorization": f"bearer  {token}"}).status == 200
    for path, scope in (
        ("/v2/library/redis/tags/list", "repository:library/redis:pull"),
        ("/v2/_catalog", "registry:catalog:*"),
    ):
        found = challenge(ask(guarded, path, headers=bearer(token)))
        assert (found["error"], found["scope"]) == ("insufficient_scope", scope)


def test_several_scopes_come_in_one_token(guarded: str) -> None:
    wanted = (PULL, "repository:library/redis:pull,push", "registry:catalog:*")
    for scopes in (wanted, (" ".join(wanted),)):
        token = token_for(guarded, *scopes)
        for path in (MANIFEST, "/v2/library/redis/tags/list", "/v2/_catalog"):
            assert ask(guarded, path, headers=bearer(token)).status == 200


def test_what_a_token_answer_has(guarded: str) -> None:
    answer = ask(guarded, f"/token?scope={quote(PULL)}")
    found = answer.json()
    assert found["token"] == found["access_token"]
    assert found["expires_in"] == 300
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["issued_at"])
    assert found["scope"] == PULL
    assert answer.headers["Cache-Control"] == "no-store"
    assert token_for(guarded, PULL) != found["token"]


@pytest.mark.parametrize(
    "scope", ["repository:demo:push", "repository:demo", "demo:pull", "nonsense", "x" * 400 + ":pull", "registry:x:*"]
)
def test_less_than_was_asked_for_may_be_given(guarded: str, scope: str) -> None:
    answer = ask(guarded, f"/token?scope={quote(scope)}")
    assert (answer.status, answer.json()["scope"]) == (200, "")
    assert challenge(ask(guarded, MANIFEST, headers=bearer(answer.json()["token"])))["error"] == "insufficient_scope"


@pytest.mark.parametrize("token", ["", "x", "ü", "AAAA", "A" * 2000, "A" * 2001, "%", "e30="])
def test_a_wrong_token_is_invalid(guarded: str, token: str) -> None:
    header = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    assert challenge(ask(guarded, MANIFEST, headers=header))["error"] == "invalid_token"


def test_any_changed_character_makes_a_token_invalid(guarded: str) -> None:
    token = token_for(guarded, PULL)
    for position in range(0, len(token) - 4, 7):
        changed = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        assert challenge(ask(guarded, MANIFEST, headers=bearer(changed)))["error"] == "invalid_token"


def test_a_token_with_something_added_is_invalid(guarded: str) -> None:
    token = token_for(guarded, PULL)
    for changed in (token + "!", token + "AAAA", " " + token[:5] + " " + token[5:]):
        assert challenge(ask(guarded, MANIFEST, headers=bearer(changed)))["error"] == "invalid_token"


def test_a_token_of_another_server_is_invalid(guarded: str, sample: Sample) -> None:
    with RegistryServer(sample.path, name="demo", token_auth=True) as other:
        token = token_for(other.address, PULL)
    assert challenge(ask(guarded, MANIFEST, headers=bearer(token)))["error"] == "invalid_token"


def gate_request(method: str = "GET", headers: dict[str, str] | None = None) -> ServerRequest:
    return ServerRequest(method, "/token", ("token",), (("scope", PULL),), headers or {"host": "h"}, keep_alive=True)


def test_a_token_ends_when_it_says() -> None:
    now = [1000.0]
    gate = TokenGate("http", 60, clock=lambda: now[0])
    body = gate.token(gate_request()).body
    assert isinstance(body, bytes)
    request = gate_request(headers={"host": "h", "authorization": f"Bearer {json.loads(body)['token']}"})
    now[0] = 1059.9
    gate.check(request, PULL)
    now[0] = 1060.0
    with pytest.raises(RequestRefused) as caught:
        gate.check(request, PULL)
    assert caught.value.status == 401
    assert 'error="invalid_token"' in caught.value.headers["WWW-Authenticate"]


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_a_form_gets_a_token_too(guarded: str) -> None:
    form = {"grant_type": "password", "service": "dist", "client_id": "t", "scope": f"{PULL} registry:catalog:*"}
    answer = ask(guarded, "/token", "POST", FORM, urlencode(form).encode())
    assert answer.status == 200
    for path in (MANIFEST, "/v2/_catalog"):
        assert ask(guarded, path, headers=bearer(answer.json()["access_token"])).status == 200


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (FORM, b"", 400),
        (FORM, b"grant_type=refresh_token&refresh_token=x", 400),
        (FORM, b"grant_type=%ff", 400),
        (FORM, b"\xff", 400),
        (FORM, b"grant_type=password&" + b"a=b&" * 40, 400),
        (FORM, b"grant_type=password&scope=" + b"a" * 70_000, 413),
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({}, b"grant_type=password", 415),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(guarded: str, headers: dict[str, str], body: bytes, status: int) -> None:
    assert ask(guarded, "/token", "POST", headers, body).status == status


def test_the_token_server_takes_no_other_method(guarded: str) -> None:
    answer = ask(guarded, "/token", "DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


@pytest.fixture
def locked(sample: Sample) -> Iterator[str]:
    with RegistryServer(sample.path, name="demo", token_auth=True, user="me", password="sécret:1") as server:
        yield server.address


WRONG = [("me", "wrong"), ("you", "sécret:1"), ("", ""), ("me", ""), ("me", "sécret"), ("me", "sécret:11")]


@pytest.mark.parametrize(("user", "password"), WRONG)
def test_the_token_server_demands_the_password(locked: str, user: str, password: str) -> None:
    form = urlencode({"grant_type": "password", "username": user, "password": password, "scope": PULL}).encode()
    for answer in (
        ask(locked, f"/token?scope={PULL}", headers=basic(user, password)),
        ask(locked, f"/token?scope={PULL}"),
        ask(locked, "/token", "POST", FORM, form),
    ):
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="dist"'


def test_the_right_password_gets_a_token(locked: str, sample: Sample) -> None:
    token = token_for(locked, PULL, headers=basic("me", "sécret:1"))
    assert ask(locked, MANIFEST, headers=bearer(token)).body == sample.plain.root.data
    form = urlencode({"grant_type": "password", "username": "me", "password": "sécret:1", "scope": PULL}).encode()
    answer = ask(locked, "/token", "POST", FORM, form)
    assert ask(locked, MANIFEST, headers=bearer(answer.json()["token"])).status == 200


def test_the_password_alone_is_no_token(locked: str) -> None:
    assert "error" not in challenge(ask(locked, MANIFEST, headers=basic("me", "sécret:1")))


@pytest.mark.parametrize(
    "header",
    [{}, *(basic(*pair) for pair in WRONG), {"Authorization": "Basic !"}, {"Authorization": "Basic bWU="}, bearer("x")],
)
def test_basic_demands_the_password_with_every_request(sample: Sample, header: dict[str, str]) -> None:
    with RegistryServer(sample.path, name="demo", user="me", password="sécret:1") as server:
        for path in ("/v2/", MANIFEST, "/v2/_catalog", "/v2/demo/tags/list"):
            answer = ask(server.address, path, headers=header)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="dist"'
            assert ask(server.address, path, headers=basic("me", "sécret:1")).status == 200


def test_a_password_need_not_be_utf_8(sample: Sample) -> None:
    password = b"p\xe4ss"  # as an environment in Latin-1 has it
    header = {"Authorization": "Basic " + base64.b64encode(b"me:" + password).decode()}
    with RegistryServer(sample.path, name="demo", user="me", password=os.fsdecode(password)) as server:
        assert ask(server.address, MANIFEST, headers=header).status == 200
        assert ask(server.address, MANIFEST, headers=basic("me", "pass")).status == 401


def test_secrets_are_in_no_repr(sample: Sample) -> None:
    with RegistryServer(sample.path, user="me", password="hunter2", token_auth=True) as server:
        assert "hunter2" not in repr(server)
    gate = TokenGate("http", 60, ServerAccount("me", "hunter2"))
    assert "hunter2" not in repr(gate)
    assert repr(gate.key) not in repr(gate)


@pytest.mark.parametrize(
    "settings",
    [
        {"user": "me"},
        {"user": "a:b", "password": "x"},
        {"name": "Upper"},
        {"token_auth": True, "token_ttl_s": 0},
        {"tls": ("/nonexistent/cert.pem", "/nonexistent/key.pem")},
        {"host": "no.such.host.invalid"},
    ],
)
def test_settings_that_make_no_sense_are_refused(sample: Sample, settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument), RegistryServer(sample.path, **settings):  # type: ignore[arg-type]
        pass


def test_an_address_in_use_is_a_local_failure(sample: Sample, address: str) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(LocalFailure, match=f"port {port}") as caught, RegistryServer(sample.path, port=port):
        pass
    assert caught.value.hint


def test_an_absent_layout_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound), RegistryServer(tmp_path / "absent"):
        pass


def test_tls_serves_small_and_large_bodies_and_names_https_in_the_realm(sample: Sample, authority: Authority) -> None:
    import http.client

    certificate, key = authority.issue("our own registry")
    with RegistryServer(sample.path, name="demo", token_auth=True, tls=(str(certificate), str(key))) as server:
        context = ssl.create_default_context(cafile=str(authority.ca))
        connection = http.client.HTTPSConnection("localhost", int(server.address.rpartition(":")[2]), context=context)
        try:
            connection.request("GET", f"/token?scope={PULL}")
            token = json.loads(connection.getresponse().read())["token"]
            for content in (sample.large, sample.plain.root):
                connection.request("GET", f"/v2/demo/blobs/{content.digest}", headers=bearer(token))
                assert connection.getresponse().read() == content.data
            connection.request("GET", "/v2/")
            response = connection.getresponse()
            response.read()
            assert 'realm="https://localhost:' in response.headers["WWW-Authenticate"]
        finally:
            connection.close()
        # Whoever speaks neither TLS nor http harms nobody but himself.
        with connect(server.address) as sock:
            sock.sendall(b"hello\r\n" * 3)
            assert not read_to_end(sock).startswith(b"HTTP")


def test_who_speaks_plain_http_to_tls_is_told_so_and_clients_that_guess_try_again(
    sample: Sample, authority: Authority
) -> None:
    certificate, key = authority.issue("our own registry")
    with RegistryServer(sample.path, name="demo", tls=(str(certificate), str(key))) as server:
        answer = ask(server.address, "/v2/")
        assert (answer.status, answer.body) == (400, b"this server requires https\n")
        trusting = Settings(environ={"SSL_CERT_FILE": str(authority.ca)})
        fetched = fetch(f"{server.address}/demo", sample.large.digest, settings=trusting)
        assert (fetched.error, fetched.data) == (None, sample.large.data)
