"""Which repositories and tags a layout holds, and reading it while it changes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.content import REF_NAME, blob, image, to_json, write_blob, write_layout

from dist_tool.errors import InvalidArgument, LimitExceeded, NotFound, Unavailable
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_INDEX
from dist_tool.run import Notice
from dist_tool.service.http.layout import ServedLayout, default_name

IMAGE = image("x")


def entry(ref_name: str | None, **more: Any) -> dict[str, Any]:
    annotations = {} if ref_name is None else {REF_NAME: ref_name}
    return {**IMAGE.manifest.descriptor.to_json(), "annotations": annotations, **more}


def layout_of(path: Path, *entries: dict[str, Any]) -> ServedLayout:
    write_layout(path)
    write_index(path, *entries)
    return ServedLayout(str(path), "demo")


def write_index(path: Path, *entries: dict[str, Any]) -> None:
    document = to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)})
    (path / "index.new").write_bytes(document)
    (path / "index.new").rename(path / "index.json")


def tags(layout: ServedLayout) -> dict[str, list[str]]:
    return {name: list(repository.sorted_tags) for name, repository in layout.snapshot().repositories.items()}


@pytest.mark.parametrize(
    ("ref_name", "expected"),
    [
        ("v1", {"demo": ["v1"]}),
        ("docker.io/library/redis:7", {"library/redis": ["7"], "docker.io/library/redis": ["7"]}),
        ("redis:7", {"library/redis": ["7"], "docker.io/library/redis": ["7"]}),
        ("quay.io/org/app", {"org/app": ["latest"], "quay.io/org/app": ["latest"]}),
        (f"quay.io/org/app:a@{IMAGE.manifest.digest}", {"org/app": ["a"], "quay.io/org/app": ["a"]}),
        # A host with a port cannot be part of a repository's name.
        ("localhost:5000/app:1", {"app": ["1"]}),
        # What names no tag of a repository is had by digest only.
        (f"quay.io/org/app@{IMAGE.manifest.digest}", {}),
        (f"quay.io/org/app:a@sha256:{'0' * 64}", {}),
        ("Not/A/Name", {}),
        ("../../etc/passwd", {}),
        ("a b", {}),
        (".hidden", {}),
        ("0" * 64, {}),
    ],
)
def test_a_reference_name_gives_repository_and_tag(
    tmp_path: Path, ref_name: str, expected: dict[str, list[str]]
) -> None:
    assert tags(layout_of(tmp_path, entry(ref_name), entry("other"))) == {
        "demo": sorted([*expected.get("demo", []), "other"]),
        **{name: found for name, found in expected.items() if name != "demo"},
    }


def test_the_only_entry_without_a_name_is_latest(tmp_path: Path) -> None:
    assert tags(layout_of(tmp_path, entry(None))) == {"demo": ["latest"]}


def test_one_of_several_entries_without_a_name_has_no_tag(tmp_path: Path) -> None:
    assert tags(layout_of(tmp_path, entry(None), entry("v1"))) == {"demo": ["v1"]}


def test_an_empty_layout_has_one_empty_repository(tmp_path: Path) -> None:
    assert tags(layout_of(tmp_path)) == {"demo": []}


def test_the_first_of_two_entries_with_one_name_wins(tmp_path: Path) -> None:
    other = image("y").manifest.descriptor
    layout = layout_of(
        tmp_path, entry("docker.io/a/b:1"), {**other.to_json(), "annotations": {REF_NAME: "quay.io/a/b:1"}}
    )
    repositories = layout.snapshot().repositories
    assert repositories["a/b"].tags["1"].digest == IMAGE.manifest.digest
    assert repositories["quay.io/a/b"].tags["1"].digest == other.digest


def test_an_entry_that_is_no_manifest_has_no_tag(tmp_path: Path) -> None:
    assert tags(layout_of(tmp_path, entry("v1", mediaType=OCI_CONFIG))) == {"demo": []}


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("img", "img"),
        ("My Image_v1.2", "my-image_v1.2"),
        ("a..b---c___d", "a-b---c-d"),
        ("-x-", "x"),
        ("ÄÖÜ", "image"),
        ("0" * 64, "image"),
    ],
)
def test_the_default_repository_is_named_like_the_directory(tmp_path: Path, directory: str, name: str) -> None:
    assert default_name(str(tmp_path / directory)) == name


def test_a_change_of_the_index_is_seen(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, entry("v1"))
    write_index(tmp_path, entry("v1"), entry("v2"))
    assert tags(layout) == {"demo": ["v1", "v2"]}


def test_an_old_index_is_read_once_and_a_new_one_until_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = layout_of(tmp_path, entry("v1"))
    read, names = layout._read, []

    def noted(name: str, limit: int) -> tuple[bytes, tuple[int, ...]]:
        names.append(name)
        return read(name, limit)

    monkeypatch.setattr(layout, "_read", noted)
    first = layout.snapshot()
    assert layout.snapshot() is first  # read again, and the same
    assert names == ["index.json"] * 2
    past = time.time() - 60
    os.utime(tmp_path / "index.json", (past, past))
    assert layout.snapshot() is layout.snapshot() is first
    assert names == ["index.json"] * 3


def test_a_change_within_the_tick_of_the_file_systems_clock_is_seen(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, entry("v1"))
    layout.snapshot()
    index = tmp_path / "index.json"
    before = index.stat()
    index.write_bytes(index.read_bytes().replace(b'"v1"', b'"v2"'))
    os.utime(index, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tags(layout) == {"demo": ["v2"]}


def test_a_broken_index_leaves_the_last_good_one_and_is_told_once(tmp_path: Path) -> None:
    heard: list[Notice] = []
    layout_of(tmp_path, entry("v1"))
    layout = ServedLayout(str(tmp_path), "demo", heard.append)
    (tmp_path / "index.json").write_text('{"manifests": [')
    assert tags(layout) == tags(layout) == {"demo": ["v1"]}
    assert [notice.level for notice in heard] == ["warning"]
    (tmp_path / "index.json").unlink()
    assert tags(layout) == {"demo": ["v1"]}
    write_index(tmp_path, entry("v2"))
    assert tags(layout) == {"demo": ["v2"]}


def test_an_absent_directory_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ServedLayout(str(tmp_path / "absent"), "demo")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("oci-layout", None),
        ("oci-layout", b"{}"),
        ("oci-layout", b"[]"),
        ("oci-layout", b'{"imageLayoutVersion": "2.0.0"}'),
        ("oci-layout", b" " * 5000),
        ("index.json", None),
        ("index.json", b"\xff"),
        ("index.json", b"[]"),
        ("index.json", b'{"manifests": 1}'),
        ("index.json", b'{"manifests": [{}]}'),
        ("index.json", b'{"manifests": [], "layers": []}'),
        ("index.json", b'{"manifests": [], "fsLayers": []}'),
        ("index.json", b'{"manifests": [{"mediaType": "a/b", "size": 1, "digest": "sha256:../../../etc/passwd"}]}'),
        ("index.json", b"[" * 100_000),
    ],
)
def test_a_directory_that_is_no_layout_cannot_be_served(tmp_path: Path, file: str, content: bytes | None) -> None:
    write_layout(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidArgument, match="not an image layout") as caught:
        ServedLayout(str(tmp_path), "demo")
    assert caught.value.exit_code == 2


def test_a_file_is_no_layout(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidArgument):
        ServedLayout(str(tmp_path / "file"), "demo")


def test_a_fifo_in_place_of_the_index_does_not_hold_anybody_up(tmp_path: Path) -> None:
    write_layout(tmp_path)
    (tmp_path / "index.json").unlink()
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(InvalidArgument):
        ServedLayout(str(tmp_path), "demo")


def test_a_blob_is_not_opened_through_a_link(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "l")
    (tmp_path / "secret").write_bytes(b"secret")
    digest = Digest("sha256", "a" * 64)
    (tmp_path / "l" / "blobs" / "sha256" / digest.encoded).symlink_to(tmp_path / "secret")
    with pytest.raises(NotFound):
        layout.open_blob(digest)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_no_blob(tmp_path: Path, make: Any) -> None:
    layout = layout_of(tmp_path)
    digest = Digest("sha256", "a" * 64)
    make(tmp_path / "blobs" / "sha256" / digest.encoded)
    with pytest.raises(NotFound):
        layout.open_blob(digest)


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "none:x", "sha512:" + "0" * 128, "a:" + "b" * 500])
def test_an_absent_blob_is_not_found(tmp_path: Path, digest: str) -> None:
    with pytest.raises(NotFound):
        layout_of(tmp_path).open_blob(Digest.parse(digest))


def test_too_many_open_files_are_a_passing_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(tmp_path)

    def no_more(*args: object, **kwargs: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("dist_tool.service.http.layout.os.open", no_more)
    with pytest.raises(Unavailable):
        layout.open_blob(Digest("sha256", "a" * 64))


def test_a_small_read_has_a_limit(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    content = blob("b", 100)
    write_blob(tmp_path, content)
    assert layout.read_blob(content.digest, limit=100) == content.data
    with pytest.raises(LimitExceeded):
        layout.read_blob(content.digest, limit=99)
