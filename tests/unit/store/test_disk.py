"""The store on disk: its files, what damages them, and what other tools and users leave there."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time

import pytest
from support.stored import damage, have, put
from support.threads import repeating, run_in_threads

from dist_tool.errors import (
    AlreadyExists,
    BadManifest,
    DigestMismatch,
    InvalidArgument,
    InvalidContent,
    LocalFailure,
    NotFound,
    PolicyRefused,
    Unsupported,
)
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from dist_tool.run import Run
from dist_tool.store import default_path, open_store
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.ingest import format_time, parse_time
from dist_tool.store.verify import verify, verify_all

EVERYTHING = GcPolicy(grace_s=0)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def test_the_store_is_an_image_layout(store, tmp_path):
    desc = put(store, b"x")
    root = tmp_path / "store"
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    assert json.loads((root / "index.json").read_bytes()) == index
    assert (root / "blobs" / "sha256" / desc.digest.encoded).read_bytes() == b"x"
    assert list((root / "ingest").iterdir()) == []


def test_blobs_are_read_only_and_as_readable_as_umask_allows(store, tmp_path):
    old = os.umask(0o027)
    try:
        desc = put(store, b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(store.path(desc.digest)).st_mode) == 0o440
    assert stat.S_IMODE((tmp_path / "store" / "ingest").stat().st_mode) == 0o750


def test_a_directory_with_other_content_is_not_written(tmp_path):
    root = tmp_path / "other"
    root.mkdir()
    (root / "notes.txt").write_text("mine")
    with pytest.raises(InvalidArgument, match=r"notes\.txt"):
        open_store(str(root)).writer("x")
    assert [path.name for path in root.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("inside", ["io.containerd.content.v1.content", "io.containerd.content.v1.content/more", "."])
def test_a_containerd_root_is_never_written(tmp_path, inside):
    root = tmp_path / "containerd"
    content = root / "io.containerd.content.v1.content"
    (content / "blobs" / "sha256").mkdir(parents=True)
    (content / "blobs" / "sha256" / Digest.of(b"x").encoded).write_bytes(b"x")
    place = root / inside
    with pytest.raises(PolicyRefused, match="containerd"):
        open_store(str(place)).writer("x")
    alias = tmp_path / "alias"
    alias.symlink_to(place)
    with pytest.raises(PolicyRefused, match="containerd"):
        open_store(str(alias)).writer("x")
    assert open_store(str(content)).read(Descriptor(Digest.of(b"x")), 10) == b"x"
    assert sorted(path.name for path in content.iterdir()) == ["blobs"]


def test_a_containerd_root_under_another_name_is_not_taken_for_ours(tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "ingest").mkdir()
    with pytest.raises(InvalidArgument, match="no oci-layout"):
        open_store(str(tmp_path)).writer("x")


def test_a_layout_of_another_tool_is_a_store(tmp_path):
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    store = open_store(str(tmp_path))
    assert have(store) == set()
    assert store.read(put(store, b"x"), 10) == b"x"


@pytest.mark.parametrize(
    ("text", "error"),
    [("", LocalFailure), ("[]", LocalFailure), ("{}", LocalFailure), ('{"imageLayoutVersion": "2.0"}', Unsupported)],
)
def test_a_damaged_or_newer_layout_is_not_written(tmp_path, text, error):
    (tmp_path / "oci-layout").write_text(text)
    with pytest.raises(error):
        open_store(str(tmp_path)).writer("x")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DIST_STORE": "/s", "HOME": "/h"}, "/s"),
        ({"DIST_STORE": "", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/dist/store"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/dist/store"),
        ({"HOME": "/h"}, "/h/.local/share/dist/store"),
    ],
)
def test_the_path_of_the_store_follows_the_environment(environ, expected):
    assert default_path(environ) == expected


def test_without_a_path_the_error_names_the_variable_to_set():
    with pytest.raises(InvalidArgument, match="DIST_STORE"):
        default_path({})
    with pytest.raises(InvalidArgument):
        open_store("")


def test_a_damaged_blob_is_never_served(store):
    desc = put(store, b"0123456789")
    for data in (b"0123456788", b"012345678", b"01234567890", b""):
        damage(store, desc.digest, data)
        with pytest.raises(DigestMismatch), store.open_verified(Descriptor(desc.digest)) as reader:
            reader.read()
        with pytest.raises(DigestMismatch):
            store.read(Descriptor(desc.digest), 100)


def test_every_flipped_bit_is_found(store):
    data = bytes(range(64))
    desc = put(store, data)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        damage(store, desc.digest, flipped)
        assert [verdict.state for verdict in verify(store, [desc.digest])] == ["corrupt"]


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_only_regular_files_are_blobs(store, tmp_path, kind):
    put(store, b"y")
    desc = Descriptor(Digest.of(b"x"))
    path = store.path(desc.digest)
    if kind == "link":
        (tmp_path / "outside").write_bytes(b"x")
        os.symlink(tmp_path / "outside", path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        os.mkdir(path)
    with pytest.raises(LocalFailure):
        store.open(desc)
    with pytest.raises(NotFound):
        store.info(desc.digest)
    assert have(store) == {Digest.of(b"y")}


def test_a_store_that_cannot_be_written_can_be_read(store, tmp_path, monkeypatch):
    """Without the right to write and without a database: as another user's, or on a read-only disk."""
    desc = put(store, b"x")
    store.tag("name", desc)
    os.unlink(tmp_path / "store" / "lock")
    real = os.open

    def read_only(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(30, "Read-only file system", path)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    again = open_store(store.root)
    assert again.read(again.resolve("name", Hints()), 10) == b"x"
    assert again.info(desc.digest).labels == {}
    assert [verdict.state for verdict in verify_all(again)] == ["ok"]
    with pytest.raises(AlreadyExists):
        again.writer("ref", desc)
    with pytest.raises(LocalFailure, match="read-only"):
        again.writer("ref")
    with pytest.raises(LocalFailure, match="read-only"):
        again.tag("other", desc)


def test_file_names_that_are_no_digests_are_skipped(store, tmp_path):
    desc = put(store, b"x")
    (tmp_path / "store" / "blobs" / "sha256" / "README").write_text("hello")
    (tmp_path / "store" / "blobs" / "notes").write_text("hello")
    assert have(store) == {desc.digest}
    assert [verdict.digest for verdict in verify_all(store)] == [desc.digest]


def test_a_blob_of_the_wrong_size_is_replaced_by_the_right_one(store):
    desc = put(store, b"0123456789")
    damage(store, desc.digest, b"")
    assert store.read(put(store, b"0123456789"), 100) == b"0123456789"


def test_verify_reports_damaged_blobs(store):
    good, bad = put(store, b"good"), put(store, b"bad")
    other = put(store, b"long", algorithm="sha512")
    damage(store, bad.digest, b"bat")
    os.makedirs(os.path.join(store.root, "blobs", "blake3"))
    unknown = Digest("blake3", "0" * 64)
    with open(store.path(unknown), "wb") as file:
        file.write(b"?")
    states = {verdict.digest: verdict.state for verdict in verify_all(store)}
    assert states == {good.digest: "ok", bad.digest: "corrupt", other.digest: "ok", unknown: "unsupported"}
    with pytest.raises(NotFound):
        list(verify(store, [Digest.of(b"absent")]))


def test_index_entries_of_other_tools_are_kept(store, tmp_path):
    desc = put(store, b"x", OCI_MANIFEST)
    foreign = {**desc.to_json(), "x-field": [1], "annotations": {"a": "b"}}
    path = tmp_path / "store" / "index.json"
    path.write_text(json.dumps({"schemaVersion": 2, "manifests": [foreign], "annotations": {"k": "v"}, "x": 1}))
    store.tag("name", desc)
    value = json.loads(path.read_bytes())
    assert value["manifests"][0] == foreign
    assert (value["annotations"], value["x"]) == ({"k": "v"}, 1)
    assert value["manifests"][1]["annotations"] == {"org.opencontainers.image.ref.name": "name"}


def test_a_name_with_two_digests_is_an_error_until_it_is_tagged_again(store, tmp_path):
    first, second = put(store, b"1"), put(store, b"2")
    store.tag("name", first)
    path = tmp_path / "store" / "index.json"
    value = json.loads(path.read_bytes())
    value["manifests"].append({**value["manifests"][0], **second.to_json()} | {"annotations": {}})
    value["manifests"][1]["annotations"] = value["manifests"][0]["annotations"]
    path.write_text(json.dumps(value))
    with pytest.raises(InvalidContent):
        store.resolve("name", Hints())
    store.tag("name", second)
    assert store.resolve("name", Hints()).digest == second.digest


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": 1}', '{"manifests": [1]}', '{"manifests": [{}]}'])
def test_a_damaged_index_is_an_error_and_nothing_is_collected(store, tmp_path, text):
    desc = put(store, b"x")
    (tmp_path / "store" / "index.json").write_text(text)
    with pytest.raises(BadManifest):
        store.resolve("name", Hints())
    with pytest.raises(BadManifest):
        list(collect(store, EVERYTHING))
    assert have(store) == {desc.digest}


def test_a_damaged_label_database_loses_labels_only(store):
    desc = put(store, b"x")
    with open(os.path.join(store.root, "metadata.db"), "wb") as file:
        file.write(b"this is no database, however long one looks at it" * 100)
    heard = []
    again = open_store(store.root, Run(heard.append))
    assert again.read(desc, 10) == b"x"
    assert again.info(desc.digest).labels == {}
    assert [info.digest for info in again.walk()] == [desc.digest]
    assert {notice.level for notice in heard} == {"warning"}
    with pytest.raises(LocalFailure):
        again.label(desc.digest, {"a": "b"})
    with pytest.raises(LocalFailure):
        list(collect(again, EVERYTHING))
    assert have(again) == {desc.digest}


def test_reading_creates_nothing(store, tmp_path):
    desc = Descriptor(Digest.of(b"x"))
    assert list(store.walk()) == list(store.statuses()) == list(store.tags()) == []
    assert list(verify_all(store)) == list(collect(store, EVERYTHING)) == []
    for action in (
        lambda: store.open(desc),
        lambda: store.info(desc.digest),
        lambda: store.delete(desc.digest),
        lambda: store.label(desc.digest, {"a": "b"}),
        lambda: store.abort("ref"),
        lambda: store.status("ref"),
        lambda: store.untag("name"),
        lambda: store.resolve("name", Hints()),
        lambda: store.resolve(str(desc.digest), Hints()),
    ):
        with pytest.raises(NotFound):
            action()
    assert not (tmp_path / "store").exists()


def test_labelling_marks_the_blob_as_used(store):
    digest = put(store, b"x").digest
    os.utime(store.path(digest), (1000, 1000))
    before = time.time()
    info = store.label(digest, {"k": "v"})
    assert info.created_at == 1000
    assert info.updated_at >= before - 1


def test_another_process_sees_labels(store):
    digest = put(store, b"x").digest
    store.label(digest, {"k1": "v1"})
    assert open_store(store.root).info(digest).labels == {"k1": "v1"}


def test_ten_instances_naming_ten_things_lose_none(store):
    def run(number):
        mine = open_store(store.root)
        mine.tag(f"name{number}", put(mine, f"content {number}".encode()))

    run_in_threads(10, run)
    assert sorted(store.tags()) == sorted(f"name{number}" for number in range(10))


def test_listing_writes_of_another_instance_does_not_disturb_them(store):
    desc = Descriptor(Digest.of(b"content"), 7)
    with repeating(lambda: list(open_store(store.root).statuses())):
        for _ in range(50):
            with store.writer("ref", desc) as writer:
                writer.write(b"cont")
            with store.writer("ref", desc) as writer:
                assert writer.offset == 4
                writer.truncate()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2017-07-14T02:40:00.123456789Z", 1500000000.123456789),
        ("2017-07-14T04:40:00.5+02:00", 1500000000.5),
        ("2017-07-13T21:10:00-05:30", 1500000000),
        ("2017-07-14", None),
        ("2017-07-14T02:40:00", None),
        ("2017-13-14T02:40:00Z", None),
        ("2017-07-14T02:40:00.1234567890Z", None),
        ("٢٠١٧-07-14T02:40:00Z", None),
        ("", None),
    ],
)
def test_rfc3339_is_read_and_nothing_else(text, expected):
    assert parse_time(text) == expected


def test_times_are_written_with_nine_digits():
    assert format_time(1500000000_000000001) == "2017-07-14T02:40:00.000000001Z"
    assert parse_time(format_time(1500000000_500000000)) == 1500000000.5


def test_a_view_in_a_foreign_label_database_is_not_evaluated(store):
    """A view in place of the table could keep a reader busy for ever."""
    desc = put(store, b"x")
    db = sqlite3.connect(os.path.join(store.root, "metadata.db"))
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n AS digest, n AS key, n AS value"
    db.execute(f"CREATE VIEW labels AS {endless} FROM r")
    db.close()
    assert store.info(desc.digest).labels == {}
    assert [info.labels for info in store.walk()] == [{}]
    with pytest.raises(LocalFailure):
        store.label(desc.digest, {"a": "b"})
