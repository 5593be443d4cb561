"""One exchange at a time: connections, redirects, and what goes to whom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses
from support.http_session import HOME, session
from support.mocked import scripted_answers

from dist_tool.context import Context
from dist_tool.errors import DeadlineExceeded, PolicyRefused, ProtocolError
from dist_tool.names.origin import Origin
from dist_tool.run import Run
from dist_tool.settings import Endpoint, Redirects, Timeouts
from dist_tool.transport.session import HttpSession, Request, check_redirect

SECRETS = {"Authorization": "Bearer t", "X-Secret": "s", "Cookie": "c=1"}
HARMLESS = {"Accept": "a/b", "Range": "bytes=5-", "If-Range": '"x"'}


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with scripted_answers() as mock:
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
    ("https://a.test", "https://cdn.test", ALLOWED, "allow_hosts does not list"),
    ("https://a.test", "https://evilcdn.test", ALLOWED, "allow_hosts does not list"),
    ("https://a.test", "https://x.exact.test", ALLOWED, "allow_hosts does not list"),
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


def test_connecting_has_no_more_time_than_the_whole_command(mocked: responses.RequestsMock) -> None:
    _answer(mocked, HOME)
    run = Run(deadline=time.monotonic() + 5)
    HttpSession(Origin.of(HOME), Context(run=run)).send(Request("GET", HOME)).close()
    connect_s, _ = mocked.calls[0].request.req_kwargs["timeout"]
    assert 0 < connect_s <= 5 < Timeouts().connect_s


def test_when_the_time_of_the_command_is_over_nothing_is_sent() -> None:
    late = HttpSession(Origin.of(HOME), Context(run=Run(deadline=time.monotonic())))
    with pytest.raises(DeadlineExceeded, match="the time limit set by --timeout"):
        late.send(Request("GET", HOME))
