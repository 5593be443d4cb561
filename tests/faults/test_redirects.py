"""Redirects: which are followed, with what, and which never (behaviours B21-B23, security 2.1)."""

from __future__ import annotations

import pytest
from support import faults, kinds
from support.content import blob, image
from support.faults import blob_path, content, manifest_path, redirect
from support.fetching import SHORT, Outcome, fetch, with_environment
from support.kinds import REPOSITORY, Locate
from support.processes import Authority
from support.server import FaultServer, OpenServer

from dist_tool import errors
from dist_tool.settings import Redirects, RemoteSettings, Tls

BLOB = blob("redirects", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
IMAGE = image("redirects")
PUBLIC = RemoteSettings(plain_http=True)


def _fetch(
    locate: Locate, server: FaultServer, *, name: str = "127.0.0.1", remote: RemoteSettings | None = None
) -> Outcome:
    return fetch(locate(server, name), BLOB.digest, remote=remote)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_b21_every_kind_of_redirect_is_followed(locate: Locate, servers: OpenServer, code: int) -> None:
    registry, cdn = servers(), servers()
    registry.script("GET", PATH, redirect(cdn.url("/blob"), code))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(locate, registry).data == BLOB.data


@pytest.mark.parametrize("code", [300, 304, 305, 306])
def test_b21_other_statuses_of_that_hundred_are_errors(locate: Locate, server: FaultServer, code: int) -> None:
    server.script("GET", PATH, redirect(server.url("/elsewhere"), code))
    outcome = _fetch(locate, server)
    assert (outcome.code, outcome.data) == (7, b"")


def test_b21_a_redirect_to_nowhere_is_an_error(locate: Locate, server: FaultServer) -> None:
    server.script("GET", PATH, faults.status(307))
    assert isinstance(_fetch(locate, server).error, errors.ProtocolError)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2/other", "/v2/other"),
        ("other", f"{PATH.rpartition('/')[0]}/other"),
        ("//{host}/v2/other", "/v2/other"),
        ("?x=1", f"{PATH}?x=1"),
        ("/v2/other#fragment", "/v2/other"),
        ("  /v2/other  ", "/v2/other"),
    ],
)
def test_b21_locations_may_be_relative(locate: Locate, server: FaultServer, location: str, target: str) -> None:
    server.script("GET", PATH, redirect(location.format(host=server.host)))
    server.script("GET", target, content(BLOB.data))
    assert _fetch(locate, server).data == BLOB.data
    assert server.log[1].target == target


@pytest.mark.parametrize("hops", [1, 10])
def test_b21_ten_hops_are_followed(locate: Locate, server: FaultServer, hops: int) -> None:
    server.script("GET", PATH, redirect("/hop/1"))
    for n in range(1, hops):
        server.script("GET", f"/hop/{n}", redirect(f"/hop/{n + 1}"))
    server.script("GET", f"/hop/{hops}", content(BLOB.data))
    assert _fetch(locate, server).data == BLOB.data


def test_b21_the_eleventh_hop_is_not(locate: Locate, server: FaultServer) -> None:
    server.script("GET", PATH, redirect("/hop/1"))
    for n in range(1, 11):
        server.script("GET", f"/hop/{n}", redirect(f"/hop/{n + 1}"))
    outcome = _fetch(locate, server)
    assert isinstance(outcome.error, errors.ProtocolError)
    assert "more than 10 redirects" in outcome.error.what


def test_b21_a_loop_ends(locate: Locate, server: FaultServer) -> None:
    server.always("GET", PATH, redirect(PATH))
    outcome = _fetch(locate, server)
    assert outcome.code == 7
    assert len(server.log) == 11


def test_b21_the_limit_is_an_option(locate: Locate, server: FaultServer) -> None:
    server.script("GET", PATH, redirect("/elsewhere"))
    assert _fetch(locate, server, remote=RemoteSettings(redirect=Redirects(max_hops=0))).code == 7


@pytest.mark.parametrize("target", ["another port", "another host"])
def test_b21_nothing_of_ours_goes_to_another_origin(servers: OpenServer, target: str) -> None:
    """CVE-2018-18074, curl CVE-2022-27774/27776, GHSA-whvf-jp7m-59f3: another port is another origin."""
    registry, cdn = servers(), servers()
    tokens = faults.TokenServer(registry.url("/token"), f"repository:{REPOSITORY}:pull")
    registry.always("GET", "/token", tokens.issue)
    name = "127.0.0.1" if target == "another port" else "cdn.test"
    cookie = [("Set-Cookie", "session=1; Path=/; Domain=test")]
    registry.always("GET", PATH, tokens.protect(redirect(cdn.url("/blob", name=name), headers=cookie)))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert (
        _fetch(kinds.registry, registry, remote=RemoteSettings(header={"X-Tenant": "t", "Private-Token": "p"})).data
        == BLOB.data
    )
    (seen,) = cdn.log
    assert {header.lower() for header, _ in seen.headers} <= {
        *("host", "user-agent", "accept", "accept-encoding", "connection")
    }


def test_b21_and_not_after_a_way_back_either(servers: OpenServer) -> None:
    """A redirect from elsewhere to the registry is somebody else's wish: the token does not come along."""
    registry, cdn = servers(), servers()
    tokens = faults.TokenServer(registry.url("/token"), f"repository:{REPOSITORY}:pull")
    registry.always("GET", "/token", tokens.issue)
    registry.always("GET", PATH, tokens.protect(redirect(cdn.url("/blob"))))
    registry.script("GET", "/v2/private/blobs/x", content(BLOB.data))
    cdn.script("GET", "/blob", redirect(registry.url("/v2/private/blobs/x")))
    _fetch(kinds.registry, registry)
    assert registry.requests("GET", "/v2/private/blobs/x")[0].header("authorization") == ""


def test_b21_the_range_goes_along(locate: Locate, servers: OpenServer) -> None:
    registry, cdn = servers(), servers()
    registry.always("GET", PATH, redirect(cdn.url("/blob")))
    cdn.script("GET", "/blob", faults.cut(BLOB.data, 7), content(BLOB.data))
    assert _fetch(locate, registry).data == BLOB.data
    assert cdn.log[1].header("range") == "bytes=7-"


def test_b21_userinfo_in_a_location_is_nobodys_login(locate: Locate, servers: OpenServer) -> None:
    registry, cdn = servers(), servers()
    registry.script("GET", PATH, redirect(cdn.url("/blob").replace("://", "://eve:secret@")))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(locate, registry).data == BLOB.data
    assert cdn.log[0].header("authorization") == ""


@pytest.mark.parametrize(
    "location",
    [
        *("ftp://cdn.test/x", "file:///etc/passwd", "gopher://cdn.test/", "data:,x", "javascript:x", "unix:///run/x"),
        *("http://[::1/x", "http://ü.test/x", "http://cdn.test:99999/x", "http://cdn.test:x/", "https:cdn.test"),
        *("http://cdn .test/x", "http://cdn.test\\@evil.invalid/x", "http://\x00/"),
    ],
)
def test_b21_what_is_no_http_url_is_not_followed(locate: Locate, server: FaultServer, location: str) -> None:
    server.script("GET", PATH, redirect(location))
    outcome = _fetch(locate, server)
    assert outcome.code in (6, 7, 10)
    assert outcome.data == b""
    assert len(server.log) == 1


class TestWhereNoRedirectMayLead:
    """B22: Over-blocking is a bug too, so what is allowed stands here as well."""

    def test_b22_from_https_to_http(self, locate: Locate, servers: OpenServer, authority: Authority) -> None:
        secure, plain = servers(tls=authority.server_context()), servers()
        secure.script("GET", PATH, redirect(plain.url("/blob", name="cdn.test")))
        outcome = _fetch(locate, secure, name="registry.test", remote=RemoteSettings(tls=Tls(ca=(authority.ca,))))
        assert isinstance(outcome.error, errors.PolicyRefused)
        assert (outcome.code, plain.connections) == (10, 0)

    def test_b22_not_even_where_private_targets_are_allowed(
        self, locate: Locate, servers: OpenServer, authority: Authority
    ) -> None:
        secure, plain = servers(tls=authority.server_context()), servers()
        secure.script("GET", PATH, redirect(plain.url("/blob")))
        remote = RemoteSettings(tls=Tls(ca=(authority.ca,)), redirect=Redirects(allow_private=True))
        assert _fetch(locate, secure, name="registry.test", remote=remote).code == 10

    def test_b22_from_http_to_https_is_fine(self, locate: Locate, servers: OpenServer, authority: Authority) -> None:
        plain, secure = servers(), servers(tls=authority.server_context())
        plain.script("GET", PATH, redirect(secure.url("/blob", name="cdn.test")))
        secure.script("GET", "/blob", content(BLOB.data))
        remote = RemoteSettings(plain_http=True, tls=Tls(ca=(authority.ca,)))
        assert _fetch(locate, plain, remote=remote).data == BLOB.data

    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "[::1]", "0.0.0.0"),
            *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "x.localhost", "LOCALHOST", "localhost.", "169.254.169.254"),
            *("[fe80::1]", "127.0.0.1.", "[::]"),
        ],
    )
    def test_b22_from_a_public_name_to_this_machine(self, locate: Locate, servers: OpenServer, host: str) -> None:
        """However it is spelled, and before anything connects."""
        registry, internal = servers(), servers()
        registry.script("GET", PATH, redirect(f"http://{host}:{internal.port}/latest/meta-data"))
        outcome = _fetch(locate, registry, name="registry.test", remote=PUBLIC)
        assert isinstance(outcome.error, errors.PolicyRefused | errors.ProtocolError)
        assert internal.connections == 0

    def test_b22_a_public_name_behind_a_proxy_is_public_too(self, servers: OpenServer) -> None:
        proxy, internal = servers(), servers()
        proxy.script("GET", f"http://registry.invalid{PATH}", redirect(internal.url("/secrets")))
        environ = with_environment(HTTP_PROXY=proxy.url())
        outcome = fetch(f"registry.invalid/{REPOSITORY}", BLOB.digest, remote=PUBLIC, settings=environ)
        assert isinstance(outcome.error, errors.PolicyRefused)
        assert internal.connections == 0

    def test_b22_in_the_second_hop_either(self, locate: Locate, servers: OpenServer) -> None:
        registry, cdn, internal = servers(), servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/x", name="cdn.test")))
        cdn.script("GET", "/x", redirect(internal.url("/secrets")))
        assert _fetch(locate, registry, name="registry.test", remote=PUBLIC).code == 10
        assert internal.connections == 0

    def test_b22_unless_it_is_allowed(self, locate: Locate, servers: OpenServer) -> None:
        registry, internal = servers(), servers()
        registry.script("GET", PATH, redirect(internal.url("/blob")))
        internal.script("GET", "/blob", content(BLOB.data))
        remote = RemoteSettings(plain_http=True, redirect=Redirects(allow_private=True))
        assert _fetch(locate, registry, name="registry.test", remote=remote).data == BLOB.data

    def test_b22_from_one_public_name_to_another_is_fine(self, locate: Locate, servers: OpenServer) -> None:
        registry, cdn = servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/blob", name="cdn.test")))
        cdn.script("GET", "/blob", content(BLOB.data))
        assert _fetch(locate, registry, name="registry.test", remote=PUBLIC).data == BLOB.data

    @pytest.mark.parametrize(("pattern", "code"), [("cdn.test", 0), ("*.test", 0), ("other.test", 10), ("test", 10)])
    def test_b22_a_list_of_hosts_narrows_it(self, locate: Locate, servers: OpenServer, pattern: str, code: int) -> None:
        registry, cdn = servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/blob", name="cdn.test")))
        cdn.always("GET", "/blob", content(BLOB.data))
        remote = RemoteSettings(plain_http=True, redirect=Redirects(allow_hosts=(pattern,)))
        assert _fetch(locate, registry, name="registry.test", remote=remote).code == code
        assert cdn.connections == (1 if code == 0 else 0)


def test_b23_a_challenge_from_elsewhere_gets_no_answer(servers: OpenServer) -> None:
    """ggcr #2337, #2349: the token of the registry must not be attached again, nor asked for anew."""
    registry, cdn = servers(), servers()
    tokens = faults.TokenServer(registry.url("/token"), f"repository:{REPOSITORY}:pull")
    registry.always("GET", "/token", tokens.issue)
    registry.always("GET", PATH, tokens.protect(redirect(cdn.url("/blob"))))
    cdn.always("GET", "/blob", faults.challenge(cdn.url("/token"), "repository:evil:pull"))
    outcome = _fetch(kinds.registry, registry)
    assert outcome.code == 4
    assert cdn.requests("GET", "/token") == []
    assert {request.header("authorization") for request in cdn.log} == {""}
    assert len(tokens.issued) == 1


@pytest.mark.parametrize("headers", [(), (("Content-Encoding", "gzip"),)], ids=["plain", "gzip"])
def test_an_endless_body_of_a_redirect_is_not_read(
    locate: Locate, servers: OpenServer, headers: tuple[tuple[str, str], ...]
) -> None:
    """requests reads the whole of it, and decodes it, also with stream=True and allow_redirects=False."""
    registry, cdn = servers(), servers()
    endless = faults.endless_body(307, [("Location", cdn.url("/blob")), *headers], most=32 << 20)
    registry.script("GET", PATH, endless)
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(locate, registry).data == BLOB.data


def test_the_body_of_a_redirect_that_does_not_come_is_done_without(locate: Locate, servers: OpenServer) -> None:
    """It is short by its own word, so that reading it would keep the connection: but not at any price."""
    registry, cdn = servers(), servers()
    registry.script("GET", PATH, redirect(cdn.url("/blob")).but(declared=10, ending="hang"))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(locate, registry, remote=RemoteSettings(timeout=SHORT)).data == BLOB.data


def test_a_manifest_may_be_redirected_too(servers: OpenServer) -> None:
    registry, other = servers(), servers()
    registry.script("GET", manifest_path(REPOSITORY, "v1"), redirect(other.url("/manifest")))
    other.script("GET", "/manifest", content(IMAGE.manifest.data, IMAGE.manifest.media_type))
    assert fetch(f"{registry.host}/{REPOSITORY}", "v1").data == IMAGE.manifest.data
    assert "manifest" in other.log[0].header("accept")
