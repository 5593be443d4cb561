"""skopeo and umoci read our store as an image layout and write into it; we read what they wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.content import image as make_image
from support.content import index, write_layout
from support.processes import require_program, run_dist, run_program

from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.platform import Platform
from dist_tool.store import open_store
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.ingest import ref_for
from dist_tool.store.verify import verify_all

IMAGE = make_image("interop")


@pytest.fixture(autouse=True)
def programs():
    require_program("skopeo")
    require_program("umoci")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def fill(root, *names):
    store = open_store(str(root))
    for blob in IMAGE.blobs():
        with store.writer(ref_for(blob.digest), blob.descriptor) as writer:
            writer.write(blob.data)
            writer.commit()
    for name in names:
        store.tag(name, IMAGE.manifest.descriptor)
    store.label(IMAGE.config.digest, {"a": "b"})
    with store.writer("unfinished") as writer:
        writer.write(b"some")
    return store


def skopeo(*args):
    return run_program("skopeo", "--insecure-policy", *args)


def check(store, name):
    """The store is sound, and has the image under that name, all of it."""
    assert all(verdict.state == "ok" for verdict in verify_all(store))
    desc = store.resolve(name, Hints())
    manifest = json.loads(store.read(desc, 1 << 20))
    for child in [manifest["config"], *manifest["layers"]]:
        assert len(store.read(Descriptor(Digest.parse(child["digest"])), 1 << 20)) == child["size"]
    return manifest


@pytest.mark.parametrize("name", ["v1", "docker.io/library/redis:7"])
def test_skopeo_reads_our_store(root, tmp_path, name):
    fill(root, "other", name)
    config = json.loads(skopeo("inspect", "--config", f"oci:{root}:{name}"))
    assert config["config"]["Labels"] == {"seed": "interop"}
    skopeo("copy", f"oci:{root}:{name}", f"dir:{tmp_path / 'copy'}")
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == IMAGE.manifest.data
    for layer in IMAGE.layers:
        assert (tmp_path / "copy" / layer.digest.encoded).read_bytes() == layer.data


def test_umoci_reads_our_store(root, tmp_path):
    fill(root, "v1", "v2")
    assert run_program("umoci", "list", "--layout", str(root)).split() == [b"v1", b"v2"]
    run_program("umoci", "stat", "--image", f"{root}:v1", "--json")
    run_program("umoci", "unpack", "--rootless", "--image", f"{root}:v1", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "etc" / "interop-0").stat().st_size == 3000


def test_skopeo_writes_into_our_store(root, tmp_path):
    store = fill(root, "v1")
    write_layout(tmp_path / "layout", {"x": make_image("another")})
    skopeo("copy", f"oci:{tmp_path / 'layout'}:x", f"oci:{root}:v2")
    check(store, "v1")
    manifest = check(store, "v2")
    assert manifest["layers"] != check(store, "v1")["layers"]
    assert sorted(store.tags()) == ["v1", "v2"]
    store.tag("v3", store.resolve("v2", Hints()))
    assert list(collect(store, GcPolicy(grace_s=0)))[-1].name == "unfinished"
    check(store, "v2")
    skopeo("inspect", f"oci:{root}:v3")


def test_umoci_writes_into_our_store_and_its_gc_spares_what_is_ours(root, tmp_path):
    store = fill(root, "v1")
    run_program("umoci", "config", "--image", f"{root}:v1", "--tag", "v2", "--config.user", "nobody")
    run_program("umoci", "tag", "--image", f"{root}:v1", "v3")
    run_program("umoci", "gc", "--layout", str(root))
    for name in ("v1", "v2", "v3"):
        check(store, name)
    assert store.info(IMAGE.config.digest).labels == {"a": "b"}
    assert [status.ref for status in store.statuses()] == ["unfinished"]
    assert run_dist(["content", "ls", "-q", "--root", str(root)]).code == 0
    store.untag("v2")
    assert {each.kind for each in collect(store, GcPolicy(grace_s=0))} == {"blob", "ingest"}
    check(store, "v1")
    assert run_program("umoci", "list", "--layout", str(root)).split() == [b"v1", b"v3"]


def test_a_layout_of_links_is_read_as_skopeo_and_umoci_read_it(tmp_path):
    layout, cache = write_layout(tmp_path / "layout", {"v1": IMAGE}), tmp_path / "cache"
    cache.mkdir()
    for file in (layout / "blobs" / "sha256").iterdir():
        file.rename(cache / file.name)
        file.symlink_to(cache / file.name)
    skopeo("inspect", f"oci:{layout}:v1")
    run_program("umoci", "unpack", "--rootless", "--image", f"{layout}:v1", str(tmp_path / "bundle"))
    assert run_dist(["unpack", f"{layout}:v1", str(tmp_path / "root")]).code == 0
    for name in ("interop-0", "interop-1"):
        theirs = (tmp_path / "bundle" / "rootfs" / "etc" / name).read_bytes()
        assert (tmp_path / "root" / "etc" / name).read_bytes() == theirs


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_nested_indexes_are_read_as_skopeo_reads_them(tmp_path, architecture):
    images = [make_image(name, platform=Platform("linux", name)) for name in ("amd64", "arm64")]
    layout = write_layout(tmp_path / "layout", {"v1": index(index(*images))})
    found = skopeo("--override-os", "linux", "--override-arch", architecture, "inspect", f"oci:{layout}:v1")
    assert json.loads(found)["Architecture"] == architecture
    done = run_dist(["resolve", "--platform", f"linux/{architecture}", f"{layout}:v1"])
    expected = next(image for image in images if image.platform.architecture == architecture)
    assert done.stdout.decode().strip() == str(expected.manifest.digest)


def test_skopeo_does_not_mark_a_blob_as_used_that_it_skips(root, tmp_path):
    """So no grace of gc protects it: gc and other writers are not for the same time."""
    store = fill(root)
    layer = IMAGE.layers[0].digest
    os.utime(store.path(layer), (1000, 1000))
    write_layout(tmp_path / "layout", {"x": IMAGE})
    skopeo("copy", f"oci:{tmp_path / 'layout'}:x", f"oci:{root}:v1")
    assert os.stat(store.path(layer)).st_atime == 1000
    check(store, "v1")


def test_umoci_gc_knows_no_labels(root):
    """What the page says of it."""
    store = fill(root, "v1")
    with store.writer("labelled") as writer:
        writer.write(b"kept by a label")
        desc = writer.commit(labels={"containerd.io/gc.root": "y"})
    assert [each.name for each in collect(store, GcPolicy(grace_s=0))] == ["unfinished"]
    run_program("umoci", "gc", "--layout", str(root))
    assert store.size(desc.digest) is None
    list(collect(store, GcPolicy(grace_s=0)))
    with store.writer("labelled") as writer:
        writer.write(b"kept by a label")
        assert store.info(writer.commit().digest).labels == {}


def written_by_skopeo(path, tmp_path):
    write_layout(tmp_path / "from", {"x": IMAGE})
    skopeo("copy", f"oci:{tmp_path / 'from'}:x", f"oci:{path}:v1")


def written_by_umoci(path, tmp_path):
    run_program("umoci", "init", "--layout", str(path))
    run_program("umoci", "new", "--image", f"{path}:v1")
    (tmp_path / "file").write_text("content")
    run_program("umoci", "insert", "--rootless", "--image", f"{path}:v1", str(tmp_path / "file"), "/file")


@pytest.mark.parametrize("write", [written_by_skopeo, written_by_umoci])
def test_we_read_and_extend_layouts_of_others(tmp_path, write):
    path: Path = tmp_path / "layout"
    write(path, tmp_path)
    before = sorted(os.listdir(path))
    layout = ("--root", str(path))
    manifest = json.loads(run_dist(["content", "get", "v1", *layout]).stdout)
    listed = run_dist(["content", "ls", "-q", *layout]).stdout.decode().split()
    assert {manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])} < set(listed)
    verified = run_dist(["content", "verify", *layout])
    assert (verified.code, verified.stdout) == (0, b"")
    assert sorted(os.listdir(path)) == before
    added = run_dist(["content", "ingest", "ref", "--name", "ours", *layout], stdin=b"hello").stdout.decode().strip()
    run_dist(["content", "gc", "--grace", "0", *layout])
    store = open_store(str(path))
    assert check(store, "v1") == manifest
    assert store.resolve("ours", Hints()).digest == Digest.parse(added)
    skopeo("inspect", f"oci:{path}:v1")
