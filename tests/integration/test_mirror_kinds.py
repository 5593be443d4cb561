"""A digest is the same from everywhere: mirrors of every kind, dead, dying and lying, behind one name."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import faults
from support.archives import tar_layout
from support.content import Blob, blob, flip, image, write_blob, write_layout
from support.processes import Result, run_dist
from support.programs import SHELF, install
from support.server import FaultServer, OpenServer, closed_port
from support.tree import serving

NAME = "docker.io/library/redis"
SMALL, LARGE = blob("kinds", 5000), blob("kinds large", 6 << 20)
AT = 5_500_000


def http_path(content: Blob) -> str:
    return f"/cas/sha256/{content.digest.encoded}"


def dist(tmp_path: Path, content: Blob, mirrors: list[str], *args: str, env: dict[str, str] | None = None) -> Result:
    """Fetch a digest of `NAME`, which is itself unreachable, through mirrors of `KIND::LOCATION`."""
    tables = []
    for mirror in mirrors:
        kind, _, location = mirror.partition("::")
        tables.append(f'[[remote.mirror]]\nkind = "{kind}"\nlocation = "{location}"\nflat = true\n')
    config = tmp_path / "dist.toml"
    where = f"127.0.0.1:{closed_port()}"
    upstream = f'[[remote]]\nprefix = "docker.io"\nlocation = "{where}"\nretry = {{ attempts = 3, base = "1ms" }}\n'
    config.write_text(upstream + "".join(tables))
    return run_dist(["fetch", NAME, str(content.digest), "--config", str(config), *args], env=env)


def holding(directory: Path, *contents: Blob) -> Path:
    layout = write_layout(directory, {"v1": image("kinds")})
    for content in contents:
        write_blob(layout, content)
    return layout


def lying(directory: Path, content: Blob) -> Path:
    layout = holding(directory, content)
    file = layout / "blobs" / content.digest.algorithm / content.digest.encoded
    file.write_bytes(flip(content.data, 12345))
    return layout


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_five_dead_or_lying_mirrors_of_five_kinds_and_a_sound_one(
    tmp_path: Path, server: FaultServer, content: Blob
) -> None:
    server.script("GET", http_path(content), faults.flipped(content.data, 99))
    env = install(tmp_path / "bin", "shelf", SHELF)
    mirrors = [
        f"registry::127.0.0.1:{closed_port()}/dead",
        f"layout::{lying(tmp_path / 'lying', content)}",
        f"http::{server.host}/cas/{{algorithm}}/{{encoded}}",
        f"shelf::{lying(tmp_path / 'shelf', content)}",
        f"archive::{tar_layout(tmp_path / 'empty.tar', holding(tmp_path / 'empty'))}",
        f"store::{holding(tmp_path / 'sound', content)}",
    ]
    done = dist(tmp_path, content, mirrors, "-v", env=env)
    assert (done.stdout, done.code) == (content.data, 0), done.stderr
    for place in mirrors[:5]:
        kind = place.partition("::")[0]
        assert f"{kind}::" in done.stderr, f"the attempt at {place} is not told"


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_only_dead_and_lying_mirrors_deliver_no_complete_wrong_object(
    tmp_path: Path, server: FaultServer, content: Blob
) -> None:
    server.script("GET", http_path(content), faults.flipped(content.data, 99))
    mirrors = [
        f"layout::{lying(tmp_path / 'lying', content)}",
        f"http::{server.host}/cas/{{algorithm}}/{{encoded}}",
        f"containerd::{tmp_path / 'nothing'}",
    ]
    done = dist(tmp_path, content, mirrors, "--error-format", "json")
    assert done.code != 0
    assert done.stdout == b""


GOING_ON = ["layout", "archive", "store", "containerd", "http", "program"]


@pytest.mark.parametrize("kind", GOING_ON)
def test_a_mirror_that_dies_midway_is_continued_by_another_kind_at_the_same_byte(
    tmp_path: Path, servers: OpenServer, kind: str
) -> None:
    dying = servers()
    dying.script("GET", http_path(LARGE), faults.cut(LARGE.data, AT))
    layout = holding(tmp_path / "io.containerd.content.v1.content", LARGE)
    env = install(tmp_path / "bin", "shelf", SHELF)
    with serving(layout) as files:
        place = {
            "layout": f"layout::{layout}",
            "archive": f"archive::{tar_layout(tmp_path / 'x.tar', layout)}",
            "store": f"store::{layout}",
            "containerd": f"containerd::{tmp_path}",
            "http": f"http::{files.host}/blobs/{{algorithm}}/{{encoded}}",
            "program": f"shelf::{layout}",
        }[kind]
        (layout / "library" / "redis").mkdir(parents=True)
        mirrors = [f"http::{dying.host}/cas/{{algorithm}}/{{encoded}}", place]
        done = dist(tmp_path, LARGE, mirrors, "-v", env=env)
    assert (done.stdout == LARGE.data, done.code) == (True, 0), done.stderr
    assert "going on elsewhere" in done.stderr


def test_an_air_gapped_machine_needs_no_network_for_what_its_store_has(tmp_path: Path) -> None:
    """Tags as `dist fetch --store` records them."""
    picture = image("air")
    store = write_layout(tmp_path / "store", {f"{NAME}:7": picture})
    config = tmp_path / "dist.toml"
    config.write_text(f'[[remote]]\nprefix = "docker.io"\nkind = "store"\nlocation = "{store}"\n')
    done = run_dist(["fetch", "redis", "7", "--config", str(config)])
    assert (done.stdout, done.code) == (picture.manifest.data, 0), done.stderr
