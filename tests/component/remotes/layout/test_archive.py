"""Archives as tools write them, and as nobody should (behaviours E20, R8, A19; ggcr #2232)."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.archives import docker_archive, saved, tar_layout
from support.content import to_json, write_layout
from support.opened_archive import IMAGE, LAYERS, Opened, read
from support.processes import dist_command, dist_environment, require_program, run_dist, run_program

from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import parse_manifest
from dist_tool.oci.mediatypes import OCI_MANIFEST


@pytest.fixture
def opened() -> object:
    made = Opened()
    yield made
    for remote in made.remotes:
        remote.close()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"v1": IMAGE})


def test_a_zstd_archive(opened: Opened, layout: Path, tmp_path: Path) -> None:
    file = tar_layout(tmp_path / "x.tar", layout)
    packed = tmp_path / "x.tar.zst"
    packed.write_bytes(run_program("zstd", "-qc", str(file)))
    assert read(opened(packed), "v1") == IMAGE.manifest.data


def test_what_tar_writes_of_a_directory(opened: Opened, layout: Path, tmp_path: Path) -> None:
    """Names with ./ and directories among them."""
    run_program("tar", "-C", str(layout), "-cf", str(tmp_path / "x.tar"), ".")
    assert read(opened(tmp_path / "x.tar"), "v1") == IMAGE.manifest.data


def test_what_skopeo_writes(opened: Opened, layout: Path, tmp_path: Path) -> None:
    for kind, name in (("oci-archive", "v1"), ("docker-archive", "docker.io/library/x:v1")):
        file = tmp_path / f"{kind}.tar"
        args = ["--insecure-policy", "copy", "--quiet", f"oci:{layout}:v1", f"{kind}:{file}:{name}"]
        run_program("skopeo", *args)
        remote = opened(file)
        manifest = parse_manifest(read(remote, name), OCI_MANIFEST)
        assert [len(read(remote, child.digest)) for child in manifest.children()] == [
            child.size for child in manifest.children()
        ]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_standard_input_is_spooled(layout: Path, tmp_path: Path, packed: bool) -> None:
    file = tar_layout(tmp_path / "x.tar", layout, mode="w:gz" if packed else "w")
    result = run_dist(["fetch", "archive::-", "v1"], stdin=file.read_bytes())
    assert (result.stdout, result.code, result.stderr) == (IMAGE.manifest.data, 0, "")


def test_a_pipe_is_read_to_its_end_and_nothing_is_left_behind(layout: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    command = " ".join(dist_command("fetch", "archive::-", str(IMAGE.layers[0].digest)))
    done = subprocess.run(
        ["sh", "-c", f"tar -C {layout} -c . | gzip | {command}"],
        env=dist_environment({"TMPDIR": str(tmp_path / "tmp")}),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == IMAGE.layers[0].data
    assert os.listdir(tmp_path / "tmp") == []


def test_start_up_loads_nothing_of_the_network(layout: Path, tmp_path: Path) -> None:
    file = tar_layout(tmp_path / "x.tar", layout)
    code = (
        "import sys; from dist_tool.remotes.table import open_remote; from dist_tool.settings import Settings;"
        "from dist_tool.names.locator import parse_locator; from dist_tool.names.hints import Hints;"
        f"r = open_remote(parse_locator({str(file)!r}), Settings()); r.resolve('v1', Hints()); r.close();"
        "sys.exit(any(m in sys.modules for m in ('requests', 'subprocess', 'tarfile', 'http.client')))"
    )
    subprocess.run([sys.executable, "-c", code], env=dist_environment(), check=True, timeout=60)


def test_it_unpacks_like_any_image(tmp_path: Path) -> None:
    require_program("sh")
    diff = [str(Digest.of(layer)) for layer in (LAYERS[0], gzip.decompress(LAYERS[1]))]
    config = to_json({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff}})
    file = docker_archive(tmp_path / "x.tar", saved(config, LAYERS, "app:1"))
    result = run_dist(["unpack", f"{file}:app:1", str(tmp_path / "root")])
    assert (result.code, result.stderr) == (0, "")
    assert ((tmp_path / "root" / "a").read_bytes(), (tmp_path / "root" / "b").read_bytes()) == (b"1", b"2")
