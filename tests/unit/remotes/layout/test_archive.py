"""Archives as tools write them, and as nobody should (behaviours E20, R8, A19; ggcr #2232)."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import tars
from support.archives import Link, docker_archive, layout_members, saved, tar_file, tar_layout
from support.content import Blob, random_bytes, to_json, write_layout
from support.opened_archive import CONFIG, IMAGE, LAYERS, Opened, read
from support.routes import route

from dist_tool.errors import (
    BadManifest,
    DistError,
    InvalidArgument,
    InvalidContent,
    LimitExceeded,
    LocalFailure,
    NotFound,
    UnsafePath,
    Unsupported,
)
from dist_tool.names.hints import Hints
from dist_tool.names.locator import parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import parse_manifest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from dist_tool.remotes.table import open_remote
from dist_tool.settings import Settings

SAVED = saved(CONFIG, LAYERS, "redis:7", "registry.test/team/redis:7.2")
OTHER = saved(b'{"architecture":"arm64"}', LAYERS[:1], "busybox:latest")


@pytest.fixture
def opened() -> object:
    made = Opened()
    yield made
    for remote in made.remotes:
        remote.close()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"v1": IMAGE})


# OCI archives.


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_oci_archive_is_a_layout(opened: Opened, layout: Path, tmp_path: Path, mode: str) -> None:
    remote = opened(tar_layout(tmp_path / "x.tar", layout, mode=mode))
    assert list(remote.tags()) == ["v1"]
    assert read(remote, "v1") == IMAGE.manifest.data
    assert read(remote, IMAGE.layers[0].digest) == IMAGE.layers[0].data


def test_an_archive_that_is_both_is_read_as_the_layout(opened: Opened, layout: Path, tmp_path: Path) -> None:
    """What docker has written since version 25."""
    members = {**layout_members(layout), **SAVED[1], "manifest.json": json.dumps([SAVED[0]]).encode()}
    assert list(opened(tar_file(tmp_path / "x.tar", members)).tags()) == ["v1"]


def test_a_whole_reference_is_known_by_containerds_annotation(opened: Opened, layout: Path, tmp_path: Path) -> None:
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"][0]["annotations"]["io.containerd.image.name"] = "docker.io/library/app:v1"
    (layout / "index.json").write_bytes(to_json(index))
    remote = opened(tar_layout(tmp_path / "x.tar", layout))
    assert read(remote, "docker.io/library/app:v1") == IMAGE.manifest.data


# docker save.


def test_a_saved_image_gets_a_manifest_made_of_its_files(opened: Opened, tmp_path: Path) -> None:
    remote = opened(docker_archive(tmp_path / "x.tar", SAVED))
    manifest = parse_manifest(read(remote, "redis:7"))
    assert manifest.config == Descriptor(Digest.of(CONFIG), len(CONFIG), OCI_CONFIG)
    assert manifest.layers == (
        Descriptor(Digest.of(LAYERS[0]), len(LAYERS[0]), OCI_LAYER),
        Descriptor(Digest.of(LAYERS[1]), len(LAYERS[1]), f"{OCI_LAYER}+gzip"),
    )
    assert [read(remote, desc.digest) for desc in manifest.children()] == [CONFIG, *LAYERS]


def test_the_manifest_is_the_same_each_time_and_in_each_order(opened: Opened, tmp_path: Path) -> None:
    descs = {
        opened(docker_archive(tmp_path / f"{n}.tar", *images, mode=mode)).resolve("redis:7", Hints()).digest
        for n, (images, mode) in enumerate([((SAVED, OTHER), "w"), ((OTHER, SAVED), "w"), ((SAVED, OTHER), "w:gz")])
    }
    assert len(descs) == 1


NAMES = {
    "redis:7": SAVED,
    "docker.io/library/redis:7": SAVED,
    "registry.test/team/redis:7.2": SAVED,
    "7.2": SAVED,
    "latest": OTHER,
    "@0": SAVED,
    "@2": OTHER,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_saved_images(opened: Opened, tmp_path: Path, name: str) -> None:
    """A reference as saved or in full, a tag that only one image has, or a place in the list of names."""
    remote = opened(docker_archive(tmp_path / "x.tar", SAVED, OTHER))
    config = parse_manifest(read(remote, name)).config
    assert config is not None
    assert f"{config.digest.encoded}.json" == NAMES[name][0]["Config"]


def test_several_images_need_a_name(opened: Opened, tmp_path: Path) -> None:
    remote = opened(docker_archive(tmp_path / "x.tar", SAVED, OTHER))
    with pytest.raises(InvalidArgument, match="holds 3 images"):
        remote.resolve("", Hints())
    for name in ("nosuch", "@3", "redis:8"):
        with pytest.raises(NotFound, match=r"there are: busybox:latest, redis:7"):
            remote.resolve(name, Hints())


def test_an_image_without_a_name_is_the_only_one(opened: Opened, tmp_path: Path) -> None:
    remote = opened(docker_archive(tmp_path / "x.tar", saved(CONFIG, LAYERS)))
    assert remote.resolve("", Hints()).media_type == OCI_MANIFEST
    assert list(remote.tags()) == []


def test_a_repository_can_be_served_from_an_archive(tmp_path: Path) -> None:
    file = docker_archive(tmp_path / "x.tar", SAVED, OTHER)
    served = route("docker.io", kind="archive", location=str(file))
    remote = open_remote(parse_locator("redis"), Settings(routes=(served,)))
    assert remote.resolve("7", Hints()).media_type == OCI_MANIFEST
    with pytest.raises(NotFound):
        remote.resolve("8", Hints())
    remote.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("hard", [False, True], ids=["symbolic", "hard"])
def test_a_layer_may_be_a_link_to_another_member(opened: Opened, tmp_path: Path, hard: bool) -> None:
    """Older dockers save a layer that two images share once, and link to it."""
    entry = {"Config": "c.json", "RepoTags": None, "Layers": ["one/layer.tar", "two/layer.tar"]}
    members: dict[str, bytes | Link] = {"c.json": CONFIG, "one/layer.tar": LAYERS[0]}
    members["two/layer.tar"] = Link("one/layer.tar" if hard else "../one/layer.tar", hard)
    members["manifest.json"] = json.dumps([entry]).encode()
    manifest = parse_manifest(read(opened(tar_file(tmp_path / "x.tar", members)), "@0"))
    assert {layer.digest for layer in manifest.layers} == {Digest.of(LAYERS[0])}


# Standard input.


# Hostile ones.


def docker_members(**changes: object) -> dict[str, bytes | Link]:
    entry = {"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l.tar"], **changes}
    return {"c.json": CONFIG, "l.tar": LAYERS[0], "manifest.json": json.dumps([entry]).encode()}


def layout_version(version: str) -> bytes:
    return to_json({"imageLayoutVersion": version})


HOSTILE: dict[str, tuple[Mapping[str, bytes | Link], type[DistError]]] = {
    "a link to itself": ({**docker_members(), "l.tar": Link("l.tar")}, UnsafePath),
    "two links in a circle": ({**docker_members(), "l.tar": Link("m"), "m": Link("l.tar")}, UnsafePath),
    "a link to a link": ({**docker_members(), "l.tar": Link("m"), "m": Link("c.json")}, UnsafePath),
    "a link out of the archive": ({**docker_members(), "l.tar": Link("/etc/passwd")}, BadManifest),
    "a link up and out": ({**docker_members(), "l.tar": Link("../../../etc/passwd")}, BadManifest),
    "a layer that is not there": (docker_members(Layers=["nosuch.tar"]), BadManifest),
    "a layer outside": (docker_members(Layers=["../../../../etc/passwd"]), BadManifest),
    "an absolute layer": (docker_members(Layers=["/etc/passwd"]), BadManifest),
    "a config that is not there": (docker_members(Config="../x"), BadManifest),
    "no config": (docker_members(Config=None), BadManifest),
    "layers that are none": (docker_members(Layers="l.tar"), BadManifest),
    "names that are none": (docker_members(RepoTags=[1]), BadManifest),
    "a list that is none": ({**docker_members(), "manifest.json": b"{}"}, BadManifest),
    "a list of nothing": ({**docker_members(), "manifest.json": b"[null]"}, BadManifest),
    "no JSON": ({**docker_members(), "manifest.json": b"\xff"}, BadManifest),
    "a list that is too long": ({"manifest.json": b" " * (1 << 20) + b"[]"}, LimitExceeded),
    "a list that is a link": ({**docker_members(), "m": b"[]", "manifest.json": Link("n")}, NotFound),
    "an index that is too long": (
        {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b" " * (8 << 20) + b"[]"},
        LimitExceeded,
    ),
    "a layout of another age": ({"oci-layout": b'{"imageLayoutVersion":"2.0.0"}', "index.json": b"{}"}, Unsupported),
    "nothing of ours": ({"README": b"x"}, InvalidArgument),
}


@pytest.mark.parametrize(("members", "error"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_an_error(
    opened: Opened, tmp_path: Path, members: Mapping[str, bytes | Link], error: type[DistError]
) -> None:
    with pytest.raises(error):
        opened(tar_file(tmp_path / "x.tar", members)).resolve("x:1", Hints())


DAMAGED = {
    "nothing": b"",
    "no tar": b"x" * 2000,
    "a cut header": tars.file("a", b"x")[:700],
    "a cut entry": tars.header("a", size=5000) + bytes(100),
    "an entry of more than there is": tars.header("manifest.json", size=1 << 40) + bytes(5000),
    "a wrong checksum": tars.file("a", b"x").replace(b"a\0", b"b\0", 1),
    "a negative size": tars.header("a", size=-512) + tars.END,
    "a cut gzip": gzip.compress(tars.tar(tars.file("a", random_bytes(1, 5000))))[:-9],
    "xz": b"\xfd7zXZ\0" + bytes(100),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_archive_is_an_error_that_names_it(opened: Opened, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(data)
    with pytest.raises((InvalidContent, Unsupported), match=r"x\.tar") as caught:
        opened(file).resolve("x", Hints())
    assert "layer" not in str(caught.value)


def test_a_sparse_member_is_not_used_as_a_blob(opened: Opened, tmp_path: Path) -> None:
    map_ = tars.pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"})
    stored = tars.padded(b"1\n0\n2\n") + b"[]"
    file = tmp_path / "x.tar"
    file.write_bytes(tars.tar(map_ + tars.header("manifest.json", size=len(stored)) + tars.padded(stored)))
    with pytest.raises(InvalidArgument, match=r"neither index\.json nor manifest\.json"):
        opened(file).resolve("x", Hints())


def test_the_last_member_of_a_name_wins_as_in_tar(opened: Opened, tmp_path: Path) -> None:
    first = {**docker_members(), "manifest.json": b"[]"}
    both = tars.tar(*(tars.file(n, d) for n, d in [*first.items(), *docker_members().items()] if isinstance(d, bytes)))
    (tmp_path / "x.tar").write_bytes(both)
    assert opened(tmp_path / "x.tar").resolve("x:1", Hints()).media_type == OCI_MANIFEST


def test_a_member_never_reaches_the_file_system(opened: Opened, layout: Path, tmp_path: Path) -> None:
    """CVE-2007-4559: names are keys, nothing is extracted."""
    names = ["../../escaped", "/tmp/escaped", "a/../../escaped", "./\x1b[31m", "x" * 300]
    members = {**layout_members(layout), **dict.fromkeys(names, b"gotcha"), "evil": Link("/etc")}
    before = sorted(tmp_path.rglob("*"))
    file = tar_file(tmp_path / "x.tar", {**members, "evil/passwd": b"gotcha"})
    assert read(opened(file), "v1") == IMAGE.manifest.data
    assert sorted(tmp_path.rglob("*")) == sorted([*before, file])


def test_a_named_pipe_is_refused_without_waiting(opened: Opened, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(UnsafePath, match="archive::-"):
        opened(tmp_path / "x.tar").resolve("x", Hints())


def test_a_missing_archive_is_not_found(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        opened(tmp_path / "x.tar").resolve("x", Hints())


def test_a_body_of_a_closed_archive_is_a_local_failure(opened: Opened, layout: Path, tmp_path: Path) -> None:
    remote = opened(tar_layout(tmp_path / "x.tar", layout))
    body = remote.open(IMAGE.manifest.descriptor)
    remote.close()
    with pytest.raises(LocalFailure):
        body.readinto(memoryview(bytearray(10)))


def test_large_members_are_skipped_without_reading(opened: Opened, layout: Path, tmp_path: Path) -> None:
    """An archive of a terabyte is indexed as fast as a small one: its holes are never read."""
    file = tmp_path / "x.tar"
    parts = [tars.file(name, data) for name, data in layout_members(layout).items()]
    with file.open("wb") as out:
        out.write(tars.header("huge", size=1 << 40))
        out.seek(1 << 40, os.SEEK_CUR)
        out.write(tars.tar(*parts))
    assert read(opened(file), "v1") == IMAGE.manifest.data


def test_blobs_of_a_saved_image_are_known_by_digest_only_if_listed(opened: Opened, tmp_path: Path) -> None:
    stray = Blob(b"stray")
    file = tar_file(tmp_path / "x.tar", {**docker_members(), "stray": stray.data})
    with pytest.raises(NotFound, match="no such blob"):
        read(opened(file), stray.digest)
