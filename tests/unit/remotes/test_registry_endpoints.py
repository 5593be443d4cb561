"""A registry as a mirror: another path of the API, `?ns=`, http where https is not to be had, its own proxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import responses
from support import faults
from support.config_files import load
from support.processes import Authority
from support.routes import route
from support.server import FaultServer, OpenServer, closed_port

from dist_tool.context import Context
from dist_tool.errors import DistError, NotFound, PolicyRefused, Unauthenticated, Unavailable
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.registry import RegistryRemote
from dist_tool.settings import Policy, Route, Settings, Tls
from dist_tool.stream.retry import Retry

NAME = "docker.io/library/redis"
DATA = b"content"
DIGEST = Digest.of(DATA)
QUICK = Retry(attempts=1)


def opened(remote: Route, settings: Settings | None = None, name: str = NAME) -> RegistryRemote:
    locator = parse_locator(name)
    target = remote.rewrite(locator, remote.own)
    return RegistryRemote(target, Context(remote.own, settings or Settings(), asked=locator))


def read(remote: RegistryRemote) -> bytes:
    body = remote.open(Descriptor(DIGEST, len(DATA), "application/octet-stream"))
    view = memoryview(bytearray(100))
    try:
        return bytes(view[: body.readinto(view)])
    finally:
        body.close()
        remote.close()


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=True) as mock:
        yield mock


def asked(mock: responses.RequestsMock) -> list[str]:
    return [str(call.request.url) for call in mock.calls]


def test_a_mirror_is_told_which_registry_is_meant(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"https://m.test/hub/v2/library/redis/blobs/{DIGEST}", body=DATA)
    remote = route("docker.io", location="m.test", api_path="/hub/v2", ns=True, retry=QUICK)
    assert read(opened(remote)) == DATA
    assert asked(mocked) == [f"https://m.test/hub/v2/library/redis/blobs/{DIGEST}?ns=docker.io"]


def test_the_port_of_the_registry_is_part_of_its_name(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"https://m.test/v2/x/blobs/{DIGEST}", body=DATA)
    remote = route("a.test:5000", location="m.test", ns=True, retry=QUICK)
    read(opened(remote, name="a.test:5000/x"))
    assert asked(mocked) == [f"https://m.test/v2/x/blobs/{DIGEST}?ns=a.test:5000"]


def test_a_registry_of_its_own_name_is_told_nothing(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"https://a.test/v2/x/blobs/{DIGEST}", body=DATA)
    read(opened(route("a.test", retry=QUICK), name="a.test/x"))
    assert asked(mocked) == [f"https://a.test/v2/x/blobs/{DIGEST}"]


def test_pages_of_tags_are_followed_below_another_path(mocked: responses.RequestsMock) -> None:
    first = "https://m.test/api/x/tags/list"
    link = {"Link": '</api/x/tags/list?last=a&ns=a.test>; rel="next"'}
    mocked.add("GET", first, json={"name": "x", "tags": ["a"]}, headers=link)
    mocked.add("GET", first, json={"name": "x", "tags": ["b"]})
    remote = opened(route("a.test", location="m.test", api_path="/api", ns=True, retry=QUICK), name="a.test/x")
    assert list(remote.tags()) == ["a", "b"]
    remote.close()
    assert all(url.count("ns=a.test") == 1 for url in asked(mocked))


def test_a_challenge_is_looked_for_at_the_root_of_the_same_api(mocked: responses.RequestsMock) -> None:
    mocked.add("HEAD", "https://m.test/api/x/manifests/v1", status=401)
    mocked.add("GET", "https://m.test/api/", status=404)
    remote = opened(route("a.test", location="m.test", api_path="/api", retry=QUICK), name="a.test/x")
    with pytest.raises(DistError):
        remote.resolve("v1", Hints())
    remote.close()


def test_what_a_401_without_a_challenge_said_is_told(mocked: responses.RequestsMock) -> None:
    body = {"errors": [{"code": "UNAUTHORIZED", "message": "the trial is over"}]}
    mocked.add("GET", f"https://a.test/v2/x/blobs/{DIGEST}", status=401, json=body)
    mocked.add("GET", "https://a.test/v2/", status=200)
    remote = opened(route("a.test", retry=QUICK), name="a.test/x")
    with pytest.raises(Unauthenticated, match="the trial is over"):
        remote.open(Descriptor(DIGEST, len(DATA), "application/octet-stream"))
    remote.close()


# `insecure` of registries.conf (behaviours D10).


def insecure(host: str, **more: Any) -> Route:
    """`*.test` is loopback to the tests and a public name to us, as any host of registries.conf would be."""
    return route(host, insecure=True, tls=Tls(skip_verify=True), retry=QUICK, **more)


def test_an_insecure_registry_is_asked_by_https_without_verification(servers: OpenServer, authority: Authority) -> None:
    server = servers(tls=authority.server_context())
    server.script("GET", faults.blob_path("x", DIGEST), faults.content(DATA))
    host = server.host.replace("127.0.0.1", "a.test")
    assert read(opened(insecure(host), name=f"{host}/x")) == DATA


def test_an_insecure_registry_that_knows_no_tls_is_asked_by_http_from_then_on(server: FaultServer) -> None:
    server.script("GET", faults.blob_path("x", DIGEST), faults.content(DATA))
    server.script("HEAD", faults.manifest_path("x", "v1"), faults.status(404))
    host = server.host.replace("127.0.0.1", "a.test")
    remote = opened(insecure(host), name=f"{host}/x")
    body = remote.open(Descriptor(DIGEST, len(DATA), "application/octet-stream"))
    assert body.readinto(memoryview(bytearray(100))) == len(DATA)
    body.close()
    with pytest.raises(NotFound):
        remote.resolve("v1", Hints())
    remote.close()


def test_an_insecure_registry_that_is_not_there_fails_as_https() -> None:
    host = f"a.test:{closed_port()}"
    remote = opened(insecure(host), name=f"{host}/x")
    with pytest.raises(Unavailable):
        remote.resolve("v1", Hints())
    remote.close()


def test_a_secure_registry_is_never_asked_by_http(server: FaultServer) -> None:
    host = server.host.replace("127.0.0.1", "a.test")
    remote = opened(route(host, retry=QUICK), name=f"{host}/x")
    with pytest.raises(Unavailable):
        remote.resolve("v1", Hints())
    remote.close()
    assert server.requests() == []


# Proxies (behaviours D14).

PROXIED = """
[[remote]]
prefix = "up.test"
plain_http = true
proxy = "{0}"
retry.attempts = 1
[[remote.mirror]]
location = "m.test"
plain_http = true
proxy = "{1}"
retry.attempts = 1
[[remote.mirror]]
location = "n.test:{2}"
plain_http = true
proxy = ""
retry.attempts = 1
[[remote.mirror]]
location = "o.test"
plain_http = true
retry.attempts = 1
"""


def test_each_endpoint_has_the_proxy_of_its_own_table(servers: OpenServer, tmp_path: Path) -> None:
    first, second, direct, general = (servers() for _ in range(4))
    path = faults.blob_path("x", DIGEST)
    first.script("GET", f"http://up.test{path}", faults.content(DATA))
    second.script("GET", f"http://m.test{path}", faults.content(DATA))
    direct.script("GET", path, faults.content(DATA))
    general.script("GET", f"http://o.test{path}", faults.content(DATA))
    port = direct.host.rpartition(":")[2]
    with_account = second.url().replace("//", "//me:${PASSWORD}@")
    text = PROXIED.format(first.url(), with_account, port)
    settings = load(tmp_path, text, {"PASSWORD": "p@ss", "http_proxy": general.url()})
    locator = Locator("", "up.test/x")
    remote = settings.route_for(locator)
    assert remote is not None
    for endpoint in remote.endpoints:
        assert read(opened(replace(remote, endpoints=(endpoint,)), settings, "up.test/x")) == DATA
    assert second.log[0].header("proxy-authorization") == "Basic bWU6cEBzcw=="
    assert [s.log[0].header("proxy-authorization") for s in (first, direct, general)] == ["", "", ""]


# `policy.redirect_hosts`.


@pytest.mark.parametrize(("allowed", "refused"), [(("*.cdn.test",), False), (("other.test",), True), ((), False)])
def test_policy_says_where_any_remote_may_redirect_to(
    allowed: tuple[str, ...], refused: bool, mocked: responses.RequestsMock
) -> None:
    url = f"https://a.test/v2/x/blobs/{DIGEST}"
    mocked.add("GET", url, status=307, headers={"Location": "https://eu.cdn.test/b"})
    settings = Settings(policy=Policy(redirect_hosts=allowed))
    remote = opened(route("a.test", retry=QUICK), settings, "a.test/x")
    if refused:
        with pytest.raises(PolicyRefused, match=r"redirects to eu\.cdn\.test, which policy\.redirect_hosts does not"):
            read(remote)
        remote.close()
    else:
        mocked.add("GET", "https://eu.cdn.test/b", body=DATA)
        assert read(remote) == DATA
