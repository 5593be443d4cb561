"""Unpacking images: all or nothing, in order, every digest checked."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from support.content import Blob, flip, write_blob, write_layout
from support.layers import Heard, Near, image_of, image_with, needs_root, opened, reader_of
from support.scarcity import FewThreads
from support.tars import char_device, directory, file, hard_link, opaque, symlink, tar, whiteout
from support.trees import shape

from dist_tool.errors import (
    BadManifest,
    DataLoss,
    DigestMismatch,
    InvalidContent,
    LimitExceeded,
    LocalFailure,
    NotFound,
    Unsupported,
)
from dist_tool.images.layer_fetcher import BufferedLayers, fetched_ahead
from dist_tool.images.unpack import Unpacked, UnpackOptions, unpack
from dist_tool.layers.options import ApplyOptions, IdRange
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.image import chain_id
from dist_tool.oci.mediatypes import DOCKER_LAYER, OCI_EMPTY, OCI_LAYER
from dist_tool.rootfs.staging import staged
from dist_tool.run import Run
from dist_tool.stream.verify import VerifiedReader
from dist_tool.tar.limits import Limits

LAYERS = (
    tar(directory("./", mode=0o711, mtime=9), file("a/b", b"one"), file("gone", b"x"), symlink("l", "a")),
    tar(file("a/c", b"two"), whiteout("gone")),
    tar(file("l/d", b"three"), opaque("nothing")),
)
TREE = {"a": None, "a/b": b"one", "a/c": b"two", "a/d": b"three", "l": "-> a"}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"image": image_of(*LAYERS)})


def run(layout: Path, target: Path, *, report: Heard | None = None, **options: Any) -> Unpacked:
    with opened(layout) as (image, source):
        return unpack(
            image,
            source,
            str(target),
            UnpackOptions(**{"sync": False, **options}),
            Run(Heard() if report is None else report),
        )


def left_over(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path.name not in ("home", "layout"))


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_layers_are_applied_in_order_and_the_chain_id_is_known(layout: Path, tmp_path: Path, ahead: int) -> None:
    target = tmp_path / "target"
    unpacked = run(layout, target, ahead=ahead)
    assert shape(target) == TREE
    assert (stat.S_IMODE(target.stat().st_mode), target.stat().st_mtime) == (0o711, 9)
    first, second, third = (Digest.of(layer) for layer in LAYERS)
    two = Digest.of(f"{first} {second}".encode())
    assert unpacked.chain_id == Digest.of(f"{two} {third}".encode())
    assert left_over(target) == ["target"]


@pytest.mark.parametrize("threads", range(5))
def test_an_image_is_unpacked_whatever_threads_there_are(
    layout: Path, tmp_path: Path, threads: int, few_threads: FewThreads
) -> None:
    few_threads(threads)
    run(layout, tmp_path / "target", ahead=2)
    assert shape(tmp_path / "target") == TREE


def test_chain_id_of_one_layer_is_its_diff_id_and_of_none_nothing() -> None:
    """behaviours E18."""
    digest = Digest.of(b"layer")
    assert chain_id([digest]) == digest
    assert chain_id([]) is None


@pytest.mark.parametrize("media_type", [OCI_LAYER, f"{OCI_LAYER}+gzip", DOCKER_LAYER, f"{DOCKER_LAYER}.gzip"])
def test_media_types_of_layers_are_not_believed_about_compression(tmp_path: Path, media_type: str) -> None:
    """behaviours E13."""
    image = image_of(*LAYERS)
    blobs = tuple(Blob(blob.data, media_type) for blob in image.layers)
    config = {
        "os": "linux",
        "architecture": image.platform.architecture,
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in LAYERS]},
    }
    layout = write_layout(tmp_path / "layout", {"image": image_with(blobs, config)})
    run(layout, tmp_path / "target")
    assert shape(tmp_path / "target") == TREE


def test_one_layer_twice_is_applied_twice(tmp_path: Path) -> None:
    """behaviours E16."""
    layer = tar(file("f"))
    layout = write_layout(tmp_path / "layout", {"image": image_of(layer, tar(whiteout("f")), layer)})
    run(layout, tmp_path / "target")
    assert shape(tmp_path / "target") == {"f": b""}


def test_image_without_layers_is_an_empty_directory(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"image": image_of()})
    assert run(layout, tmp_path / "target").chain_id is None
    assert shape(tmp_path / "target") == {}
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o755


# Nothing


@pytest.mark.parametrize("ahead", [0, 4])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_damaged_blob_leaves_nothing(layout: Path, tmp_path: Path, layer: int, ahead: int) -> None:
    blob = image_of(*LAYERS).layers[layer]
    path = write_blob(layout, blob)
    path.write_bytes(flip(blob.data, 8 * len(blob.data) - 40))
    with pytest.raises(DataLoss) as caught:
        run(layout, tmp_path / "target", ahead=ahead)
    assert caught.value.object_id == str(blob.digest)
    assert left_over(tmp_path / "target") == []


def test_wrong_diff_id_leaves_nothing(tmp_path: Path) -> None:
    good = image_of(*LAYERS)
    config = {
        "os": "linux",
        "architecture": good.platform.architecture,
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in (LAYERS[0], b"", LAYERS[2])]},
    }
    layout = write_layout(tmp_path / "layout", {"image": image_with(good.layers, config)})
    with pytest.raises(DigestMismatch, match="uncompressed layer"):
        run(layout, tmp_path / "target")
    assert left_over(tmp_path / "target") == []


def test_missing_blob_leaves_nothing(layout: Path, tmp_path: Path) -> None:
    write_blob(layout, image_of(*LAYERS).layers[2]).unlink()
    for ahead in (0, 4):
        with pytest.raises(NotFound):
            run(layout, tmp_path / "target", ahead=ahead)
    assert left_over(tmp_path / "target") == []


def test_hostile_layer_leaves_nothing(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"image": image_of(LAYERS[0], tar(symlink("/", "/etc")))})
    with pytest.raises(InvalidContent):
        run(layout, tmp_path / "target")
    assert left_over(tmp_path / "target") == []


def test_limits_hold_for_all_layers_together(tmp_path: Path) -> None:
    layout = write_layout(
        tmp_path / "layout", {"image": image_of(*(tar(file(f"f{n}", bytes(3000))) for n in range(3)))}
    )
    run(layout, tmp_path / "enough", apply=ApplyOptions(limits=Limits(size=3 * 4608)))
    with pytest.raises(LimitExceeded):
        run(layout, tmp_path / "target", apply=ApplyOptions(limits=Limits(size=3 * 4608 - 1)))


def test_target_must_be_absent_or_empty(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    run(layout, target)
    assert shape(target) == TREE
    with pytest.raises(LocalFailure, match=r"already exists.*--force") as caught:
        run(layout, target)
    assert caught.value.exit_code == 9
    assert shape(target) == TREE


def test_target_that_is_a_file_is_refused(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    with pytest.raises(LocalFailure, match="already exists"):
        run(layout, target)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("before", ["tree", "file", "nothing", "link"])
def test_force_replaces_what_is_there(layout: Path, tmp_path: Path, before: str) -> None:
    target = tmp_path / "target"
    if before == "tree":
        (target / "sub").mkdir(parents=True)
        (target / "sub" / "old").write_text("old")
        (target / "out").symlink_to(tmp_path)
    elif before == "file":
        target.write_text("old")
    elif before == "link":
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "old").write_text("old")
        target.symlink_to("real")
    run(layout, target, force=True)
    assert shape(os.path.realpath(target)) == TREE
    assert left_over(target) == (["real", "target"] if before == "link" else ["target"])


def test_failed_force_leaves_what_was_there(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    write_blob(layout, image_of(*LAYERS).layers[1]).unlink()
    with pytest.raises(NotFound):
        run(layout, target, force=True)
    assert shape(target) == {"old": b"old"}
    assert left_over(target) == ["target"]


def test_tree_is_closed_to_others_while_it_is_built(tmp_path: Path) -> None:
    """behaviours G27: files that run as root are not theirs before their time."""
    with staged(str(tmp_path / "target"), force=False) as stage:
        path = os.readlink(f"/proc/self/fd/{stage.scratch}")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
        assert os.path.dirname(path) == str(tmp_path)


def test_missing_parent_is_a_local_failure(layout: Path, tmp_path: Path) -> None:
    with pytest.raises(LocalFailure):
        run(layout, tmp_path / "no" / "such" / "target")


def test_omissions_are_reported_once_for_all_layers(tmp_path: Path) -> None:
    layers = [tar(char_device(f"d{number}")) for number in range(3)]
    layout = write_layout(tmp_path / "layout", {"image": image_of(*layers)})
    heard = Heard()
    run(layout, tmp_path / "target", report=heard, apply=ApplyOptions(devices="skip"))
    assert heard.texts == ["devices are skipped (first: d0)"]


def test_hard_link_to_a_device_that_a_lower_layer_skipped_is_skipped(tmp_path: Path) -> None:
    layers = [tar(char_device("null"), file("h", b"lower")), tar(hard_link("h", "null"))]
    layout = write_layout(tmp_path / "layout", {"image": image_of(*layers)})
    run(layout, tmp_path / "target", apply=ApplyOptions(devices="skip"))
    assert shape(tmp_path / "target") == {}


def test_hard_link_to_a_skipped_device_that_a_whiteout_removed_is_refused(tmp_path: Path) -> None:
    layers = [tar(char_device("null")), tar(whiteout("null")), tar(hard_link("h", "null"))]
    layout = write_layout(tmp_path / "layout", {"image": image_of(*layers)})
    with pytest.raises(InvalidContent, match="which does not exist"):
        run(layout, tmp_path / "target", apply=ApplyOptions(devices="skip"))


# What is no image


def test_artifact_is_not_unpacked(tmp_path: Path) -> None:
    """behaviours E12: its config is never parsed."""
    layout = write_layout(tmp_path / "layout", {"image": image_with((), {"broken": ["rootfs"]}, OCI_EMPTY)})
    with pytest.raises(Unsupported, match="is not an image"), opened(layout):
        pass


@pytest.mark.parametrize(
    ("media_type", "message"),
    [(f"{OCI_LAYER}+gzip+encrypted", "encrypted"), ("application/vnd.example.other", "unknown type")],
)
def test_layers_of_unknown_media_types_are_unsupported(tmp_path: Path, media_type: str, message: str) -> None:
    """behaviours E14."""
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b""))]}}
    config["architecture"] = image_of().platform.architecture
    layout = write_layout(tmp_path / "layout", {"image": image_with((Blob(b"", media_type),), config)})
    with pytest.raises(Unsupported, match=message), opened(layout):
        pass


@pytest.mark.parametrize(
    "rootfs",
    [
        {"type": "layers", "diff_ids": []},
        {"type": "layers+base", "diff_ids": [str(Digest.of(b""))]},
        {"type": "layers", "diff_ids": ["sha256:short"]},
        {"type": "layers", "diff_ids": "x"},
        None,
    ],
)
def test_config_that_does_not_fit_its_layers_is_refused(tmp_path: Path, rootfs: Any) -> None:
    """behaviours E16."""
    config = {"os": "linux", "architecture": image_of().platform.architecture, "rootfs": rootfs}
    layout = write_layout(tmp_path / "layout", {"image": image_with((Blob(b"", OCI_LAYER),), config)})
    with pytest.raises(BadManifest), opened(layout):
        pass


# Fetching ahead


def describe(data: bytes) -> Descriptor:
    return Descriptor(Digest.of(data), len(data))


def test_later_layers_are_fetched_while_the_first_is_read() -> None:
    contents = [bytes([number]) * 10 for number in range(3)]
    both = threading.Barrier(3, timeout=30)

    def open_layer(desc: Descriptor) -> VerifiedReader:
        both.wait()
        return reader_of(next(data for data in contents if Digest.of(data) == desc.digest))

    with fetched_ahead([describe(data) for data in contents], Near(open_layer), ahead=3) as reads:
        assert [read(100) for read in reads] == contents


def test_no_more_layers_are_begun_than_allowed() -> None:
    contents = [bytes([number]) * 10 for number in range(20)]
    begun: list[Descriptor] = []

    def open_layer(desc: Descriptor) -> VerifiedReader:
        begun.append(desc)
        return reader_of(next(data for data in contents if Digest.of(data) == desc.digest))

    with fetched_ahead([describe(data) for data in contents], Near(open_layer), ahead=2) as reads:
        for number, read in enumerate(reads):
            assert read(100) == contents[number]
            assert read(100) == b""
            assert len(begun) <= number + 4
    assert len(begun) == 20


def test_threads_and_files_are_gone_after_a_failure() -> None:
    before = os.listdir("/proc/self/fd")

    def open_layer(desc: Descriptor) -> VerifiedReader:
        raise NotFound("gone")

    with (
        fetched_ahead([describe(b"x")] * 5, Near(open_layer), ahead=3) as reads,
        pytest.raises(NotFound, match="gone"),
    ):
        next(reads)(10)
    assert [thread for thread in threading.enumerate() if thread.name == "dist-fetch"] == []
    assert os.listdir("/proc/self/fd") == before


def test_kept_layers_need_no_threads(layout: Path, few_threads: FewThreads) -> None:
    few_threads(0)
    with (
        opened(layout) as (image, source),
        BufferedLayers(image.layers, source, ahead=1) as layers,
        layers.stream(0, Limits()) as stream,
    ):
        while stream.next():
            pass
        layers.check(0, stream)


def test_kept_layers_are_fetched_once_and_read_again(layout: Path) -> None:
    asked: list[str] = []
    with opened(layout, asked=asked) as (image, source), BufferedLayers(image.layers, source) as layers:
        for _ in range(2):
            with layers.stream(1, Limits()) as stream:
                while stream.next():
                    pass
                layers.check(1, stream)
    assert asked == [str(image.layers[1][0].digest)]


@needs_root
def test_bundle_is_what_a_runtime_takes(tmp_path: Path) -> None:
    passwd = file("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n")
    group = file("etc/group", b"root:x:0:\nwww:x:44:\nlog:x:55:web,other\n")
    config = {
        "User": "web",
        "Env": ["A=1"],
        "Entrypoint": ["/serve"],
        "Cmd": ["--port", "80"],
        "WorkingDir": "/srv",
        "ExposedPorts": {"80/tcp": {}, "443": {}},
        "Volumes": {"/data": {}},
        "Labels": {"org.opencontainers.image.os": "label wins", "mine": "yes"},
        "StopSignal": "SIGINT",
    }
    layout = write_layout(tmp_path / "layout", {"image": image_of(tar(passwd, group), config=config)})
    run(layout, tmp_path / "target", bundle=True)
    assert sorted(os.listdir(tmp_path / "target")) == ["config.json", "rootfs"]
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o700
    runtime = json.loads((tmp_path / "target" / "config.json").read_text())
    process = runtime["process"]
    assert process["user"] == {"uid": 33, "gid": 44, "additionalGids": [55]}
    assert (process["args"], process["cwd"]) == (["/serve", "--port", "80"], "/srv")
    assert process["env"][1:] == ["A=1"]
    assert process["env"][0].startswith("PATH=")
    assert runtime["root"] == {"path": "rootfs"}
    assert {"destination", "type", "source", "options"} <= runtime["mounts"][-1].keys()
    assert runtime["mounts"][-1]["destination"] == "/data"
    annotations = runtime["annotations"]
    assert annotations["org.opencontainers.image.os"] == "label wins"
    assert annotations["org.opencontainers.image.stopSignal"] == "SIGINT"
    assert annotations["org.opencontainers.image.exposedPorts"] == "80/tcp,443"
    assert annotations["mine"] == "yes"


@needs_root
def test_bundle_with_one_map_has_the_identity_for_the_other_and_no_group_that_is_not_mapped(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"image": image_of(tar(file("f")))})
    run(layout, tmp_path / "one", bundle=True, apply=ApplyOptions(uid_map=(IdRange(0, 5000, 10),)))
    linux = json.loads((tmp_path / "one" / "config.json").read_text())["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 5000, "size": 10}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 0, "size": 2**32 - 1}]
    run(layout, tmp_path / "two", bundle=True, apply=ApplyOptions(gid_map=(IdRange(0, 5000, 5),)))
    mounts = json.loads((tmp_path / "two" / "config.json").read_text())["mounts"]
    assert "gid=5" not in next(mount for mount in mounts if mount["destination"] == "/dev/pts")["options"]


def test_bundle_for_an_unknown_user_leaves_nothing(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"image": image_of(tar(file("f")), config={"User": "nobody-knows"})})
    with pytest.raises(InvalidContent, match="not in its /etc/passwd"):
        run(layout, tmp_path / "target", bundle=True)
    assert left_over(tmp_path / "target") == []
