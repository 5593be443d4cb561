"""A registry as a mirror: another path of the API, `?ns=`, http where https is not to be had, its own proxy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import faults
from support.config_files import load
from support.processes import Authority
from support.quick_registry import DATA, DIGEST, QUICK, opened, read
from support.routes import route
from support.server import FaultServer, OpenServer, closed_port

from dist_tool.errors import NotFound, Unavailable
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.settings import Route, Tls


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
