"""Mirrors, policy and pins through the command and real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.content import blob, image, write_blob, write_layout
from support.faults import content, cut, flipped, registry_error
from support.processes import Result, run_dist
from support.server import FaultServer, OpenServer

from dist_tool.service.http import AccessLogEntry, RegistryServer

IMAGE = image("mirrors")
LARGE = blob("mirrors large", 6 << 20)
NAME = "docker.io/library/redis"

Fetch = Callable[..., Result]


@pytest.fixture
def entries() -> list[AccessLogEntry]:
    """What the upstream registry was asked."""
    return []


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = write_layout(tmp_path / "img", {"latest": IMAGE, "v1": IMAGE})
    write_blob(path, LARGE)
    return path


@pytest.fixture
def upstream(layout: Path, entries: list[AccessLogEntry]) -> Iterator[str]:
    with RegistryServer(layout, name="library/redis", observe=entries.append) as server:
        yield server.address


@pytest.fixture
def dist(tmp_path: Path) -> Fetch:
    """Run `dist`, configured by the text given first."""
    config = tmp_path / "dist.toml"

    def run(toml: str, *args: str, stdin: bytes = b"") -> Result:
        config.write_text(toml)
        return run_dist([*args, "--config", str(config)], stdin=stdin)

    return run


def remote(upstream: str, *mirrors: str, more: str = "") -> str:
    tables = "".join(f"[[remote.mirror]]\n{mirror}\n" for mirror in mirrors)
    return f'[[remote]]\nprefix = "docker.io/library"\nlocation = "{upstream}/library"\n{tables}{more}'


def at(server: FaultServer) -> str:
    return f'location = "{server.host}/library"\nplain_http = true\n'


def test_a_directory_is_a_mirror_and_upstream_is_not_asked_for_what_it_has(
    layout: Path, upstream: str, entries: list[AccessLogEntry], dist: Fetch
) -> None:
    mirror = f'kind = "layout"\nlocation = "{layout}"\nflat = true\ncapabilities = ["pull"]'
    done = dist(remote(upstream, mirror), "fetch", NAME, str(LARGE.digest))
    assert (done.stdout, done.code) == (LARGE.data, 0)
    assert entries == []


def test_tags_come_from_where_resolving_is_trusted_only(
    layout: Path, upstream: str, entries: list[AccessLogEntry], dist: Fetch
) -> None:
    mirror = f'kind = "layout"\nlocation = "{layout}"\nflat = true\ncapabilities = ["pull"]'
    assert dist(remote(upstream, mirror), "fetch", NAME, "latest").stdout == IMAGE.manifest.data
    assert [entry.path for entry in entries] == ["/v2/library/redis/manifests/latest"]


def test_a_mirror_that_dies_midway_is_left_for_a_directory_at_the_same_byte(
    layout: Path, upstream: str, servers: OpenServer, dist: Fetch
) -> None:
    dying = servers()
    dying.always("GET", f"/v2/library/redis/blobs/{LARGE.digest}", cut(LARGE.data, 5 << 20))
    directory = f'kind = "layout"\nlocation = "{layout}"\nflat = true'
    done = dist(remote(upstream, at(dying), directory), "fetch", NAME, str(LARGE.digest))
    assert done.stdout == LARGE.data
    assert "trying another endpoint" in done.stderr


def test_dead_denying_and_lying_mirrors_end_with_the_right_bytes_and_a_report_of_each(
    layout: Path, upstream: str, servers: OpenServer, tmp_path: Path, dist: Fetch
) -> None:
    denying, lying, corrupt = servers(), servers(), servers()
    path = f"/v2/library/redis/blobs/{LARGE.digest}"
    denying.always("GET", path, registry_error(403, "DENIED"))
    lying.always("GET", path, content(blob("another", 6 << 20).data))
    corrupt.always("GET", path, flipped(LARGE.data, 8 * 4_000_000))
    empty = write_layout(tmp_path / "empty")
    toml = remote(
        upstream,
        'location = "127.0.0.1:1/library"',
        at(denying),
        at(lying),
        at(corrupt),
        f'kind = "layout"\nlocation = "{empty}"\nflat = true',
    )
    done = dist(toml, "fetch", NAME, str(LARGE.digest), "-v")
    assert (done.stdout == LARGE.data, done.code) == (True, 0)
    for said in ("connection refused", "DENIED", f"{lying.host}/library/redis served wrong content", "no such blob"):
        assert said in done.stderr
    assert f"{corrupt.host}/library/redis served wrong content" in done.stderr


def test_when_all_fail_the_error_is_upstreams_and_the_attempts_are_listed(
    servers: OpenServer, upstream: str, dist: Fetch
) -> None:
    absent = "sha256:" + "0" * 64
    done = dist(
        remote(upstream, 'location = "127.0.0.1:1/library"'), "fetch", NAME, absent, "-q", "--error-format", "json"
    )
    assert (done.stdout, done.code) == (b"", 3)
    assert "connection refused" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("policy", "objects", "code"),
    [
        ('[policy]\nrequire_digest = ["docker.io/*"]', ["latest"], 10),
        ('[policy]\nrequire_digest = ["docker.io"]', ["latest"], 10),
        ('[policy]\nrequire_digest = ["docker.io"]', [str(LARGE.digest)], 0),
        ('[policy]\nblocked = ["docker.io/library"]', [str(LARGE.digest)], 10),
        ('[policy]\nblocked = ["docker.io/lib"]', [str(LARGE.digest)], 0),
        ('[policy]\nalgorithms = ["sha512"]', [str(LARGE.digest)], 10),
        ('[policy]\nalgorithms = ["sha512"]', ["latest"], 10),
        ('[policy]\nmax_size = "1MiB"', [str(LARGE.digest)], 5),
        ("[policy]\nmax_manifest = 100", ["latest"], 5),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_policy_holds_with_and_without_mirrors(
    upstream: str, layout: Path, dist: Fetch, policy: str, objects: list[str], code: int, mirrored: bool
) -> None:
    mirrors = [f'kind = "layout"\nlocation = "{layout}"\nflat = true\ncapabilities = ["pull"]'] if mirrored else []
    done = dist(remote(upstream, *mirrors, more=policy), "fetch", NAME, *objects)
    assert done.code == code, done.stderr
    assert bool(done.stdout) == (code == 0)


def test_a_pinned_tag_is_its_digest_wherever_the_tag_has_gone(
    upstream: str, entries: list[AccessLogEntry], dist: Fetch
) -> None:
    pinned = f'[pin]\n"{NAME}:latest" = "{LARGE.digest}"\n[policy]\nrequire_digest = ["*"]'
    assert dist(remote(upstream, more=pinned), "fetch", NAME, "latest").stdout == LARGE.data
    assert not any("manifests/latest" in entry.path for entry in entries)
    assert dist(remote(upstream, more=pinned), "fetch", NAME, "v1").code == 10


def test_a_pin_that_is_nowhere_is_not_found(upstream: str, dist: Fetch) -> None:
    pinned = f'[pin]\n"{NAME}:latest" = "sha256:{"0" * 64}"\n'
    assert dist(remote(upstream, more=pinned), "resolve", f"{NAME}:latest").code == 3
