"""Redirects: which are followed, with what, and which never (behaviours B21-B23, security 2.1).

Over every kind that speaks HTTP, but for what is a registry's alone: tokens and manifests.
"""

from __future__ import annotations

import pytest
from support import faults
from support.content import blob, image
from support.faults import blob_path, content, manifest_path, redirect
from support.fetching import SHORT, Outcome, fetch, with_environment
from support.kinds import REGISTRY, REPOSITORY, Kind, login
from support.processes import Authority
from support.server import FaultServer, OpenServer

from dist_tool import errors
from dist_tool.settings import Endpoint, Policy, Redirects, Route, Settings, Tls

BLOB = blob("redirects", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
IMAGE = image("redirects")
PUBLIC = Endpoint(plain_http=True)


def _fetch(kind: Kind, server: FaultServer, *, name: str = "127.0.0.1", remote: Route | None = None) -> Outcome:
    """Fetch with what opens the lock of a server, should it have one."""
    return fetch(kind.at(server, f"{name}:{server.port}"), BLOB.digest, remote=remote, settings=login(server.host))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed(kind: Kind, servers: OpenServer, code: int) -> None:
    """Behaviours B21."""
    registry, cdn = servers(), servers()
    registry.script("GET", PATH, redirect(cdn.url("/blob"), code))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(kind, registry).data == BLOB.data


@pytest.mark.parametrize("code", [300, 304, 305, 306])
def test_other_statuses_of_that_hundred_are_errors(kind: Kind, server: FaultServer, code: int) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, redirect(server.url("/elsewhere"), code))
    outcome = _fetch(kind, server)
    assert (outcome.code, outcome.data) == (7, b"")


def test_a_redirect_to_nowhere_is_an_error(kind: Kind, server: FaultServer) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, faults.status(307))
    assert isinstance(_fetch(kind, server).error, errors.ProtocolError)


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
def test_locations_may_be_relative(kind: Kind, server: FaultServer, location: str, target: str) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, redirect(location.format(host=server.host)))
    server.script("GET", target, content(BLOB.data))
    assert _fetch(kind, server).data == BLOB.data
    assert server.log[1].target == target


EXACT = ["/b%2fc/%7E~/[|]/%2e%2e/x//y?sig=a%2fb+c&d=e^f", "//b", "/?x=1"]


@pytest.mark.parametrize("target", EXACT)
def test_a_redirect_is_sent_as_it_came(kind: Kind, servers: OpenServer, target: str) -> None:
    """A signature covers the raw text. Behaviours B21."""
    registry, cdn = servers(), servers()
    registry.script("GET", PATH, redirect(cdn.url(target)))
    cdn.script("GET", target, content(BLOB.data))
    assert _fetch(kind, registry).data == BLOB.data


@pytest.mark.parametrize("target", EXACT)
def test_a_proxy_gets_a_redirect_as_it_came(kind: Kind, servers: OpenServer, target: str) -> None:
    """Behaviours B21."""
    proxy = servers()
    place = kind.at(proxy, "registry.invalid")
    proxy.script("GET", f"http://registry.invalid{PATH}", redirect(f"http://cdn.invalid{target}"))
    proxy.script("GET", f"http://cdn.invalid{target}", content(BLOB.data))
    outcome = fetch(place, BLOB.digest, remote=PUBLIC, settings=with_environment(HTTP_PROXY=proxy.url()))
    assert outcome.data == BLOB.data


@pytest.mark.parametrize(
    ("location", "target"),
    [("/\xc3\xbc", "/%C3%BC"), ("/\xfc", "/%FC"), ("/a b", "/a%20b")],
    ids=["UTF-8", "Latin-1", "blank"],
)
def test_bytes_that_no_url_may_hold_are_encoded_once(
    kind: Kind, server: FaultServer, location: str, target: str
) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, redirect(location))
    server.script("GET", target, content(BLOB.data))
    assert _fetch(kind, server).data == BLOB.data


@pytest.mark.parametrize("hops", [1, 10])
def test_ten_hops_are_followed(kind: Kind, server: FaultServer, hops: int) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, redirect("/hop/1"))
    for n in range(1, hops):
        server.script("GET", f"/hop/{n}", redirect(f"/hop/{n + 1}"))
    server.script("GET", f"/hop/{hops}", content(BLOB.data))
    assert _fetch(kind, server).data == BLOB.data


def test_the_eleventh_hop_is_not(kind: Kind, server: FaultServer) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, redirect("/hop/1"))
    for n in range(1, 11):
        server.script("GET", f"/hop/{n}", redirect(f"/hop/{n + 1}"))
    outcome = _fetch(kind, server)
    assert isinstance(outcome.error, errors.ProtocolError)
    assert "more than 10 redirects" in outcome.error.what


def test_a_loop_ends(kind: Kind, server: FaultServer) -> None:
    """Behaviours B21."""
    server.always("GET", PATH, redirect(PATH))
    outcome = _fetch(kind, server)
    assert outcome.code == 7
    assert len(server.log) == 11


def test_the_limit_is_an_option(kind: Kind, server: FaultServer) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, redirect("/elsewhere"))
    assert _fetch(kind, server, remote=Endpoint(redirect=Redirects(max_hops=0))).code == 7


@pytest.mark.parametrize("target", ["another port", "another host"])
def test_nothing_of_ours_goes_to_another_origin(kind: Kind, servers: OpenServer, target: str) -> None:
    """Another port is another origin: B21, CVE-2018-18074, curl CVE-2022-27774/27776, GHSA-whvf-jp7m-59f3."""
    front, cdn = servers(), servers()
    name = "127.0.0.1" if target == "another port" else "cdn.test"
    cookie = [("Set-Cookie", "session=1; Path=/; Domain=test")]
    front.always("GET", PATH, kind.lock(front, redirect(cdn.url("/blob", name=name), headers=cookie)))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(kind, front, remote=Endpoint(header={"X-Tenant": "t", "Private-Token": "p"})).data == BLOB.data
    (seen,) = cdn.log
    assert {header.lower() for header, _ in seen.headers} <= {
        *("host", "user-agent", "accept", "accept-encoding", "connection")
    }


def test_and_not_after_a_way_back_either(kind: Kind, servers: OpenServer) -> None:
    """A redirect from elsewhere to the front door is the wish of another host: it gets no
    credentials. Behaviours B21.
    """
    front, cdn = servers(), servers()
    front.always("GET", PATH, kind.lock(front, redirect(cdn.url("/blob"))))
    front.script("GET", "/v2/private/blobs/x", content(BLOB.data))
    cdn.script("GET", "/blob", redirect(front.url("/v2/private/blobs/x")))
    _fetch(kind, front)
    (asked,) = front.requests("GET", "/v2/private/blobs/x")
    assert [asked.header(name) for name in ("authorization", "x-amz-security-token")] == ["", ""]


def test_the_range_goes_along(kind: Kind, servers: OpenServer) -> None:
    """Behaviours B21."""
    registry, cdn = servers(), servers()
    registry.always("GET", PATH, redirect(cdn.url("/blob")))
    cdn.script("GET", "/blob", faults.cut(BLOB.data, 7), content(BLOB.data))
    assert _fetch(kind, registry).data == BLOB.data
    assert cdn.log[1].header("range") == "bytes=7-"


def test_userinfo_in_a_location_is_nobodys_login(kind: Kind, servers: OpenServer) -> None:
    """Behaviours B21."""
    registry, cdn = servers(), servers()
    registry.script("GET", PATH, redirect(cdn.url("/blob").replace("://", "://eve:secret@")))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(kind, registry).data == BLOB.data
    assert cdn.log[0].header("authorization") == ""


@pytest.mark.parametrize(
    "location",
    [
        *("ftp://cdn.test/x", "file:///etc/passwd", "gopher://cdn.test/", "data:,x", "javascript:x", "unix:///run/x"),
        *("http://[::1/x", "http://ü.test/x", "http://cdn.test:99999/x", "http://cdn.test:x/", "https:cdn.test"),
        *("http://cdn .test/x", "http://cdn.test\\@evil.invalid/x", "http://\x00/"),
    ],
)
def test_what_is_no_http_url_is_not_followed(kind: Kind, server: FaultServer, location: str) -> None:
    """Behaviours B21."""
    server.script("GET", PATH, redirect(location))
    outcome = _fetch(kind, server)
    assert outcome.code in (6, 7, 10)
    assert outcome.data == b""
    assert len(server.log) == 1


class TestWhereNoRedirectMayLead:
    """B22: Over-blocking is a bug too, so what is allowed stands here as well."""

    def test_from_https_to_http(self, kind: Kind, servers: OpenServer, authority: Authority) -> None:
        """Behaviours B22."""
        secure, plain = servers(tls=authority.server_context()), servers()
        secure.script("GET", PATH, redirect(plain.url("/blob", name="cdn.test")))
        outcome = _fetch(kind, secure, name="registry.test", remote=Endpoint(tls=Tls(ca=(authority.ca,))))
        assert isinstance(outcome.error, errors.PolicyRefused)
        assert (outcome.code, plain.connections) == (10, 0)

    def test_not_even_where_private_targets_are_allowed(
        self, kind: Kind, servers: OpenServer, authority: Authority
    ) -> None:
        """Behaviours B22."""
        secure, plain = servers(tls=authority.server_context()), servers()
        secure.script("GET", PATH, redirect(plain.url("/blob")))
        remote = Endpoint(tls=Tls(ca=(authority.ca,)), redirect=Redirects(allow_private=True))
        assert _fetch(kind, secure, name="registry.test", remote=remote).code == 10

    def test_from_http_to_https_is_fine(self, kind: Kind, servers: OpenServer, authority: Authority) -> None:
        """Behaviours B22."""
        plain, secure = servers(), servers(tls=authority.server_context())
        plain.script("GET", PATH, redirect(secure.url("/blob", name="cdn.test")))
        secure.script("GET", "/blob", content(BLOB.data))
        remote = Endpoint(plain_http=True, tls=Tls(ca=(authority.ca,)))
        assert _fetch(kind, plain, remote=remote).data == BLOB.data

    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "[::1]", "0.0.0.0"),
            *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "x.localhost", "LOCALHOST", "localhost.", "169.254.169.254"),
            *("[fe80::1]", "127.0.0.1.", "[::]"),
        ],
    )
    def test_from_a_public_name_to_this_machine(self, kind: Kind, servers: OpenServer, host: str) -> None:
        """However it is spelled, and before anything connects. Behaviours B22."""
        registry, internal = servers(), servers()
        registry.script("GET", PATH, redirect(f"http://{host}:{internal.port}/latest/meta-data"))
        outcome = _fetch(kind, registry, name="registry.test", remote=PUBLIC)
        assert isinstance(outcome.error, errors.PolicyRefused | errors.ProtocolError)
        assert internal.connections == 0

    def test_a_public_name_behind_a_proxy_is_public_too(self, kind: Kind, servers: OpenServer) -> None:
        """Behaviours B22."""
        proxy, internal = servers(), servers()
        proxy.script("GET", f"http://registry.invalid{PATH}", redirect(internal.url("/secrets")))
        environ = with_environment(HTTP_PROXY=proxy.url())
        outcome = fetch(kind.at(proxy, "registry.invalid"), BLOB.digest, remote=PUBLIC, settings=environ)
        assert isinstance(outcome.error, errors.PolicyRefused)
        assert internal.connections == 0

    def test_in_the_second_hop_either(self, kind: Kind, servers: OpenServer) -> None:
        """Behaviours B22."""
        registry, cdn, internal = servers(), servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/x", name="cdn.test")))
        cdn.script("GET", "/x", redirect(internal.url("/secrets")))
        assert _fetch(kind, registry, name="registry.test", remote=PUBLIC).code == 10
        assert internal.connections == 0

    def test_unless_it_is_allowed(self, kind: Kind, servers: OpenServer) -> None:
        """Behaviours B22."""
        registry, internal = servers(), servers()
        registry.script("GET", PATH, redirect(internal.url("/blob")))
        internal.script("GET", "/blob", content(BLOB.data))
        remote = Endpoint(plain_http=True, redirect=Redirects(allow_private=True))
        assert _fetch(kind, registry, name="registry.test", remote=remote).data == BLOB.data

    def test_from_one_public_name_to_another_is_fine(self, kind: Kind, servers: OpenServer) -> None:
        """Behaviours B22."""
        registry, cdn = servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/blob", name="cdn.test")))
        cdn.script("GET", "/blob", content(BLOB.data))
        assert _fetch(kind, registry, name="registry.test", remote=PUBLIC).data == BLOB.data

    @pytest.mark.parametrize(("pattern", "code"), [("cdn.test", 0), ("*.test", 0), ("other.test", 10), ("test", 10)])
    def test_a_list_of_hosts_narrows_it(self, kind: Kind, servers: OpenServer, pattern: str, code: int) -> None:
        """Behaviours B22."""
        registry, cdn = servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/blob", name="cdn.test")))
        cdn.always("GET", "/blob", content(BLOB.data))
        remote = Endpoint(plain_http=True, redirect=Redirects(allow_hosts=(pattern,)))
        assert _fetch(kind, registry, name="registry.test", remote=remote).code == code
        assert cdn.connections == (1 if code == 0 else 0)

    @pytest.mark.parametrize(("pattern", "code"), [("*.test", 0), ("other.test", 10)])
    def test_the_list_of_the_policy_does_too(self, kind: Kind, servers: OpenServer, pattern: str, code: int) -> None:
        """Behaviours B22."""
        front, cdn = servers(), servers()
        front.script("GET", PATH, redirect(cdn.url("/blob", name="cdn.test")))
        cdn.always("GET", "/blob", content(BLOB.data))
        settings = Settings(policy=Policy(redirect_hosts=(pattern,)))
        remote = Endpoint(plain_http=True)
        outcome = fetch(kind.at(front, f"registry.test:{front.port}"), BLOB.digest, remote=remote, settings=settings)
        assert outcome.code == code
        assert cdn.connections == (1 if code == 0 else 0)

    def test_a_host_that_policy_blocks_is_asked_by_no_kind(self, kind: Kind, server: FaultServer) -> None:
        """Whatever stands before the host in a locator, as a bucket does."""
        settings = Settings(policy=Policy(blocked=(server.host,)))
        assert isinstance(fetch(kind.at(server), BLOB.digest, settings=settings).error, errors.PolicyRefused)
        assert server.connections == 0


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_a_challenge_from_elsewhere_gets_no_answer(kind: Kind, servers: OpenServer, scheme: str) -> None:
    """ggcr #2337, #2349: the token of the registry must not be attached again, nor asked for anew. Behaviours B23."""
    front, cdn = servers(), servers()
    front.always("GET", PATH, kind.lock(front, redirect(cdn.url("/blob"))))
    basic = faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])
    bearer = faults.challenge(cdn.url("/token"), "repository:evil:pull")
    cdn.always("GET", "/blob", bearer if scheme == "bearer" else basic)
    outcome = _fetch(kind, front)
    assert outcome.code == 4
    assert cdn.requests("GET", "/token") == []
    assert {request.header("authorization") for request in cdn.log} == {""}
    assert len(front.requests("GET", "/token")) == (1 if kind.name == "registry" else 0)


@pytest.mark.parametrize("headers", [(), (("Content-Encoding", "gzip"),)], ids=["plain", "gzip"])
def test_an_endless_body_of_a_redirect_is_not_read(
    kind: Kind, servers: OpenServer, headers: tuple[tuple[str, str], ...]
) -> None:
    """requests reads the whole of it, and decodes it, also with stream=True and allow_redirects=False."""
    registry, cdn = servers(), servers()
    endless = faults.endless_body(307, [("Location", cdn.url("/blob")), *headers], most=32 << 20)
    registry.script("GET", PATH, endless)
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(kind, registry).data == BLOB.data


def test_the_body_of_a_redirect_that_does_not_come_is_done_without(kind: Kind, servers: OpenServer) -> None:
    """It is short by its own word, so that reading it would keep the connection: but not at any price."""
    registry, cdn = servers(), servers()
    registry.script("GET", PATH, redirect(cdn.url("/blob")).but(declared=10, ending="hang"))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(kind, registry, remote=Endpoint(timeout=SHORT)).data == BLOB.data


def test_a_manifest_may_be_redirected_too(servers: OpenServer) -> None:
    registry, other = servers(), servers()
    registry.script("GET", manifest_path(REPOSITORY, "v1"), redirect(other.url("/manifest")))
    other.script("GET", "/manifest", content(IMAGE.manifest.data, IMAGE.manifest.media_type))
    assert fetch(REGISTRY.at(registry), "v1").data == IMAGE.manifest.data
    assert "manifest" in other.log[0].header("accept")
