"""Which `[[remote]]` a locator belongs to, and where its location leads."""

from __future__ import annotations

import pytest
from support.routes import route

from dist_tool.errors import InvalidArgument, PolicyRefused
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.settings import Endpoint, Policy, Route, Settings


def chosen(locator: str, *prefixes: str) -> str | None:
    settings = Settings(tuple(route(prefix) for prefix in prefixes))
    remote = settings.route_for(parse_locator(locator))
    return remote.prefix if remote is not None else None


@pytest.mark.parametrize(
    ("locator", "prefix"),
    [
        ("redis", "docker.io"),
        ("redis", "docker.io/library"),
        ("redis", "docker.io/library/redis"),
        ("index.docker.io/library/redis", "docker.io/library"),
        ("registry::docker.io/library/redis", "docker.io/library"),
        ("a.example/team/app", "a.example"),
        ("A.Example/team/app", "a.example/team"),
        ("a.example:5000/x", "a.example:5000"),
        ("localhost/x", "localhost"),
        ("[::1]:5000/x", "[::1]:5000"),
        ("b.example.com/x", "*.example.com"),
        ("a.b.example.com/x/y", "*.example.com"),
        ("b.example.com:5000/x", "*.example.com:5000"),
        ("a.example:05000/x", "a.example:5000"),
        ("a.example:443/x", "a.example"),
        ("a.example/x", "a.example:443"),
        ("[0:0:0:0:0:0:0:1]:5000/x", "[::1]:5000"),
        ("registry-1.docker.io:443/library/redis", "docker.io/library"),
    ],
)
def test_a_prefix_matches_names_below_it(locator: str, prefix: str) -> None:
    assert chosen(locator, prefix) == prefix


@pytest.mark.parametrize(
    ("locator", "prefix"),
    [
        ("redis", "docker.io/lib"),
        ("redis", "docker.io/library/red"),
        ("redis", "docker.io/library/redis/sub"),
        ("redis", "io"),
        ("a.example/team", "a.example/team/app"),
        ("a.example:5000/x", "a.example"),
        ("a.example/x", "a.example:5000"),
        ("a.example.com/x", "example.com"),
        ("example.com/x", "*.example.com"),
        ("badexample.com/x", "*.example.com"),
        ("b.example.com:5000/x", "*.example.com"),
        ("b.example.com/example.com/x", "*.com.example"),
        ("http::a.example/x", "a.example"),
        ("./a.example/x", "a.example"),
        ("/docker.io/library", "docker.io"),
    ],
)
def test_whole_components_of_the_same_host_must_agree(locator: str, prefix: str) -> None:
    assert chosen(locator, prefix) is None


@pytest.mark.parametrize(
    ("locator", "prefixes", "best"),
    [
        ("redis", ("docker.io", "docker.io/library/redis", "docker.io/library"), "docker.io/library/redis"),
        ("bitnami/redis", ("docker.io/library", "docker.io"), "docker.io"),
        ("a.b.example.com/x", ("*.example.com", "*.b.example.com"), "*.b.example.com"),
        ("a.b.example.com/x", ("*.b.example.com", "a.b.example.com"), "a.b.example.com"),
        ("a.b.example.com/x", ("a.b.example.com/x", "*.b.example.com"), "a.b.example.com/x"),
        ("x.aaaa/b", ("*.aaaa", "x.aaaa"), "x.aaaa"),
    ],
)
def test_the_longest_prefix_wins_and_wildcards_come_last(locator: str, prefixes: tuple[str, ...], best: str) -> None:
    assert chosen(locator, *prefixes) == best
    assert chosen(locator, *reversed(prefixes)) == best


@pytest.mark.parametrize("locator", ["s3::images@store.example:9000/x", "s3::images@STORE.example:9000/x"])
def test_a_bucket_is_no_part_of_the_host(locator: str) -> None:
    parsed = parse_locator(locator)
    assert route("store.example:9000", kind="s3").matches(parsed)
    with pytest.raises(PolicyRefused, match="blocked"):
        Policy(blocked=("store.example:9000",)).check_name(parsed)


def test_no_table_matches_where_there_is_none() -> None:
    assert Settings().route_for(parse_locator("redis")) is None


def test_a_locator_that_names_its_kind_takes_tables_of_that_kind() -> None:
    http = route("files.example/a", kind="http")
    registry = route("files.example/a/b", kind="registry")
    settings = Settings((http, registry))
    assert settings.route_for(parse_locator("http::files.example/a/b/c")) == http
    assert settings.route_for(parse_locator("registry::files.example/a/b/c")) == registry
    assert settings.route_for(parse_locator("files.example/a/b/c")) == registry
    assert settings.route_for(parse_locator("files.example/a/c")) == http


@pytest.mark.parametrize(
    ("remote", "locator", "effective"),
    [
        (Route(), "redis", "registry::docker.io/library/redis"),
        (Route(), "layout::./x", "layout::./x"),
        (route("a.example"), "a.example/x", "registry::a.example/x"),
        (route("a.example", kind="http"), "a.example/x", "http::a.example/x"),
        (route("docker.io", location="m.example"), "redis", "registry::m.example/library/redis"),
        (
            route("docker.io/library", location="m.example/hub"),
            "redis",
            "registry::m.example/hub/redis",
        ),
        (
            route("docker.io/library/redis", location="m.example/r"),
            "registry::docker.io/library/redis",
            "registry::m.example/r",
        ),
        (route("a.example/x", location="docker.io"), "a.example/x/y", "registry::docker.io/library/y"),
        (route("A.example/x", location="b.example/x"), "a.example/x/x/z", "registry::b.example/x/x/z"),
        (route("*.example", location="m.test/hub"), "a.b.example/x", "registry::m.test/hub/x"),
        (route("a.example", kind="layout", location="/srv"), "a.example/x/y", "layout::/srv/x/y"),
        (route("a.example/x", kind="layout", location="/srv/"), "a.example/x", "layout::/srv/"),
        (route("a.example", kind="s3", location="b/p/"), "a.example/x", "s3::b/p/x"),
    ],
)
def test_rewriting_puts_the_rest_after_the_location(remote: Route, locator: str, effective: str) -> None:
    assert str(remote.rewrite(parse_locator(locator), remote.own)) == effective


def test_a_local_path_is_rewritten_by_nobody() -> None:
    assert Route().rewrite(Locator("path", "./x"), Endpoint()) == Locator("path", "./x")


@pytest.mark.parametrize(
    ("location", "locator", "message"),
    [
        (
            "m.example",
            "redis",
            "config.toml:7: location 'm.example' leaves docker.io/library/redis without a repository",
        ),
        (f"m.example/{'x' * 250}", f"redis/{'y' * 20}", "config.toml:7: location: "),
    ],
)
def test_a_location_that_makes_no_name_is_an_error_of_its_table(location: str, locator: str, message: str) -> None:
    parsed = parse_locator(locator)
    remote = route(str(parsed).removesuffix(f"/{'y' * 20}"), location=location, where="config.toml:7")
    with pytest.raises(InvalidArgument) as caught:
        remote.rewrite(parsed, remote.own)
    assert str(caught.value).startswith(message)


def test_the_table_of_the_spelling_that_is_asked_for_comes_first() -> None:
    assert chosen("a.example:443/x", "a.example", "a.example:443") == "a.example:443"
    assert chosen("a.example/x", "a.example", "a.example:443") == "a.example"


def test_without_https_another_port_is_another_server() -> None:
    settings = Settings((route("a.example", plain_http=True),))
    assert settings.route_for(parse_locator("a.example:443/x")) is None
    blocked = route("a.example", plain_http=True, blocked=True)
    assert Settings((blocked,)).route_for(parse_locator("a.example:443/x")) is blocked
    assert chosen("localhost:443/x", "localhost") is None
