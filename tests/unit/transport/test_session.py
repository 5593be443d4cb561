"""One exchange at a time: connections, redirects, and what goes to whom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
import responses
from support import faults
from support.processes import Authority
from support.server import FaultServer, OpenServer, closed_port

from dist_tool.context import Context
from dist_tool.errors import DeadlineExceeded, DistError, NotHttp, PolicyRefused, ProtocolError, Unavailable
from dist_tool.names.origin import Origin
from dist_tool.run import Notice, Run
from dist_tool.settings import Endpoint, Redirects, Settings, Timeouts, Tls
from dist_tool.transport.session import HttpSession, Request, check_redirect
from dist_tool.transport.tls import tls_context

HOME = "https://registry.test"
SECRETS = {"Authorization": "Bearer t", "X-Secret": "s", "Cookie": "c=1"}
HARMLESS = {"Accept": "a/b", "Range": "bytes=5-", "If-Range": '"x"'}


def session(home: str = HOME, *, environ: dict[str, str] | None = None, **remote: Any) -> HttpSession:
    notices: list[Notice] = []
    settings = Settings(environ=environ or {})
    made = HttpSession(Origin.of(home), Context(Endpoint(**remote), settings, Run(notices.append)))
    made.notices = notices  # type: ignore[attr-defined]
    return made


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=True) as mock:
        yield mock


def _answer(mock: responses.RequestsMock, url: str, status: int = 200, method: str = "GET", **headers: str) -> None:
    mock.add(method, url, status=status, body=b"x" if status == 200 else b"", headers=headers)


def _sent(mock: responses.RequestsMock) -> list[dict[str, str]]:
    return [{name.lower(): value for name, value in call.request.headers.items()} for call in mock.calls]


# What a request looks like.


def test_a_request_says_who_asks_and_takes_no_coding(mocked: responses.RequestsMock) -> None:
    _answer(mocked, f"{HOME}/v2/")
    session().send(Request("GET", f"{HOME}/v2/", {"Accept": "a/b"})).close()
    (sent,) = _sent(mocked)
    assert sent.pop("user-agent").startswith("dist/")
    assert sent == {"accept-encoding": "identity", "accept": "a/b"}


def test_configured_headers_go_to_the_remote_itself_only(mocked: responses.RequestsMock) -> None:
    """GHSA-whvf-jp7m-59f3."""
    _answer(mocked, f"{HOME}/a")
    _answer(mocked, "https://registry.test:444/a")
    with_header = session(header={"x-tenant": "blue", "user-agent": "mine"})
    with_header.send(Request("GET", f"{HOME}/a")).close()
    with_header.send(Request("GET", "https://registry.test:444/a")).close()
    first, second = _sent(mocked)
    assert (first["x-tenant"], first["user-agent"]) == ("blue", "mine")
    assert "x-tenant" not in second
    assert second["user-agent"].startswith("dist/")


def test_netrc_is_not_read(mocked: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trap T2: requests would overwrite a bearer token with it, and add it to redirects' targets."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine registry.test login a password b\nmachine cdn.test login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    _answer(mocked, f"{HOME}/a", 307, Location="https://cdn.test/a")
    _answer(mocked, "https://cdn.test/a")
    session().follow(Request("GET", f"{HOME}/a", {"Authorization": "Bearer t"})).close()
    assert [sent.get("authorization") for sent in _sent(mocked)] == ["Bearer t", None]


def test_cookies_are_not_kept(mocked: responses.RequestsMock) -> None:
    _answer(mocked, f"{HOME}/a", 302, Location="/b", **{"Set-Cookie": "id=1; Path=/"})
    _answer(mocked, f"{HOME}/b", **{"Set-Cookie": "id=2"})
    one = session()
    one.follow(Request("GET", f"{HOME}/a")).close()
    one.follow(Request("GET", f"{HOME}/b")).close()
    assert ["cookie" in sent for sent in _sent(mocked)] == [False, False, False]


def test_notices_tell_each_request_and_hide_query_values(mocked: responses.RequestsMock) -> None:
    """GHSA-5jhf-2qmf-m8c5: signed URLs in debug output."""
    _answer(mocked, f"{HOME}/a", 307, Location="https://cdn.test/b?X-Signature=secret&k=v")
    _answer(mocked, "https://cdn.test/b")
    one = session()
    one.follow(Request("GET", f"{HOME}/a", {"Authorization": "Bearer secret"})).close()
    assert [notice.text for notice in one.notices] == [  # type: ignore[attr-defined]
        f"> GET {HOME}/a",
        f"< 307 {HOME}/a",
        "> GET https://cdn.test/b?X-Signature=…&k=…",
        "< 200 https://cdn.test/b?X-Signature=…&k=…",
    ]


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_redirect_is_followed_by_the_same_method(mocked: responses.RequestsMock, status: int, method: str) -> None:
    _answer(mocked, f"{HOME}/a", status, method, Location="/b?c=d#fragment")
    _answer(mocked, f"{HOME}/b?c=d", method=method)
    reply = session().follow(Request(method, f"{HOME}/a"))
    reply.close()
    assert (reply.status, reply.url, reply.origin) == (200, f"{HOME}/b?c=d", Origin.of(HOME))


@pytest.mark.parametrize(("status", "headers"), [(300, {"Location": "/b"}), (304, {"Location": "/b"}), (302, {})])
def test_other_answers_are_the_callers(mocked: responses.RequestsMock, status: int, headers: dict[str, str]) -> None:
    _answer(mocked, f"{HOME}/a", status, **headers)
    reply = session().follow(Request("GET", f"{HOME}/a"))
    reply.close()
    assert reply.status == status


@pytest.mark.parametrize(
    "target",
    ["https://cdn.test/b", "https://registry.test:444/b", "https://registry.test.evil.test/b"],
    ids=["host", "port", "suffix"],
)
def test_only_the_harmless_follows_to_another_origin(mocked: responses.RequestsMock, target: str) -> None:
    """Behaviours B21; CVE-2018-18074, CVE-2022-27774: another port is another origin."""
    _answer(mocked, f"{HOME}/a", 307, Location=target)
    _answer(mocked, target)
    session(header={"x-tenant": "blue"}).follow(Request("GET", f"{HOME}/a", {**SECRETS, **HARMLESS})).close()
    first, second = _sent(mocked)
    assert {"authorization", "x-secret", "cookie", "x-tenant"} <= first.keys()
    assert second.keys() == {"accept", "range", "if-range", "accept-encoding", "user-agent"}


def test_what_was_left_behind_does_not_come_back(mocked: responses.RequestsMock) -> None:
    """ggcr #2349: a detour over another host must not end with the token back in place."""
    _answer(mocked, f"{HOME}/a", 307, Location="https://cdn.test/b")
    _answer(mocked, "https://cdn.test/b", 307, Location=f"{HOME}/c")
    _answer(mocked, f"{HOME}/c")
    session().follow(Request("GET", f"{HOME}/a", SECRETS)).close()
    assert ["authorization" in sent for sent in _sent(mocked)] == [True, False, False]


def test_within_the_origin_everything_is_kept(mocked: responses.RequestsMock) -> None:
    _answer(mocked, f"{HOME}/a", 307, Location="https://registry.test:443/b")
    _answer(mocked, f"{HOME}/b")
    session().follow(Request("GET", f"{HOME}/a", SECRETS)).close()
    assert _sent(mocked)[1]["authorization"] == "Bearer t"


def test_userinfo_in_a_location_is_dropped(mocked: responses.RequestsMock) -> None:
    _answer(mocked, f"{HOME}/a", 307, Location="https://user:password@cdn.test/b")
    _answer(mocked, "https://cdn.test/b")
    reply = session().follow(Request("GET", f"{HOME}/a"))
    reply.close()
    assert reply.url == "https://cdn.test/b"
    assert "authorization" not in _sent(mocked)[1]


@pytest.mark.parametrize(
    "location",
    [
        "ftp://cdn.test/b",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https://[::1/b",
        "https://cdn.test:x/",
    ],
)
def test_a_redirect_to_no_http_is_an_error(mocked: responses.RequestsMock, location: str) -> None:
    _answer(mocked, f"{HOME}/a", 307, Location=location)
    with pytest.raises(ProtocolError):
        session().follow(Request("GET", f"{HOME}/a"))


@pytest.mark.parametrize("hops", [0, 1, 10])
def test_hops_are_counted(mocked: responses.RequestsMock, hops: int) -> None:
    for number in range(hops + 1):
        _answer(mocked, f"{HOME}/{number}", 302, Location=f"/{number + 1}")
    with pytest.raises(ProtocolError, match=f"more than {hops} redirects"):
        session(redirect=Redirects(max_hops=hops)).follow(Request("GET", f"{HOME}/0"))


def test_a_loop_ends(mocked: responses.RequestsMock) -> None:
    _answer(mocked, f"{HOME}/a", 302, Location="/a")
    with pytest.raises(ProtocolError, match="more than 10 redirects"):
        session().follow(Request("GET", f"{HOME}/a"))


ALLOWED = Redirects(allow_hosts=("*.cdn.test", "Exact.test"))
PRIVATE = Redirects(allow_private=True)
REDIRECTS: list[tuple[str, str, Redirects, str]] = [
    ("https://a.test", "https://b.test", Redirects(), ""),
    ("http://a.test", "https://a.test", Redirects(), ""),
    ("http://a.test", "http://b.test", Redirects(), ""),
    ("https://a.test", "http://a.test", Redirects(), "from https to http"),
    ("https://a.test", "http://b.test", PRIVATE, "from https to http"),
    ("https://a.test", "https://127.0.0.1", Redirects(), "a loopback address"),
    ("https://a.test", "https://127.1", Redirects(), "a loopback address"),
    ("https://a.test", "https://0x7f.1", Redirects(), "a loopback address"),
    ("https://a.test", "https://2130706433", Redirects(), "a loopback address"),
    ("https://a.test", "https://[::1]", Redirects(), "a loopback address"),
    ("https://a.test", "https://[::ffff:127.0.0.1]", Redirects(), "a loopback address"),
    ("https://a.test", "https://0.0.0.0", Redirects(), "a loopback address"),
    ("https://a.test", "https://localhost", Redirects(), "a loopback address"),
    ("https://a.test", "https://x.localhost.", Redirects(), "a loopback address"),
    ("http://a.test", "http://169.254.169.254", Redirects(), "a link-local address"),
    ("http://a.test", "http://[fe80::1]", Redirects(), "a link-local address"),
    ("http://169.254.1.1", "http://127.0.0.1", Redirects(), "a loopback address"),
    ("http://10.0.0.1", "http://127.0.0.1", Redirects(), "a loopback address"),
    ("http://a.test", "http://100.100.100.200", Redirects(), "a link-local address"),
    ("http://a.test", "http://[fd00:ec2::254]", Redirects(), "a link-local address"),
    ("https://a.test", "https://10.0.0.1", Redirects(), ""),
    ("https://a.test", "https://100.64.0.1", Redirects(), ""),
    ("https://a.test", "https://100.64.0.1", Redirects(to_private=False), "a private address"),
    ("http://127.0.0.1:1", "http://127.0.0.1:2", Redirects(), ""),
    ("http://localhost", "http://[::1]", Redirects(), ""),
    ("https://a.test", "https://127.0.0.1", PRIVATE, ""),
    ("http://a.test", "http://169.254.169.254", PRIVATE, ""),
    ("https://a.test", "https://x.cdn.test", ALLOWED, ""),
    ("https://a.test", "https://exact.test:444", ALLOWED, ""),
    ("https://a.test", "https://a.test:444", ALLOWED, ""),
    ("https://a.test", "https://cdn.test", ALLOWED, "allow_hosts does not name"),
    ("https://a.test", "https://evilcdn.test", ALLOWED, "allow_hosts does not name"),
    ("https://a.test", "https://x.exact.test", ALLOWED, "allow_hosts does not name"),
]


@pytest.mark.parametrize(("source", "target", "rules", "refused"), REDIRECTS)
def test_where_a_redirect_may_lead(source: str, target: str, rules: Redirects, refused: str) -> None:
    """Behaviours B22; ggcr #2293, regclient 1a80807."""
    remote = Endpoint(redirect=rules)
    if not refused:
        check_redirect(Origin.of(source), Origin.of(target), remote)
        return
    with pytest.raises(PolicyRefused, match=refused):
        check_redirect(Origin.of(source), Origin.of(target), remote)


def test_each_hop_is_judged_from_where_it_leads_away(mocked: responses.RequestsMock) -> None:
    _answer(mocked, f"{HOME}/a", 307, Location="https://cdn.test/b")
    _answer(mocked, "https://cdn.test/b", 307, Location="http://cdn.test/c")
    with pytest.raises(PolicyRefused, match=r"cdn\.test redirects from https to http"):
        session().follow(Request("GET", f"{HOME}/a"))


# Connections.


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
    with pytest.raises(Unavailable, match=r"nothing came for 0\.1 s|no response within 0\.1 s"):
        one.send(Request("GET", server.url("/a")))
    one.close()


def test_connecting_has_no_more_time_than_the_whole_command(mocked: responses.RequestsMock) -> None:
    _answer(mocked, HOME)
    run = Run(deadline=time.monotonic() + 5)
    HttpSession(Origin.of(HOME), Context(run=run)).send(Request("GET", HOME)).close()
    connect_s, _ = mocked.calls[0].request.req_kwargs["timeout"]
    assert 0 < connect_s <= 5 < Timeouts().connect_s


def test_when_the_time_of_the_command_is_over_nothing_is_sent() -> None:
    late = HttpSession(Origin.of(HOME), Context(run=Run(deadline=time.monotonic())))
    with pytest.raises(DeadlineExceeded, match="the time given by --timeout"):
        late.send(Request("GET", HOME))


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
    with pytest.raises(Unavailable, match=r"no response within|nothing came"):
        proxied.send(Request("GET", "http://registry.test/v2/"))
    proxied.close()


@pytest.mark.parametrize(
    ("status", "again", "said"),
    [
        (407, False, "the proxy refuses: 407 Proxy Authentication Required: user and password go into its URL"),
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
        ("127.0.0.1", True, "the proxy does not answer: connection refused"),
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
