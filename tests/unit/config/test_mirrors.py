"""Mirrors: which endpoints a name has, in order, and what each is trusted with."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.config_files import chosen, load, places
from support.routes import route

from dist_tool.errors import InvalidArgument
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.settings import EVERYTHING, Endpoint, Route, Tls

FIVE = """
[[remote]]
prefix = "docker.io"

[[remote.mirror]]
location = "lan.example:5000/hub"
plain_http = true
ns = true
capabilities = ["pull", "resolve"]
retry = { attempts = 2 }

[[remote.mirror]]
kind = "layout"
location = "images"
capabilities = ["pull"]

[[remote.mirror]]
kind = "s3"
location = "bucket/blobs/{algorithm}/{encoded}"
capabilities = ["pull"]

[[remote.mirror]]
kind = "store"
location = "/srv/store"

[[remote.mirror]]
kind = "archive"
location = "/srv/images/{rest}.tar"
"""


def test_mirrors_of_any_kind_come_in_the_order_of_the_file_and_the_remote_last(tmp_path: Path) -> None:
    assert places(load(tmp_path, FIVE), "redis") == [
        "registry::lan.example:5000/hub/library/redis",
        f"layout::{tmp_path}/images/library/redis",
        "s3::bucket/blobs/{algorithm}/{encoded}",
        "store::/srv/store",
        "archive::/srv/images/library/redis.tar",
        "registry::docker.io/library/redis",
    ]


def test_a_mirror_has_settings_of_its_own_and_the_prefix_of_its_remote(tmp_path: Path) -> None:
    for name in ("a.pem", "b.pem"):
        (tmp_path / name).touch()
    settings = load(
        tmp_path,
        """
        [[remote]]
        prefix = "docker.io/library"
        tls = { ca = ["a.pem"], skip_verify = true }
        header = { x-secret = "theirs" }
        proxy = "http://proxy.example:1"
        auth = { source = "docker" }
        [[remote.mirror]]
        location = "m.example/hub"
        tls = { ca = ["b.pem"] }
        proxy = ""
        [[remote.mirror]]
        location = "n.example"
        """,
    )
    first, second = chosen(settings, "redis").mirrors
    assert (first.tls, first.proxy) == (Tls((f"{tmp_path}/b.pem",)), "")
    assert first.where == f"{tmp_path}/config.toml:8"
    assert second == Endpoint(location="n.example", where=second.where), (
        "nothing of the remote's own goes to a mirror: no header, no proxy, no trust"
    )
    assert second.capabilities == EVERYTHING


def test_capabilities_say_what_an_endpoint_is_trusted_with(tmp_path: Path) -> None:
    remote = chosen(load(tmp_path, FIVE), "redis")
    assert [endpoint.can("resolve") for endpoint in remote.endpoints] == [True, False, False, True, True, True]
    assert [endpoint.can("push") for endpoint in remote.endpoints] == [False, False, False, True, True, True]
    assert [endpoint.ns for endpoint in remote.endpoints] == [True, False, False, False, False, False]


def test_the_last_endpoint_is_that_of_the_name_itself(tmp_path: Path) -> None:
    found = chosen(load(tmp_path, FIVE), "redis")
    assert found.endpoints == (*found.mirrors, found.own)
    assert route("a.example").mirrors == ()


def test_a_mirror_without_a_kind_is_a_registry(tmp_path: Path) -> None:
    assert places(load(tmp_path, FIVE), "registry::docker.io/a/b")[0] == "registry::lan.example:5000/hub/a/b"


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        (route("a.example", kind="layout", location="/srv/all", flat=True), "layout::/srv/all"),
        (route("a.example", kind="containerd", location="/var/lib/c"), "containerd::/var/lib/c"),
        (route("a.example", kind="http", location="h.example/{rest}/x"), "http::h.example/team/app/x"),
        (route("a.example/team", kind="http", location="h/{encoded}"), "http::h/{encoded}"),
        (route("a.example", location="m.example/one", flat=True), "registry::m.example/one"),
    ],
)
def test_a_location_may_serve_every_name(remote: Route, place: str) -> None:
    assert str(remote.rewrite(parse_locator("a.example/team/app"), remote.own)) == place


def test_a_flat_location_without_a_repository_is_refused() -> None:
    remote = route("a.example", location="m.example", flat=True, where="f:1")
    with pytest.raises(InvalidArgument, match=r"f:1: location 'm.example' leaves a.example/x without a repository"):
        remote.rewrite(Locator("", "a.example/x"), remote.own)


def test_every_error_of_a_file_is_found(tmp_path: Path) -> None:
    from dist_tool.config.document import parse_document
    from dist_tool.config.tables import DOCUMENT

    text = b"""[fetch]
timeout = "soon"
stores = 1
[[remote]]
prefix = "a.example"
tls = { ca = ["/nonexistent/a", "/nonexistent/b"] }
[[remote.mirror]]
[[remote]]
kind = "http"
[policy]
algorithms = ["md5"]
[pin]
"redis:7" = "8"
"""
    value = parse_document("f.toml", text, {})
    with pytest.raises(InvalidArgument, match="soon"):
        DOCUMENT(value)
    lines = [str(error).partition(": ")[0].removeprefix("f.toml:") for error in value.source.errors]
    assert lines == ["2", "3", "6", "6", "7", "8", "11", "13"]


@pytest.mark.parametrize("kind", ["store", "containerd"])
def test_a_kind_with_a_place_of_its_own_needs_no_location(kind: str, tmp_path: Path) -> None:
    settings = load(tmp_path, f'[[remote]]\nprefix = "docker.io"\n[[remote.mirror]]\nkind = "{kind}"\n')
    locator = parse_locator("docker.io/library/redis")
    table = settings.route_for(locator)
    assert table is not None
    assert str(table.rewrite(locator, table.endpoints[0])) == f"{kind}::"


@pytest.mark.parametrize("kind", ["store", "containerd"])
def test_an_explicit_location_is_not_rewritten(kind: str) -> None:
    locator = Locator(kind, "/srv/content")
    assert Route().rewrite(locator, Endpoint()) == locator
