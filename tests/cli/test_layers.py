"""apply, unpack, export and cat as they are typed."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.content import flip, write_blob, write_layout
from support.layers import image_of, image_with, needs_root
from support.processes import ROOT, Result, dist_command, dist_environment, run_dist
from support.tars import char_device, directory, file, hard_link, symlink, tar, whiteout
from support.trees import shape

from dist_tool.cli._layer_options import _limits
from dist_tool.oci.digest import Digest
from dist_tool.oci.image import chain_id
from dist_tool.service.http import RegistryServer

LAYERS = (
    tar(directory("./"), directory("etc"), file("etc/a", b"low"), file("etc/b", b"base")),
    tar(directory("./"), directory("etc"), file("etc/a", b"high"), whiteout("etc/b")),
)
IMAGE = image_of(*LAYERS)
TREE = {"etc": None, "etc/a": b"high"}
DIFF_ID = str(Digest.of(LAYERS[0]))
CHAIN_ID = str(chain_id([Digest.of(layer) for layer in LAYERS]))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "here"
    write_layout(directory / "img", {"v1": IMAGE})
    monkeypatch.chdir(directory)
    return directory


def fails(result: Result, code: int, said: str) -> None:
    assert (result.code, result.stdout) == (code, b""), result.stderr
    assert said in result.stderr
    assert result.stderr.startswith("dist: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_apply_prints_the_diff_id(here: Path, compress: type[bytes]) -> None:
    assert run_dist(["apply", "root"], stdin=compress(LAYERS[0])) == Result(f"{DIFF_ID}\n".encode(), "", 0)
    assert shape(here / "root") == {"etc": None, "etc/a": b"low", "etc/b": b"base"}
    assert run_dist(["apply", "root"], stdin=compress(LAYERS[1])).code == 0
    assert shape(here / "root") == TREE


def test_fetch_pipes_into_apply(here: Path) -> None:
    digest = IMAGE.layers[0].digest
    fetch = subprocess.Popen(
        dist_command("fetch", "./img", str(digest), "type:layer"), env=dist_environment(), stdout=subprocess.PIPE
    )
    assert fetch.stdout is not None
    with fetch.stdout:
        applied = subprocess.run(
            dist_command("apply", "root", "--diff-id", DIFF_ID),
            env=dist_environment(),
            stdin=fetch.stdout,
            capture_output=True,
            check=True,
        )
    assert fetch.wait() == 0
    assert applied.stdout.decode().strip() == DIFF_ID


def test_apply_checks_the_diff_id() -> None:
    fails(run_dist(["apply", "root", "--diff-id", DIFF_ID], stdin=LAYERS[1]), 5, "layer has the digest sha256:")


@pytest.mark.parametrize(
    ("args", "stdin", "code", "said"),
    [
        ([], tar(symlink("/", "x")), 5, "the root can only be a directory"),
        ([], tar(hard_link("a", "../../etc/passwd")), 5, "which does not exist"),
        ([], LAYERS[0][:-1024], 5, "no end marker and may be truncated: to accept it, give its digest with --diff-id"),
        ([], b"root:x:0:0:root:/root:/bin/bash\n" * 32, 5, "is it a tar archive (uncompressed, gzip or zstd)?"),
        ([], LAYERS[0][:700], 5, "ends in the middle"),
        ([], gzip.compress(LAYERS[0], mtime=0)[:-3], 5, "the gzip stream of the layer is truncated"),
        ([], b"garbage" * 100, 5, "tar header"),
        ([], b"BZh91AY", 8, "bzip2"),
        (["--max-size", "1KiB"], LAYERS[0], 5, "see --max-size"),
        (["--max-entries", "2"], LAYERS[0], 5, "see --max-entries"),
        (["--max-depth", "1"], LAYERS[0], 5, "see --max-depth"),
        (["--uidmap", "5:5"], LAYERS[0], 5, "no uid map covers 0"),
        (["--uidmap", "x"], LAYERS[0], 2, "is not an ID map"),
        (["--uidmap", "0:0", "--no-owners"], LAYERS[0], 2, "cannot be combined"),
        (["--max-size", "lots"], LAYERS[0], 2, "--max-size"),
        (["--diff-id", "sha256:x"], LAYERS[0], 2, "is not a sha256 digest"),
        (["--devices", "maybe"], LAYERS[0], 2, "--devices"),
    ],
)
def test_apply_fails_with_one_line_and_the_code_that_says_why(
    args: list[str], stdin: bytes, code: int, said: str
) -> None:
    fails(run_dist(["apply", "root", *args], stdin=stdin), code, said)


def test_ratio_that_is_given_counts_from_a_lower_size_on() -> None:
    given: dict[str, Any] = dict.fromkeys(("max_size", "max_entries", "max_depth", "max_ratio", "max_window"))
    assert (_limits(given).ratio, _limits(given).ratio_floor) == (2000, 16 << 30)
    chosen = _limits({**given, "max_ratio": 2000})
    assert (chosen.ratio, chosen.ratio_floor) == (2000, 1 << 30)


def test_apply_to_what_is_no_directory_is_a_local_failure(here: Path) -> None:
    (here / "file").write_text("")
    fails(run_dist(["apply", "file"], stdin=LAYERS[0]), 9, "file: ")


def test_apply_says_what_it_could_not_do() -> None:
    result = run_dist(
        ["apply", "root", "--devices", "skip"], stdin=tar(char_device("dev/null"), char_device("dev/zero"))
    )
    assert result.code == 0
    assert result.stderr == "dist: warning: devices are skipped (first: dev/null)\n"


def test_unpack_prints_the_chain_id(here: Path) -> None:
    assert run_dist(["unpack", "./img:v1", "root"]) == Result(f"{CHAIN_ID}\n".encode(), "", 0)
    assert shape(here / "root") == TREE
    fails(run_dist(["unpack", "./img:v1", "root"]), 9, "--force")
    assert run_dist(["unpack", "./img:v1", "root", "--force"]).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["apply", ""],
        ["unpack", "./img:v1", "", "--force"],
        ["unpack", "./img:v1", "root", "--config", ""],
        ["export", "./img:v1", "-o", ""],
        ["content", "ls", "--root", ""],
        ["serve", ""],
    ],
)
def test_empty_path_is_a_usage_error(here: Path, words: list[str]) -> None:
    fails(run_dist(words, stdin=LAYERS[0]), 2, "the path is empty")
    assert os.listdir(here) == ["img"]


def test_unpack_to_the_current_or_the_home_directory_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(run_dist(["unpack", "./img:v1", ".", "--force"]), 2, "current directory")
    (here / "me").mkdir()
    monkeypatch.setenv("HOME", str(here / "me"))
    fails(run_dist(["unpack", "./img:v1", "me", "--force"], env={"HOME": str(here / "me")}), 2, "home directory")
    assert sorted(os.listdir(here)) == ["img", "me"]


@pytest.mark.parametrize("words", [["unpack", "./img:v1", "root", "--no-sync"], ["apply", "root"]])
@needs_root
def test_id_map_holds_for_the_root_directory_too(here: Path, words: list[str]) -> None:
    layer = tar(file("f"))
    write_layout(here / "img", {"v1": image_of(layer)})
    maps = ["--uidmap", "0:100000:10", "--gidmap", "0:200000:10"]
    assert run_dist([*words, *maps], stdin=layer).code == 0
    info = (here / "root").stat()
    assert (info.st_uid, info.st_gid) == (100000, 200000)


def test_unpack_leaves_nothing_of_a_damaged_image(here: Path) -> None:
    blob = IMAGE.layers[1]
    write_blob(here / "img", blob).write_bytes(flip(blob.data, 8 * len(blob.data) - 40))
    fails(run_dist(["unpack", "./img:v1", "root"]), 5, str(blob.digest))
    assert sorted(os.listdir(here)) == ["img"]


@pytest.mark.parametrize(("reference", "code"), [("./img:v2", 3), ("./none:v1", 3), ("oci://x", 2), ("./img:", 2)])
def test_unpack_of_what_is_not_there_says_so(reference: str, code: int) -> None:
    fails(run_dist(["unpack", reference, "root"]), code, "dist: ")


def test_unpack_of_another_platform_lists_what_there_is() -> None:
    fails(run_dist(["unpack", "./img:v1", "root", "--platform", "windows/amd64"]), 3, "available: linux/")


def test_bundle_has_a_configuration(here: Path) -> None:
    assert run_dist(["unpack", "./img:v1", "bundle", "--bundle"]).code == 0
    assert json.loads((here / "bundle" / "config.json").read_text())["root"] == {"path": "rootfs"}
    assert shape(here / "bundle" / "rootfs") == TREE


def test_bundle_of_a_windows_image_is_unsupported(here: Path) -> None:
    config = {"os": "windows", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
    write_layout(here / "win", {"v1": image_with((), config)})
    words = ["unpack", "./win:v1", "root", "--platform", "windows/amd64"]
    fails(run_dist([*words, "--bundle"]), 8, "Windows image")
    assert sorted(os.listdir(here)) == ["img", "win"]
    assert run_dist(words).code == 0


def test_unpack_goes_through_the_store(here: Path) -> None:
    """Without the network the second time: the source is gone."""
    with RegistryServer(here / "img", name="img") as server:
        reference = f"{server.address}/img:v1"
        assert run_dist(["unpack", reference, "one", "--store"]).stdout.decode().strip() == CHAIN_ID
    digest = IMAGE.manifest.digest
    again = run_dist(["unpack", f"{reference.rpartition(':')[0]}@{digest}", "two", "--store"])
    assert (again.code, again.stdout.decode().strip()) == (0, CHAIN_ID)
    assert shape(here / "two") == TREE


def test_unpack_from_a_registry(here: Path) -> None:
    with RegistryServer(here / "img", name="img") as server:
        assert run_dist(["unpack", f"{server.address}/img:v1", "root"]).stdout.decode().strip() == CHAIN_ID
    assert shape(here / "root") == TREE


def test_export_is_one_tar(here: Path) -> None:
    result = run_dist(["export", "./img:v1"])
    assert (result.code, result.stderr) == (0, "")
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        assert sorted(archive.getnames()) == [".", "etc", "etc/a"]
    assert run_dist(["export", "./img:v1", "-o", "out.tar"]) == Result(b"", "", 0)
    assert (here / "out.tar").read_bytes() == result.stdout


def test_export_of_a_damaged_image_writes_nothing(here: Path) -> None:
    blob = IMAGE.layers[0]
    write_blob(here / "img", blob).write_bytes(flip(blob.data, 8 * len(blob.data) - 40))
    fails(run_dist(["export", "./img:v1"]), 5, "./img v1")
    fails(run_dist(["export", "./img:v1", "-o", "out.tar"]), 5, "./img v1")
    assert sorted(os.listdir(here)) == ["img"]


def test_cat_writes_files() -> None:
    assert run_dist(["cat", "./img:v1", "/etc/a", "etc/a"]) == Result(b"highhigh", "", 0)
    fails(run_dist(["cat", "./img:v1", "etc/b"]), 3, "no file etc/b in the image")
    fails(run_dist(["cat", "./img:v1", "etc"]), 2, "not a regular file")


@pytest.mark.parametrize("command", [["apply", "root"], ["unpack", "./img:v1", "root"], ["cat", "./img:v1", "etc/a"]])
def test_local_work_loads_neither_http_nor_rich(command: list[str]) -> None:
    program = (
        "import sys, atexit\n"
        "heavy = {'requests', 'urllib3', 'rich', 'tarfile', 'sqlite3'}\n"
        "atexit.register(lambda: print(*sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        f"from dist_tool.cli import main\nmain({command!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**dist_environment(), "PYTHONPATH": str(ROOT)},
        input=LAYERS[0],
        capture_output=True,
        check=True,
    )
    assert done.stderr.decode().split() == []
