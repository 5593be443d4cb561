"""Which scheme a server on loopback gets: http is a guess there, and a server of TLS may end it in several ways."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support import faults
from support.content import blob
from support.faults import blob_path, content
from support.fetching import fetch
from support.kinds import KINDS, REPOSITORY, Kind
from support.processes import Authority
from support.server import Exchange, OpenServer

from dist_tool.admin.login import login
from dist_tool.auth.credential_file import Credentials
from dist_tool.settings import Endpoint, Route, Settings, Timeouts, Tls
from dist_tool.stream.retry import Retry

BLOB = blob("scheme", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
ALERT = b"\x15\x03\x01\x00\x02\x02\x28"


def _plain(connection: socket.socket) -> socket.socket:
    return socket.socket(fileno=os.dup(connection.fileno()))


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _close(connection: socket.socket) -> None:
    with _plain(connection) as plain:
        plain.recv(65536)


def _alert(connection: socket.socket) -> None:
    with _plain(connection) as plain:
        plain.recv(65536)
        plain.sendall(ALERT)


def _alert_and_silence(connection: socket.socket) -> None:
    _alert(connection)
    with _plain(connection) as plain:
        plain.recv(65536)


def _bad_request(connection: socket.socket) -> None:
    with _plain(connection) as plain:
        plain.recv(65536)
        plain.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")


@pytest.fixture(params=["registry", "http"])
def guessing(request: pytest.FixtureRequest) -> Kind:
    """Each kind that guesses http on loopback and may change its mind."""
    return KINDS[request.param]


@pytest.mark.parametrize("ending", [_reset, _close, _alert, _alert_and_silence, _bad_request])
def test_a_loopback_server_of_tls_gets_tls(
    guessing: Kind, servers: OpenServer, authority: Authority, ending: Callable[[socket.socket], None]
) -> None:
    server = servers(tls=authority.server_context(), to_plain=ending)
    server.always("GET", PATH, content(BLOB.data))
    remote = Endpoint(tls=Tls(skip_verify=True), timeout=Timeouts(headers_s=5, idle_s=5))
    outcome = fetch(guessing.at(server), BLOB.digest, remote=remote)
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert (outcome.waits, server.connections) == ([], 2)


@pytest.mark.parametrize("ending", [_reset, _close, _alert, _bad_request])
def test_login_to_a_loopback_server_of_tls_uses_tls(
    servers: OpenServer, authority: Authority, ending: Callable[[socket.socket], None], tmp_path: Path
) -> None:
    server = servers(tls=authority.server_context(), to_plain=ending)
    server.always("GET", "/v2/", _basic_challenge)
    remote = Endpoint(tls=Tls(skip_verify=True), retry=Retry(attempts=1))
    file = tmp_path / "auth.json"
    settings = Settings(routes=(Route(server.host, (remote,)),), environ={"HOME": str(tmp_path)})
    done = login(server.host, Credentials("user", "secret"), settings, file=str(file))
    assert done.verified
    assert list(json.loads(file.read_text())["auths"]) == [server.host]


def _basic_challenge(exchange: Exchange) -> None:
    if exchange.request.header("authorization"):
        content(b"{}")(exchange)
    else:
        faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])(exchange)


def test_s3_on_loopback_with_a_certificate_authority_uses_tls(
    servers: OpenServer, authority: Authority, tmp_path: Path
) -> None:
    server = servers(tls=authority.server_context(), to_plain=_reset)
    server.always("GET", f"/bucket/{BLOB.digest.algorithm}/{BLOB.digest.encoded}", content(BLOB.data))
    remote = Endpoint(tls=Tls(ca=(str(authority.ca),)))
    outcome = fetch(f"s3::bucket@{server.host}", BLOB.digest, remote=remote)
    assert (outcome.data, outcome.error) == (BLOB.data, None)


def test_a_certificate_that_is_not_trusted_is_the_error(
    guessing: Kind, servers: OpenServer, authority: Authority
) -> None:
    server = servers(tls=authority.server_context(), to_plain=_reset)
    outcome = fetch(guessing.at(server), BLOB.digest)
    assert outcome.code == 6
    assert "certificate is not trusted" in outcome.said
    assert outcome.waits == []


def test_an_error_by_tls_is_an_answer(guessing: Kind, servers: OpenServer, authority: Authority) -> None:
    server = servers(tls=authority.server_context(), to_plain=_reset)
    server.always("GET", PATH, faults.status(400))
    outcome = fetch(guessing.at(server), BLOB.digest, remote=Endpoint(tls=Tls(skip_verify=True)))
    assert outcome.code == 7
    assert len(server.requests("GET", PATH)) == 1


@pytest.mark.parametrize("ending", [faults.reset, faults.hang_up])
def test_a_server_of_http_that_ends_a_connection_is_tried_again(
    guessing: Kind, servers: OpenServer, ending: faults.Step
) -> None:
    server = servers()
    server.script("GET", PATH, ending, ending, content(BLOB.data))
    outcome = fetch(guessing.at(server), BLOB.digest)
    assert (outcome.data, len(outcome.waits)) == (BLOB.data, 2)
    assert server.connections == 4  # one of them was a question for TLS


def test_after_an_answer_http_is_no_guess(guessing: Kind, servers: OpenServer) -> None:
    server = servers()
    half = faults.cut(BLOB.data, 100)
    server.script("GET", PATH, half, faults.reset, content(BLOB.data))
    assert fetch(guessing.at(server), BLOB.digest).data == BLOB.data
    assert server.connections == 3
