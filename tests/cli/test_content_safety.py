"""`dist content …`: what must not be lost, named by mistake, or half done."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.content import image, write_layout
from support.processes import Result, dist_command, dist_environment, run_dist
from support.stored import damage

from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import DOCKER_LAYER, OCI_MANIFEST
from dist_tool.store import open_store
from dist_tool.store.disk import DiskStore

HELLO = Digest.of(b"hello")
EMPTY = Digest.of(b"")
NOT_UTF8 = os.fsdecode(b"caf\xe9")
IMAGE = image("safety", docker=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskStore:
    monkeypatch.setenv("DIST_STORE", str(tmp_path / "store"))
    return open_store(str(tmp_path / "store"))


def content(*args: str, stdin: bytes = b"") -> Result:
    return run_dist(["content", *args], stdin=stdin)


def put(store: DiskStore, data: bytes) -> Descriptor:
    with store.writer("ref") as writer:
        writer.write(data)
        return writer.commit()


def put_image(store: DiskStore, name: str) -> None:
    for blob in IMAGE.blobs():
        put(store, blob.data)
    store.tag(name, IMAGE.manifest.descriptor)


# An empty pipe


@pytest.mark.parametrize("commit", [(), ("--append", "--commit")])
def test_nothing_is_named_if_the_command_before_the_pipe_wrote_nothing(store: DiskStore, commit: tuple[str]) -> None:
    store.tag("app:latest", put(store, b"hello"))
    done = content("ingest", "manifest", "--name", "app:latest", *commit)
    assert (done.stdout, done.code) == (b"", 5)
    assert "the name was not recorded" in done.stderr
    assert "--expected-size 0" in done.stderr
    assert store.resolve("app:latest", Hints()).digest == HELLO
    assert store.size(EMPTY) is None
    assert list(store.statuses()) == []


def test_pipeline_of_the_page_names_nothing_if_the_fetch_fails(store: DiskStore, tmp_path: Path) -> None:
    store.tag("app:latest", put(store, b"hello"))
    dist = " ".join(dist_command())
    pipeline = f"{dist} fetch {tmp_path}/absent latest | {dist} content ingest manifest --name app:latest"
    done = subprocess.run(["sh", "-c", pipeline], env=dist_environment(), capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"", 5)
    assert store.resolve("app:latest", Hints()).digest == HELLO


@pytest.mark.parametrize("expected", [("--expected-size", "0"), ("--expected-digest", str(EMPTY))])
def test_empty_blob_can_be_named_on_purpose(store: DiskStore, expected: tuple[str, str]) -> None:
    done = content("ingest", "ref", "--name", "empty", *expected)
    assert (done.stdout, done.code) == (f"{EMPTY}\n".encode(), 0)
    assert store.resolve("empty", Hints()).digest == EMPTY


def test_empty_blob_without_a_name_is_a_blob(store: DiskStore) -> None:
    assert content("ingest", "ref").stdout == f"{EMPTY}\n".encode()


# Damage


@pytest.mark.parametrize("args", [("ref",), ("--expected-digest", str(HELLO))])
def test_ingest_of_good_bytes_replaces_a_damaged_blob(store: DiskStore, args: tuple[str, ...]) -> None:
    put(store, b"hello")
    store.label(HELLO, {"containerd.io/gc.root": "y"})
    damage(store, HELLO, b"evil!")
    assert content("ingest", *args, stdin=b"hello").stdout == f"{HELLO}\n".encode()
    assert content("verify") == Result(b"", "", 0)
    assert store.info(HELLO).labels == {"containerd.io/gc.root": "y"}


def test_damaged_blob_is_not_success_for_who_expects_its_digest(store: DiskStore) -> None:
    put(store, b"hello")
    damage(store, HELLO, b"evil!")
    done = content("ingest", "--expected-digest", str(HELLO), stdin=b"other")
    assert (done.stdout, done.code) == (b"", 5)
    assert "is damaged; replacing it" in done.stderr
    assert Path(store.path(HELLO)).read_bytes() == b"evil!"


# Nothing is half done


@pytest.mark.parametrize(
    "args",
    [
        ("--label", f"k={NOT_UTF8}"),
        ("--label", f"{NOT_UTF8}=v"),
        ("--name", NOT_UTF8),
        ("--name", ""),
        ("--name", "two\nlines"),
        ("--name", "n", "--media-type", NOT_UTF8),
        ("--name", "n", "--media-type", ""),
        ("--name", "n", "--media-type", "nonsense"),
        ("--name", "n", "--media-type", "application/*"),
    ],
)
def test_what_cannot_be_recorded_is_a_usage_error_before_anything_is_added(
    store: DiskStore, args: tuple[str, ...]
) -> None:
    done = content("ingest", "ref", *args, stdin=b"hello")
    assert (done.stdout, done.code) == (b"", 2)
    assert "report" not in done.stderr
    assert store.size(HELLO) is None


def test_index_that_cannot_take_a_name_is_found_before_anything_is_added(store: DiskStore) -> None:
    put(store, b"x")
    (Path(store.root) / "index.json").write_text("[]")
    done = content("ingest", "ref", "--name", "n", stdin=b"hello")
    assert (done.stdout, done.code) == (b"", 5)
    assert store.size(HELLO) is None


def test_label_that_is_not_utf8_is_a_usage_error(store: DiskStore) -> None:
    put(store, b"hello")
    done = content("label", str(HELLO), f"k={NOT_UTF8}")
    assert (done.code, "not valid UTF-8" in done.stderr) == (2, True)


def test_edit_checks_the_name_before_it_starts_the_editor(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, b"hello")
    monkeypatch.setenv("EDITOR", f"touch {tmp_path / 'edited'};:")
    assert content("edit", str(HELLO), "--name", NOT_UTF8).code == 2
    assert not (tmp_path / "edited").exists()


def test_store_at_a_path_that_is_not_utf8_takes_names_and_labels(tmp_path: Path) -> None:
    root = f"{tmp_path}/{NOT_UTF8}"
    args = ("ingest", "ref", "--name", "n", "--label", "k=v", "--root", root)
    assert content(*args, stdin=b"hello") == Result(f"{HELLO}\n".encode(), "", 0)
    assert content("label", "n", "--root", root).stdout == b"k=v\n"
    assert content("path", "n", "--root", root).stdout.startswith(os.fsencode(root))


def test_half_of_a_surrogate_pair_in_anothers_index_is_no_obstacle(store: DiskStore) -> None:
    desc = put(store, b"x")
    name = "org.opencontainers.image.ref.name"
    entry = {**desc.to_json(), "annotations": {name: "odd \ud800", "comment": "\udc00"}}
    (Path(store.root) / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    assert content("ingest", "ref", "--name", "n", stdin=b"hello") == Result(f"{HELLO}\n".encode(), "", 0)
    for args in ((), ("-q",), ("--json",), ("--named",)):
        done = content("ls", *args)
        assert (done.code, done.stderr) == (0, "")
    assert json.loads((Path(store.root) / "index.json").read_bytes())["manifests"][0] == entry
    done = run_dist(["fetch", f"store::{store.root}", "absent"])
    assert (done.code, "internal" in done.stderr) == (3, False)


def test_fetched_tag_that_cannot_be_a_name_is_refused_before_the_fetch(store: DiskStore, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"two\nlines": IMAGE})
    done = run_dist(["fetch", str(layout), "two\nlines", "--store"])
    assert (done.stdout, done.code) == (b"", 2)
    assert list(store.walk()) == []


# Reading no more than is needed


def opened_blobs(store: DiskStore, tmp_path: Path, *args: str) -> set[str]:
    """The names of the blobs that a command opens, by strace."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "strace"
    command = [strace, "-f", "-qq", "-e", "trace=open,openat", "-o", str(log), *dist_command("content", *args)]
    done = subprocess.run(command, env=dist_environment(), capture_output=True, check=False)
    if b"ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    text = log.read_text()
    return {name for name in os.listdir(f"{store.root}/blobs/sha256") if f"/{name}" in text}


def test_ls_of_one_blob_does_not_read_the_whole_store(store: DiskStore, tmp_path: Path) -> None:
    put_image(store, "app")
    others = {put(store, f"other {number}".encode()).digest.encoded for number in range(5)}
    layer = IMAGE.layers[0].digest
    opened = opened_blobs(store, tmp_path, "ls", str(layer))
    assert opened == {layer.encoded, IMAGE.manifest.digest.encoded}
    assert others <= opened_blobs(store, tmp_path, "ls")


def test_type_of_one_layer_is_what_the_manifest_of_a_name_states(store: DiskStore) -> None:
    put_image(store, "app")
    layer = str(IMAGE.layers[0].digest)
    assert json.loads(content("ls", "--json", layer).stdout)["type"] == f"{DOCKER_LAYER}.gzip"
    listed = [json.loads(line) for line in content("ls", "--json").stdout.splitlines()]
    assert {entry["digest"]: entry["type"] for entry in listed}[layer] == f"{DOCKER_LAYER}.gzip"


def test_ls_and_verify_do_not_keep_garbage_alive(store: DiskStore) -> None:
    digest = put(store, b'{"schemaVersion": 2, "config": {}, "layers": []}').digest
    old = time.time() - 90 * 3600
    os.utime(store.path(digest), (old, old))
    for args in (("ls",), ("ls", "--type", "manifest"), ("verify",), ("verify", str(digest)), ("gc", "-n")):
        assert content(*args).code == 0
    assert content("gc").stdout == f"{digest}\n".encode()


# Two platforms


def test_name_with_an_entry_for_each_platform_lists_them(store: DiskStore) -> None:
    entries = []
    for architecture in ("amd64", "arm64"):
        desc = put(store, architecture.encode())
        named = {"org.opencontainers.image.ref.name": "app"}
        platform = {"os": "linux", "architecture": architecture}
        entries.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": str(desc.digest),
                "size": 5,
                "platform": platform,
                "annotations": named,
            }
        )
    (Path(store.root) / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    done = content("get", "app")
    assert (done.stdout, done.code) == (b"", 5)
    for entry in entries:
        assert str(entry["digest"]) in done.stderr
    chosen = run_dist(["fetch", "store::", "app", "platform:linux/arm64"])
    assert (chosen.stdout, chosen.code) == (b"arm64", 0)


# Full disk


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system without any space left, with a store on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    is_mounted = mount and os.geteuid() == 0
    options = ["-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if not is_mounted or subprocess.run([str(mount), *options], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    monkeypatch.setenv("DIST_STORE", str(disk / "store"))
    return disk


def test_full_disk_lets_blobs_be_removed_and_the_hint_of_a_name_is_that(small_disk: Path) -> None:
    try:
        store = open_store(str(small_disk / "store"))
        desc = put(store, b"hello")
        store.tag("n", desc)
        store.label(put(store, b"x").digest, {"k": "v"})
        with (small_disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        named = content("rm", "n")
        assert named.code == 9
        assert "`dist content rm DIGEST`" in named.stderr
        assert "kept" not in named.stderr
        assert content("rm", str(desc.digest)) == Result(f"{desc.digest}\n".encode(), "", 0)
        removed = content("gc", "--grace", "0")
        assert (removed.stdout, removed.code) == (f"{Digest.of(b'x')}\n".encode(), 0)
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


def test_new_store_is_open_to_those_whom_the_umask_lets_in(store: DiskStore) -> None:
    old = os.umask(0o002)
    try:
        content("ingest", "ref", "--append", "--label", "k=v", stdin=b"some")
        content("ingest", "other", "--label", "k=v", stdin=b"hello")
    finally:
        os.umask(old)
    for path in (Path(store.root), *Path(store.root).rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o775 if path.is_dir() else 0o444 if "blobs" in path.parts else 0o664), path
