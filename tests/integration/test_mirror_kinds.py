"""A digest is the same from everywhere: mirrors of every kind, dead, dying and lying, behind one name."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from support import faults
from support.archives import tar_layout
from support.content import Blob, blob, flip, image, random_bytes, write_blob, write_layout
from support.layers import image_of
from support.processes import Result, run_dist
from support.programs import SHELF, install
from support.server import FaultServer, OpenServer, closed_port
from support.tars import file, tar
from support.tree import serving
from support.trees import shape

NAME = "docker.io/library/redis"
SMALL, LARGE = blob("kinds", 5000), blob("kinds large", 6 << 20)
AT = 5_500_000


def http_path(content: Blob) -> str:
    return f"/cas/sha256/{content.digest.encoded}"


def dist(tmp_path: Path, content: Blob, mirrors: list[str], *args: str, env: dict[str, str] | None = None) -> Result:
    """Fetch a digest of `NAME` through mirrors."""
    return run_dist(["fetch", NAME, str(content.digest), "--config", configured(tmp_path, mirrors), *args], env=env)


def configured(tmp_path: Path, mirrors: list[str], attempts: int = 3) -> str:
    """A configuration by which `NAME`, which is itself unreachable, has mirrors of `KIND::LOCATION`."""
    tables = []
    for mirror in mirrors:
        kind, _, location = mirror.partition("::")
        tables.append(f'[[remote.mirror]]\nkind = "{kind}"\nlocation = "{location}"\nflat = true\n')
    config = tmp_path / "dist.toml"
    where = f"127.0.0.1:{closed_port()}"
    retry = f'retry = {{ attempts = {attempts}, base = "1ms" }}\n'
    config.write_text(f'[[remote]]\nprefix = "docker.io"\nlocation = "{where}"\n{retry}' + "".join(tables))
    return str(config)


def holding(directory: Path, *contents: Blob) -> Path:
    layout = write_layout(directory, {"v1": image("kinds")})
    for content in contents:
        write_blob(layout, content)
    return layout


def lying(directory: Path, content: Blob) -> Path:
    layout = holding(directory, content)
    file = layout / "blobs" / content.digest.algorithm / content.digest.encoded
    file.write_bytes(flip(content.data, 8 * len(content.data) - 99))
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
    for mirror in mirrors[:5]:
        kind = mirror.partition("::")[0]
        assert f"{kind}::" in done.stderr, f"the attempt at {mirror} is not reported"


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


# The same for the layers of an image. The first fits into what is withheld, the second is read while it comes.
IMAGE = image_of(tar(file("etc/small", b"small")), tar(file("large", random_bytes("kinds", 3 << 20))))
FILES = {"etc": None, "etc/small": b"small", "large": random_bytes("kinds", 3 << 20)}
PICTURE = f"{NAME}@{IMAGE.root.digest}"


@pytest.fixture(params=[0, 1], ids=["small", "large"])
def bad_mirrors(request: pytest.FixtureRequest, tmp_path: Path, servers: OpenServer) -> list[str]:
    """Six mirrors that are dead, die under way or lie about a layer, and a sound one."""
    layer = IMAGE.layers[request.param]
    flipping, dying = servers(), servers()
    for server in (flipping, dying):
        for content in IMAGE.blobs():
            server.always("GET", http_path(content), faults.status(404))
    flipping.always("GET", http_path(layer), faults.flipped(layer.data, 8 * len(layer.data) - 99))
    dying.always("GET", http_path(layer), faults.cut(layer.data, len(layer.data) // 2))
    return [
        f"registry::127.0.0.1:{closed_port()}/dead",
        f"http::{dying.host}/cas/{{algorithm}}/{{encoded}}",
        f"layout::{lying(tmp_path / 'lying', layer)}",
        f"http::{flipping.host}/cas/{{algorithm}}/{{encoded}}",
        f"shelf::{lying(tmp_path / 'shelf', layer)}",
        f"archive::{tar_layout(tmp_path / 'empty.tar', holding(tmp_path / 'empty'))}",
        f"store::{holding(tmp_path / 'sound', *IMAGE.blobs())}",
    ]


@pytest.mark.parametrize(("command", "more"), [("unpack", []), ("export", []), ("cat", []), ("unpack", ["--store"])])
def test_an_image_comes_through_dead_dying_and_lying_mirrors_with_a_single_attempt(
    tmp_path: Path, bad_mirrors: list[str], command: str, more: list[str]
) -> None:
    env = install(tmp_path / "bin", "shelf", SHELF)
    options = ["--config", configured(tmp_path, bad_mirrors, attempts=1), *more]
    target = tmp_path / "target"
    words = {"unpack": [str(target)], "export": ["-o", str(target)], "cat": ["large", "etc/small"]}[command]
    done = run_dist([command, PICTURE, *words, *options], env={**env, "DIST_STORE": str(tmp_path / "kept")})
    assert done.code == 0, done.stderr
    if command == "unpack":
        assert shape(target) == FILES
    elif command == "export":
        with tarfile.open(target) as archive:
            assert {name: archive.extractfile(name).read() for name in ("large", "etc/small")} == {  # type: ignore[union-attr]
                name: FILES[name] for name in ("large", "etc/small")
            }
    else:
        assert done.stdout == FILES["large"] + b"small"
    for mirror in bad_mirrors[2:5]:
        assert f"{mirror} served wrong content" in done.stderr


def test_an_image_of_which_no_mirror_has_a_right_layer_leaves_nothing(tmp_path: Path, bad_mirrors: list[str]) -> None:
    env = install(tmp_path / "bin", "shelf", SHELF)
    partial = f"layout::{holding(tmp_path / 'partial', IMAGE.root, IMAGE.config)}"
    config = configured(tmp_path, [*bad_mirrors[:-1], partial], attempts=1)
    target = tmp_path / "target"
    for words in (["unpack", PICTURE, str(target)], ["export", PICTURE, "-o", str(target)], ["cat", PICTURE, "large"]):
        done = run_dist([*words, "--config", config], env=env)
        assert (done.code != 0, done.stdout) == (True, b"")
        assert not target.exists()


@pytest.mark.parametrize("bad_mirrors", [1], ids=["large"], indirect=True)
@pytest.mark.parametrize("delivery", ["stdout", "-o", "--stdin", "--into", "--verify=before", "--store"])
def test_one_digest_comes_through_dead_dying_and_lying_mirrors_with_a_single_attempt(
    tmp_path: Path, bad_mirrors: list[str], delivery: str
) -> None:
    env = install(tmp_path / "bin", "shelf", SHELF)
    layer = IMAGE.layers[1]
    argv = ["fetch", NAME, "--config", configured(tmp_path, bad_mirrors, attempts=1)]
    target = tmp_path / "out"
    named = target / f"sha256-{layer.digest.encoded}"
    more, stdin, where = {
        "stdout": ([str(layer.digest)], b"", None),
        "-o": ([str(layer.digest), "-o", str(target)], b"", target),
        "--stdin": (["--stdin"], f"{layer.digest}\n".encode(), None),
        "--into": (["--stdin", "--into", str(target)], f"{layer.digest}\n".encode(), named),
        "--verify=before": ([str(layer.digest), delivery], b"", None),
        "--store": ([str(layer.digest), delivery], b"", None),
    }[delivery]
    done = run_dist([*argv, *more], stdin=stdin, env={**env, "DIST_STORE": str(tmp_path / "kept")})
    assert done.code == 0, done.stderr
    assert (done.stdout if where is None else where.read_bytes()) == layer.data


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
        mirror = {
            "layout": f"layout::{layout}",
            "archive": f"archive::{tar_layout(tmp_path / 'x.tar', layout)}",
            "store": f"store::{layout}",
            "containerd": f"containerd::{tmp_path}",
            "http": f"http::{files.host}/blobs/{{algorithm}}/{{encoded}}",
            "program": f"shelf::{layout}",
        }[kind]
        (layout / "library" / "redis").mkdir(parents=True)
        mirrors = [f"http::{dying.host}/cas/{{algorithm}}/{{encoded}}", mirror]
        done = dist(tmp_path, LARGE, mirrors, "-v", env=env)
    assert (done.stdout == LARGE.data, done.code) == (True, 0), done.stderr
    assert "trying another endpoint" in done.stderr


def test_an_air_gapped_machine_needs_no_network_for_what_its_store_has(tmp_path: Path) -> None:
    """Tags as `dist fetch --store` records them."""
    picture = image("air")
    store = write_layout(tmp_path / "store", {f"{NAME}:7": picture})
    config = tmp_path / "dist.toml"
    config.write_text(f'[[remote]]\nprefix = "docker.io"\nkind = "store"\nlocation = "{store}"\n')
    done = run_dist(["fetch", "redis", "7", "--config", str(config)])
    assert (done.stdout, done.code) == (picture.manifest.data, 0), done.stderr
