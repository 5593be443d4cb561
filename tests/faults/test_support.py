"""The fault server and the process fixtures do what the other tests rely on."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support import content, faults
from support.processes import Authority, Registry, require_program, run_program
from support.server import FaultServer, OpenServer


def _get(server: FaultServer, path: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), response.msg
    finally:
        connection.close()


def test_a_request_that_is_not_in_the_script_is_a_complaint() -> None:
    with pytest.raises(AssertionError, match="not in the script: GET /nothing"), FaultServer() as server:
        assert _get(server, "/nothing")[0] == 400


def test_a_step_that_is_never_used_is_a_complaint() -> None:
    with pytest.raises(AssertionError, match="never asked for: GET /something"), FaultServer() as server:
        server.script("GET", "/something", faults.content(b"x"))


def test_a_script_that_raises_is_a_complaint() -> None:
    def broken(exchange: object) -> None:
        raise ValueError("no such thing")

    server = FaultServer()
    server.script("GET", "/", broken)
    with pytest.raises((http.client.HTTPException, OSError)):
        _get(server, "/")
    server.close()
    assert server.complaints() == ["the script failed: ValueError('no such thing')"]


def test_a_client_that_takes_an_endless_body_is_a_complaint() -> None:
    server = FaultServer()
    server.script("GET", "/", faults.endless_body(piece=b"x" * 1000, most=5000))
    assert len(_get(server, "/")[1]) == 5000
    server.close()
    assert server.complaints() == ["GET /: the client took 5000 bytes and wants more"]


def test_steps_go_once_and_in_order_and_then_comes_what_is_for_always(server: FaultServer) -> None:
    server.always("GET", "/x", faults.content(b"rest"))
    server.script("GET", "/x", faults.content(b"first"), faults.status(503))
    assert [_get(server, "/x")[:2] for _ in range(4)] == [(200, b"first"), (503, b""), (200, b"rest"), (200, b"rest")]
    assert [str(request) for request in server.log] == ["GET /x"] * 4


def test_content_honours_a_range(server: FaultServer) -> None:
    server.always("GET", "/x", faults.content(b"0123456789"))
    status, body, headers = _get(server, "/x", Range="bytes=4-")
    assert (status, body, headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
    status, body, headers = _get(server, "/x", Range="bytes=10-")
    assert (status, body, headers["Content-Range"]) == (416, b"", "bytes */10")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_cut_with_known_framing_is_seen_by_the_client(server: FaultServer, framing: str) -> None:
    server.script("GET", "/x", faults.cut(b"0123456789", 4, framing))
    with pytest.raises(http.client.IncompleteRead):
        _get(server, "/x")


@pytest.mark.parametrize("framing", ["close", "http10"])
def test_a_cut_without_framing_cannot_be_seen(server: FaultServer, framing: str) -> None:
    server.script("GET", "/x", faults.cut(b"0123456789", 4, framing))
    assert _get(server, "/x")[1] == b"0123"


def test_a_reset_is_a_reset(server: FaultServer) -> None:
    server.script("GET", "/x", faults.reset)
    with pytest.raises(ConnectionResetError):
        _get(server, "/x")


def test_silence_ends_with_the_server() -> None:
    server = FaultServer()
    server.script("GET", "/x", faults.silent)
    client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    with client:
        client.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        while not server.log:
            assert not server.closing.wait(0.001)
        server.close()
        assert client.recv(1) == b""


def test_a_token_is_good_for_as_many_uses_as_were_said(server: FaultServer) -> None:
    tokens = faults.TokenServer(server.url("/token"), "repository:x:pull", uses=1)
    server.always("GET", "/token", tokens.issue)
    server.always("GET", "/x", tokens.protect(faults.content(b"secret")))
    status, _, headers = _get(server, "/x")
    assert status == 401
    assert headers["WWW-Authenticate"].startswith(f'Bearer realm="{server.url("/token")}"')
    assert b"token-of-the-test-1" in _get(server, "/token")[1]
    bearer = {"Authorization": "Bearer token-of-the-test-1"}
    assert [_get(server, "/x", **bearer)[0] for _ in range(2)] == [200, 401]


def test_names_under_test_are_this_machine_and_may_have_tls(servers: OpenServer, authority: Authority) -> None:
    server = servers(tls=authority.server_context())
    server.always("GET", "/x", faults.content(b"hello"))
    context = ssl.create_default_context(cafile=authority.ca)
    with urllib.request.urlopen(server.url("/x", name="registry.test"), context=context) as response:
        assert response.read() == b"hello"


def test_other_names_and_addresses_are_out_of_reach() -> None:
    with pytest.raises(pytest.fail.Exception, match="looked up"):
        socket.create_connection(("registry.example", 443))
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match="connected to"):
        client.connect(("192.0.2.1", 443))
    with pytest.raises(socket.gaierror):
        socket.create_connection(("registry.invalid", 443))


def test_a_missing_program_is_a_skip_and_under_ci_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        require_program("no-such-program-anywhere")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        require_program("no-such-program-anywhere")


def test_the_registries_run_and_ask_for_what_they_should(
    registry: Registry, locked_registry: Registry, tls_registry: Registry
) -> None:
    def status(running: Registry, password: str = "") -> int:
        basic = base64.b64encode(f"{running.user}:{password}".encode()).decode()
        request = urllib.request.Request(f"{running.url}/v2/", headers={"Authorization": f"Basic {basic}"})
        context = ssl.create_default_context(cafile=running.ca) if running.ca else None
        try:
            with urllib.request.urlopen(request, context=context) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert status(registry) == 200
    assert [status(locked_registry, password) for password in ("", locked_registry.password)] == [401, 200]
    assert [status(tls_registry, password) for password in ("", tls_registry.password)] == [401, 200]


def test_layouts_that_are_written_are_read_by_others(tmp_path: Path) -> None:
    images = {"one": content.image(1), "two": content.image(2)}
    layout = content.write_layout(tmp_path / "layout", {**images, "both": content.index(*images.values())})
    raw = run_program("skopeo", "inspect", "--raw", f"oci:{layout}:one")
    assert raw == images["one"].manifest.data
    run_program("skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:two", f"dir:{tmp_path}/copied")


def test_content_is_the_same_for_the_same_seed() -> None:
    assert content.image("a").manifest == content.image("a").manifest
    assert content.image("a").manifest != content.image("b").manifest
    assert len(content.blob(7, 1000, "sha512").digest.encoded) == 128
