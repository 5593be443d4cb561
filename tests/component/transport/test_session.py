"""One exchange at a time: connections, redirects, and what goes to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from support import faults
from support.http_session import HOME, session
from support.processes import Authority
from support.server import FaultServer, OpenServer, closed_port

from dist_tool.errors import DistError, NotHttp, ProtocolError, Unavailable
from dist_tool.settings import Redirects, Timeouts, Tls
from dist_tool.transport.session import HttpSession, Request
from dist_tool.transport.tls import tls_context


def _home(server: FaultServer, **remote: Any) -> HttpSession:
    return session(server.url(), **remote)


def test_one_connection_serves_request_after_request(server: FaultServer) -> None:
    """Also after a HEAD, an error with a body, a chunked body and a redirect."""
    data = bytes(100_000)
    server.always("GET", "/a", faults.content(data))
    server.always("HEAD", "/a", faults.content(data))
    server.always("GET", "/chunked", faults.content(data).but(framing="chunked"))
    server.always("HEAD", "/chunked", faults.content(data).but(framing="chunked"))
    server.always("GET", "/empty", faults.content(b""))
    server.always("GET", "/moved", faults.redirect("/a").but(body=b"moved"))
    server.always("GET", "/missing", faults.registry_error(404, "BLOB_UNKNOWN"))
    one = _home(server)
    for method, path in [
        ("HEAD", "/a"),
        ("GET", "/a"),
        ("HEAD", "/chunked"),
        ("GET", "/chunked"),
        ("GET", "/empty"),
        ("GET", "/missing"),
        ("GET", "/moved"),
        ("GET", "/a"),
    ]:
        reply = one.follow(Request(method, server.url(path)))
        body = reply.read(len(data))
        assert body == (data if method == "GET" and path in ("/a", "/chunked", "/moved") else body)
    one.close()
    assert server.connections == 1


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [100, 102, 103, 110, 199])
def test_interim_answers_are_skipped(server: FaultServer, method: str, status: int) -> None:
    interim = b"HTTP/1.1 %d Wait\r\nLink: </style>; rel=preload\r\nContent-Length: 9\r\n\r\n" % status
    body = b"" if method == "HEAD" else b"true"
    server.always(method, "/a", faults.raw(interim, interim * 2 + OK + body))
    one = _home(server)
    for _ in range(3):
        reply = one.send(Request(method, server.url("/a")))
        assert (reply.status, reply.headers.get("Link"), reply.read(9)) == (200, None, body)
    one.close()
    assert server.connections == 1


def test_interim_answers_end_with_the_time_for_headers(server: FaultServer) -> None:
    def endless(exchange: faults.Exchange) -> None:
        while exchange.wait(0.02):
            exchange.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    server.script("GET", "/a", endless)
    one = _home(server, timeout=Timeouts(headers_s=0.1, idle_s=5))
    with pytest.raises(Unavailable, match=r"no response within 0\.1 s"):
        one.send(Request("GET", server.url("/a")))
    one.close()


def test_a_change_of_protocol_is_an_error(server: FaultServer) -> None:
    server.script("GET", "/a", faults.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"))
    one = _home(server)
    with pytest.raises(ProtocolError, match="unexpected status 101"):
        one.send(Request("GET", server.url("/a")))
    one.close()


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_connection_ends_with_a_status_that_is_often_followed_by_a_stray_body(
    server: FaultServer, status: int
) -> None:
    stray = b"HTTP/1.1 %d Nothing\r\nContent-Length: 0\r\n\r\n" % status
    server.script("GET", "/a", faults.raw(stray, OK + b"evil"))
    server.script("GET", "/b", faults.raw(OK + b"good"))
    one = _home(server)
    one.send(Request("GET", server.url("/a"))).close()
    assert one.send(Request("GET", server.url("/b"))).read(9) == b"good"
    one.close()
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"true" + OK + b"evil",
        OK + b"true\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n<html>",
        OK + b"trueH",
    ],
)
def test_a_connection_with_bytes_beyond_the_body_is_not_kept(server: FaultServer, answer: bytes) -> None:
    server.script("GET", "/a", faults.raw(answer))
    server.script("GET", "/b", faults.raw(OK + b"good"))
    one = _home(server)
    one.send(Request("GET", server.url("/a"))).read(9)
    assert one.send(Request("GET", server.url("/b"))).read(9) == b"good"
    one.close()
    assert server.connections == 2


@pytest.mark.parametrize(
    "late", [b"<html>moved</html>", b"HTTP", b"HTTP/1.1 103 Early Hints\r\n", b"\x15\x03\x01\0\x02"]
)
def test_late_bytes_of_an_earlier_answer_cost_one_more_try(server: FaultServer, late: bytes) -> None:
    """They come after the next request was sent, when the connection looked idle."""
    server.script("GET", "/a", faults.raw(OK + b"true"))
    server.script("GET", "/b", faults.raw(late + OK + b"evil"), faults.raw(OK + b"good"))
    one = _home(server)
    one.send(Request("GET", server.url("/a"))).read(9)
    assert one.send(Request("GET", server.url("/b"))).read(9) == b"good"
    one.close()
    assert [request.connection for request in server.log] == [1, 1, 2]


def test_late_bytes_on_a_fresh_connection_are_an_error_and_a_form_is_sent_once(server: FaultServer) -> None:
    server.script("GET", "/a", faults.not_http)
    server.script("GET", "/b", faults.raw(OK + b"true"))
    server.script("POST", "/c", faults.not_http)
    one = _home(server)
    with pytest.raises(NotHttp):
        one.send(Request("GET", server.url("/a")))
    one.send(Request("GET", server.url("/b"))).read(9)
    with pytest.raises(NotHttp):
        one.send(Request("POST", server.url("/c"), form={"a": "b"}))
    one.close()
    assert len(server.log) == 3


def test_late_bytes_behind_a_proxy_cost_one_more_tunnel(servers: OpenServer, authority: Authority) -> None:
    def tunnel(exchange: faults.Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        exchange.relay(("127.0.0.1", target.port))

    target, proxy = servers(tls=authority.server_context()), servers()
    proxy.always("CONNECT", f"registry.test:{target.port}", tunnel)
    target.script("GET", "/a", faults.raw(OK + b"true"))
    target.script("GET", "/b", faults.raw(b"<late>" + OK + b"evil"), faults.raw(OK + b"good"))
    home = f"https://registry.test:{target.port}"
    one = session(home, proxy=proxy.url(), tls=Tls(ca=(authority.ca,)))
    assert [one.send(Request("GET", f"{home}/{name}")).read(9) for name in "ab"] == [b"true", b"good"]
    one.close()
    assert len(proxy.log) == 2


def test_a_body_that_nobody_reads_costs_its_connection_and_nothing_more(server: FaultServer) -> None:
    server.always("GET", "/a", faults.content(bytes(1 << 20)))
    one = _home(server)
    for _ in range(2):
        one.send(Request("GET", server.url("/a"))).close()
    one.close()
    assert server.connections == 2


def test_a_connection_that_the_server_closed_is_replaced(server: FaultServer) -> None:
    server.always("GET", "/a", faults.content(b"x").but(framing="close"))
    one = _home(server)
    assert [one.send(Request("GET", server.url("/a"))).read(9) for _ in range(3)] == [b"x"] * 3
    one.close()
    assert server.connections == 3


@pytest.mark.parametrize("framing", ["length", "chunked", "close", "http10"])
def test_a_body_is_read_raw_up_to_a_limit_and_one_byte(server: FaultServer, framing: str) -> None:
    server.always("GET", "/a", faults.labelled(bytes(3000), "gzip").but(framing=framing))
    one = _home(server)
    assert one.send(Request("GET", server.url("/a"))).read(3000) == bytes(3000)
    assert one.send(Request("GET", server.url("/a"))).read(2999) == bytes(3000)
    assert one.send(Request("GET", server.url("/a"))).read(10) == bytes(11)
    one.close()


def test_silence_ends_after_the_time_that_is_set(server: FaultServer) -> None:
    server.script("GET", "/a", faults.silent)
    one = _home(server, timeout=Timeouts(headers_s=0.1, idle_s=0.1))
    with pytest.raises(Unavailable, match=r"no data received for 0\.1 s|no response within 0\.1 s"):
        one.send(Request("GET", server.url("/a")))
    one.close()


def test_threads_share_trust_and_the_connections_to_other_hosts(
    servers: OpenServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, cdn = servers(), servers(tls=authority.server_context())
    home.always("GET", "/a", faults.redirect(cdn.url("/b", name="cdn.test")))
    cdn.always("GET", "/b", faults.content(b"x"))
    together = Barrier(2)

    def made_alone(*args: Any) -> Any:
        with pytest.raises(BrokenBarrierError):  # nobody else comes in here
            together.wait(0.1)
        return tls_context(*args)

    monkeypatch.setattr("dist_tool.transport.session.tls_context", made_alone)
    one = _home(home, tls=Tls(ca=(authority.ca,)), redirect=Redirects(allow_private=True))
    with ThreadPoolExecutor(2) as threads:
        bodies = list(threads.map(lambda _: one.follow(Request("GET", home.url("/a"))).read(9), range(2)))
    one.close()
    assert bodies == [b"x", b"x"]


def test_a_proxy_gets_requests_in_absolute_form_and_the_password_that_is_its_own(server: FaultServer) -> None:
    server.script("GET", "http://registry.test/v2/", faults.content(b"x"))
    proxied = session("http://registry.test", proxy=f"http://me:p%40ss@{server.host}")
    assert proxied.send(Request("GET", "http://registry.test/v2/")).read(9) == b"x"
    proxied.close()
    assert server.log[0].header("proxy-authorization") == "Basic bWU6cEBzcw=="


def test_a_proxy_keeps_time_as_well(server: FaultServer) -> None:
    server.script("GET", "http://registry.test/v2/", faults.silent)
    proxied = session("http://registry.test", proxy=server.url(), timeout=Timeouts(headers_s=0.1, idle_s=0.1))
    with pytest.raises(Unavailable, match=r"no response within|no data received"):
        proxied.send(Request("GET", "http://registry.test/v2/"))
    proxied.close()


@pytest.mark.parametrize(
    ("status", "again", "said"),
    [
        (407, False, "the proxy refuses: 407 Proxy Authentication Required: put user and password into the proxy URL"),
        (403, False, "the proxy refuses: 403 Forbidden"),
        (503, True, "the proxy refuses: 503 Service Unavailable"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_named_as_the_culprit(
    status: int, again: bool, said: str, server: FaultServer
) -> None:
    server.script("CONNECT", "registry.test:443", faults.status(status))
    proxied = session(environ={"HTTPS_PROXY": server.url()})
    with pytest.raises(Unavailable) as caught:
        proxied.send(Request("GET", f"{HOME}/v2/"))
    proxied.close()
    assert (caught.value.exit_code, caught.value.retryable) == (6, again)
    assert str(caught.value) == f"registry.test: {said}"


@pytest.mark.parametrize(
    ("host", "again", "said"),
    [
        ("127.0.0.1", True, "cannot connect to the proxy: connection refused"),
        ("proxy.invalid", False, "the name of the proxy does not resolve"),
    ],
)
def test_a_proxy_that_is_not_there_is_told_from_a_registry_that_is_not(host: str, again: bool, said: str) -> None:
    proxied = session(proxy=f"http://{host}:{closed_port()}")
    with pytest.raises(Unavailable) as caught:
        proxied.send(Request("GET", f"{HOME}/v2/"))
    proxied.close()
    assert (str(caught.value), caught.value.retryable) == (f"registry.test: {said}", again)


def test_a_client_certificate_and_skipped_verification_end_at_the_remotes_own_origin(
    servers: OpenServer, authority: Authority
) -> None:
    """GHSA-h3wm-jjqf-8jm2: a client certificate offered to every host."""
    asking = authority.server_context(ask_client=True)
    home, cdn = servers(tls=asking), servers(tls=asking)
    home.script("GET", "/a", faults.redirect(cdn.url("/b", name="cdn.test")))
    cdn.script("GET", "/b", faults.content(b"x"))
    own = Tls(ca=(authority.ca,), client=(authority.issue("client of the tests"),))
    one = _home(home, tls=own, redirect=Redirects(allow_private=True))
    assert one.follow(Request("GET", home.url("/a"))).read(9) == b"x"
    one.close()
    assert [r.certificate for r in (*home.log, *cdn.log)] == ["client of the tests", ""]

    home.script("GET", "/c", faults.content(b"y"))
    cdn.script("GET", "/b", faults.redirect(home.url("/c")))
    one = _home(home, tls=own, redirect=Redirects(allow_private=True))
    assert one.follow(Request("GET", cdn.url("/b", name="cdn.test")), foreign=True).read(9) == b"y"
    one.close()
    assert home.log[-1].certificate == ""

    home.script("GET", "/a", faults.redirect(cdn.url("/b", name="cdn.test")))
    one = _home(home, tls=replace(own, ca=(), skip_verify=True))
    with pytest.raises(DistError, match=r"cdn\.test:[0-9]+: the TLS certificate is not trusted"):
        one.follow(Request("GET", home.url("/a")))
    one.close()
