"""What a store promises beyond its writers: reading, names, labels, collection, sharing."""

from __future__ import annotations

import json
import os
import stat
import threading
import time

import pytest

from dist_tool.api import Fetcher, Ingester, Listable, Remote, Resolver, Store, Writer
from dist_tool.errors import (
    AlreadyExists,
    BadManifest,
    DeadlineExceeded,
    DigestMismatch,
    InvalidArgument,
    InvalidContent,
    LimitExceeded,
    LocalFailure,
    Locked,
    NotFound,
    PolicyRefused,
    Unsupported,
)
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, OCTET_STREAM
from dist_tool.run import Event, Listeners, Run
from dist_tool.store import default_path, open_store
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.ingest import format_time, parse_time, ref_for
from dist_tool.store.sniff import media_types, sniff
from dist_tool.store.verify import verify, verify_all
from dist_tool.store.waiting import wait_for_writer

EVERYTHING = GcPolicy(grace_s=0)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def put(store, data, media_type=OCTET_STREAM, algorithm="sha256"):
    desc = Descriptor(Digest.of(data, algorithm), len(data), media_type)
    with store.writer(ref_for(desc.digest), desc) as writer:
        writer.write(data)
        return writer.commit()


def put_json(store, value, media_type):
    return put(store, json.dumps(value).encode(), media_type)


def put_image(store, name="image"):
    """A manifest with config and layer; returns the three descriptors."""
    config = put_json(store, {"architecture": "amd64", "os": "linux", "rootfs": {}, "name": name}, OCI_CONFIG)
    layer = put(store, f"layer of {name}".encode(), OCI_LAYER)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    return put_json(store, manifest, OCI_MANIFEST), config, layer


def put_index(store, *children):
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child.to_json() for child in children]}
    return put_json(store, value, OCI_INDEX)


def damage(store, desc, data):
    os.chmod(store.path(desc.digest), 0o644)
    with open(store.path(desc.digest), "wb") as file:
        file.write(data)


def have(store):
    return {info.digest for info in store.walk()}


# The directory


def test_the_store_has_the_powers_of_the_protocols(store):
    assert isinstance(store, Store | Remote)
    for protocol in (Store, Remote, Resolver, Fetcher, Ingester, Listable):
        assert isinstance(store, protocol)
    with store.writer("x") as writer:
        assert isinstance(writer, Writer)


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


def test_a_directory_of_something_else_is_left_alone(tmp_path):
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
def test_the_place_follows_the_environment(environ, expected):
    assert default_path(environ) == expected


def test_without_any_place_the_store_says_what_to_set():
    with pytest.raises(InvalidArgument, match="DIST_STORE"):
        default_path({})
    with pytest.raises(InvalidArgument):
        open_store("")


# Reading


@pytest.mark.parametrize("offset", [0, 1, 9, 10, 11, 1 << 40])
def test_open_gives_the_bytes_from_an_offset(store, offset):
    desc = put(store, b"0123456789")
    with store.open(desc, offset) as blob:
        view = memoryview(bytearray(100))
        got = blob.readinto(view)
        assert bytes(view[:got]) == b"0123456789"[offset:]
        assert (blob.offset, blob.total) == (offset, 10)


def test_a_damaged_blob_is_never_served(store):
    desc = put(store, b"0123456789")
    for data in (b"0123456788", b"012345678", b"01234567890", b""):
        damage(store, desc, data)
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
        damage(store, desc, flipped)
        assert [verdict.state for verdict in verify(store, [desc.digest])] == ["corrupt"]


def test_read_is_bounded(store):
    desc = put(store, b"0123456789")
    assert store.read(desc, 10) == b"0123456789"
    with pytest.raises(LimitExceeded):
        store.read(desc, 9)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_not_a_regular_file_is_not_a_blob(store, tmp_path, kind):
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


def test_names_in_blobs_that_are_no_digests_are_passed_over(store, tmp_path):
    desc = put(store, b"x")
    (tmp_path / "store" / "blobs" / "sha256" / "README").write_text("hello")
    (tmp_path / "store" / "blobs" / "notes").write_text("hello")
    assert have(store) == {desc.digest}
    assert [verdict.digest for verdict in verify_all(store)] == [desc.digest]


def test_a_blob_of_the_wrong_size_is_replaced_by_the_right_one(store):
    desc = put(store, b"0123456789")
    damage(store, desc, b"")
    assert store.read(put(store, b"0123456789"), 100) == b"0123456789"


def test_deleting_removes_the_blob_and_its_labels(store):
    desc = put(store, b"x")
    store.label(desc.digest, {"a": "b"})
    store.delete(desc.digest)
    with pytest.raises(NotFound):
        store.delete(desc.digest)
    assert store.info(put(store, b"x").digest).labels == {}


def test_an_open_blob_outlives_its_deletion(store):
    desc = put(store, b"0123456789")
    with store.open_verified(desc) as reader:
        store.delete(desc.digest)
        assert reader.read() == b"0123456789"


def test_verify_tells_good_from_bad(store):
    good, bad = put(store, b"good"), put(store, b"bad")
    other = put(store, b"long", algorithm="sha512")
    damage(store, bad, b"bat")
    os.makedirs(os.path.join(store.root, "blobs", "blake3"))
    unknown = Digest("blake3", "0" * 64)
    with open(store.path(unknown), "wb") as file:
        file.write(b"?")
    states = {verdict.digest: verdict.state for verdict in verify_all(store)}
    assert states == {good.digest: "ok", bad.digest: "corrupt", other.digest: "ok", unknown: "unsupported"}
    with pytest.raises(NotFound):
        list(verify(store, [Digest.of(b"absent")]))


# Names


def test_a_name_means_what_it_was_given_last(store):
    first, second = put(store, b"1", OCI_MANIFEST), put(store, b"2", OCI_MANIFEST)
    store.tag("docker.io/library/redis:latest", first)
    store.tag("other", first)
    store.tag("docker.io/library/redis:latest", second)
    assert store.resolve("docker.io/library/redis:latest", Hints()).digest == second.digest
    assert sorted(store.tags()) == ["docker.io/library/redis:latest", "other"]
    assert store.untag("other").digest == first.digest
    assert list(store.tags()) == ["docker.io/library/redis:latest"]
    with pytest.raises(NotFound):
        store.untag("other")


def test_only_what_is_here_can_be_named(store):
    with pytest.raises(NotFound):
        store.tag("name", Descriptor(Digest.of(b"absent"), 6, OCI_MANIFEST))


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 5000])
def test_a_name_is_printable_text(store, name):
    with pytest.raises(InvalidArgument):
        store.tag(name, put(store, b"x"))


def test_what_others_wrote_into_the_index_is_kept(store, tmp_path):
    desc = put(store, b"x", OCI_MANIFEST)
    foreign = {**desc.to_json(), "x-field": [1], "annotations": {"a": "b"}}
    path = tmp_path / "store" / "index.json"
    path.write_text(json.dumps({"schemaVersion": 2, "manifests": [foreign], "annotations": {"k": "v"}, "x": 1}))
    store.tag("name", desc)
    value = json.loads(path.read_bytes())
    assert value["manifests"][0] == foreign
    assert (value["annotations"], value["x"]) == ({"k": "v"}, 1)
    assert value["manifests"][1]["annotations"] == {"org.opencontainers.image.ref.name": "name"}


def test_a_name_with_two_meanings_is_an_error_until_it_is_given_again(store, tmp_path):
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


def test_a_digest_resolves_to_itself_with_the_type_that_is_known(store):
    manifest, _config, layer = put_image(store)
    assert store.resolve(str(manifest.digest), Hints()).media_type == OCI_MANIFEST
    assert store.resolve(str(layer.digest), Hints(media_types=("a/b",))).media_type == "a/b"
    store.tag("name", manifest)
    assert store.resolve(str(manifest.digest), Hints()) == store.resolve("name", Hints())
    store.tag("localhost:latest", manifest)
    assert store.resolve("localhost:latest", Hints()).digest == manifest.digest


def test_media_types_come_from_what_points_to_a_blob(store):
    manifest, config, layer = put_image(store)
    index = put_index(store, manifest)
    loose = put(store, b"loose")
    store.tag("name", index)
    assert media_types(store, have(store)) == {
        manifest.digest: OCI_MANIFEST,
        config.digest: OCI_CONFIG,
        layer.digest: OCI_LAYER,
        index.digest: OCI_INDEX,
        loose.digest: OCTET_STREAM,
    }


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", OCTET_STREAM),
        (b"\x1f\x8b\x08rest", OCI_LAYER + "+gzip"),
        (b"\x28\xb5\x2f\xfdrest", OCI_LAYER + "+zstd"),
        (bytes(257) + b"ustar" + bytes(250), OCI_LAYER),
        (b'{"architecture": "amd64", "rootfs": {}}', OCI_CONFIG),
        (b'{"manifests": []}', OCI_INDEX),
        (b'{"manifests": [], "layers": []}', OCTET_STREAM),
        (b"{not json", OCTET_STREAM),
    ],
)
def test_bytes_suggest_a_type(store, data, expected):
    assert sniff(store, put(store, data).digest) == expected


# Labels


def test_labels_are_replaced_updated_and_removed(store):
    digest = put(store, b"x").digest
    assert store.label(digest, {"k1": "v1", "k2": "v2"}).labels == {"k1": "v1", "k2": "v2"}
    assert store.label(digest, {"k1": "new", "k3": "v3"}, replace=True).labels == {"k1": "new", "k3": "v3"}
    assert store.label(digest, {"k1": "v1", "k3": ""}).labels == {"k1": "v1"}
    assert [info.labels for info in store.walk()] == [{"k1": "v1"}]
    assert open_store(store.root).info(digest).labels == {"k1": "v1"}


def test_labelling_marks_the_blob_as_used(store):
    digest = put(store, b"x").digest
    os.utime(store.path(digest), (1000, 1000))
    before = time.time()
    info = store.label(digest, {"k": "v"})
    assert info.created_at == 1000
    assert info.updated_at >= before - 1


def test_a_label_is_bounded(store):
    digest = put(store, b"x").digest
    store.label(digest, {"k": "v" * 4095})
    with pytest.raises(InvalidArgument):
        store.label(digest, {"k": "v" * 4096})
    with pytest.raises(InvalidArgument):
        store.label(digest, {"": "v"})


def test_a_damaged_database_costs_labels_and_no_content(store):
    desc = put(store, b"x")
    with open(os.path.join(store.root, "metadata.db"), "wb") as file:
        file.write(b"this is no database, however long one looks at it" * 100)
    heard = []
    again = open_store(store.root, heard.append)
    assert again.read(desc, 10) == b"x"
    assert again.info(desc.digest).labels == {}
    assert [info.digest for info in again.walk()] == [desc.digest]
    assert {notice.level for notice in heard} == {"warning"}
    with pytest.raises(LocalFailure):
        again.label(desc.digest, {"a": "b"})
    with pytest.raises(LocalFailure):
        list(collect(again, EVERYTHING))
    assert have(again) == {desc.digest}


# Collection


def test_gc_keeps_what_names_reach_and_removes_the_rest(store):
    image, other = put_image(store, "a"), put_image(store, "b")
    index = put_index(store, image[0])
    store.tag("name", index)
    removed = {each.name: each.size for each in collect(store, EVERYTHING)}
    assert removed == {str(desc.digest): desc.size for desc in other}
    assert have(store) == {index.digest, *(desc.digest for desc in image)}
    store.untag("name")
    assert len(list(collect(store, EVERYTHING))) == 4
    assert have(store) == set()


def test_gc_spares_what_was_used_lately(store):
    desc = put(store, b"x")
    assert list(collect(store, GcPolicy())) == []
    os.utime(store.path(desc.digest), (1000, 1000))
    with pytest.raises(AlreadyExists):
        store.writer("ref", desc)
    assert list(collect(store, GcPolicy())) == []
    os.utime(store.path(desc.digest), (1000, 1000))
    assert [each.name for each in collect(store, GcPolicy())] == [str(desc.digest)]


def test_a_dry_run_removes_nothing(store):
    desc = put(store, b"x")
    with store.writer("ref") as writer:
        writer.write(b"some")
    plan = list(collect(store, GcPolicy(grace_s=0, dry_run=True)))
    assert [(each.kind, each.name, each.size) for each in plan] == [
        ("blob", str(desc.digest), 1),
        ("ingest", "ref", 4),
    ]
    assert have(store) == {desc.digest}
    assert [status.ref for status in store.statuses()] == ["ref"]


def test_gc_follows_labels(store):
    manifest, config, layer = put_image(store)
    other, expired, loose = put(store, b"other"), put(store, b"expired"), put(store, b"loose")
    store.label(manifest.digest, {"containerd.io/gc.root": "2024", "containerd.io/gc.ref.content.x": str(other.digest)})
    past = {"containerd.io/gc.root": "y", "containerd.io/gc.expire": "2001-01-01T00:00:00Z"}
    store.label(expired.digest, past)
    assert {each.name for each in collect(store, EVERYTHING)} == {str(expired.digest), str(loose.digest)}
    assert have(store) == {manifest.digest, config.digest, layer.digest, other.digest}


def test_gc_keeps_what_it_is_told_to(store):
    manifest, _config, _layer = put_image(store)
    kept = GcPolicy(grace_s=0, keep=frozenset({manifest.digest}))
    assert list(collect(store, kept)) == []


def test_gc_never_touches_an_active_ingest(store):
    writer = store.writer("active")
    writer.write(b"some")
    with store.writer("abandoned") as other:
        other.write(b"some")
    assert [(each.kind, each.name) for each in collect(store, EVERYTHING)] == [("ingest", "abandoned")]
    writer.write(b"more")
    assert store.read(writer.commit(), 10) == b"somemore"


def test_gc_removes_what_a_crash_left_of_an_ingest(store, tmp_path):
    put(store, b"x")
    left = tmp_path / "store" / "ingest" / ("0" * 64)
    left.mkdir()
    (left / "startedat").write_text("half")
    assert ("ingest", "0" * 64, 0) in list(collect(store, EVERYTHING))
    assert not left.exists()


def test_gc_of_a_partial_store_keeps_what_is_there(store):
    manifest, config, layer = put_image(store)
    store.tag("name", manifest)
    store.delete(config.digest)
    assert list(collect(store, EVERYTHING)) == []
    store.delete(manifest.digest)
    assert [each.name for each in collect(store, EVERYTHING)] == [str(layer.digest)]


def test_gc_removes_nothing_where_a_needed_manifest_is_damaged(store):
    manifest, config, layer = put_image(store)
    loose = put(store, b"loose")
    store.tag("name", manifest)
    damage(store, manifest, b'{"layers": []}')
    with pytest.raises(DigestMismatch, match=str(manifest.digest)):
        list(collect(store, EVERYTHING))
    assert have(store) == {manifest.digest, config.digest, layer.digest, loose.digest}


def test_gc_follows_types_it_does_not_know(store):
    child = put(store, b"child")
    value = {"mediaType": "application/vnd.example+json", "blobs": [child.to_json()], "config": {"plain": 1}}
    store.tag("name", put_json(store, value, "application/vnd.example+json"))
    assert list(collect(store, EVERYTHING)) == []


def test_a_subject_is_kept_with_what_refers_to_it(store):
    image = put_image(store)
    empty = put(store, b"{}")
    signature = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": empty.to_json(),
        "layers": [],
        "subject": image[0].to_json(),
    }
    store.tag("signature", put_json(store, signature, OCI_MANIFEST))
    assert list(collect(store, EVERYTHING)) == []


# Sharing


def test_ten_threads_naming_ten_things_lose_none(store):
    def run(number):
        mine = open_store(store.root)
        mine.tag(f"name{number}", put(mine, f"content {number}".encode()))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.tags()) == sorted(f"name{number}" for number in range(10))


class Clock:
    """A sleep that lets something happen instead of waiting."""

    def __init__(self, *actions):
        self.actions = list(actions)
        self.waits = []

    def sleep(self, seconds):
        self.waits.append(seconds)
        if self.actions and self.actions.pop(0) is not None:
            self.then()

    def then(self):
        raise NotImplementedError


def waiting(store, desc, then):
    clock = Clock(None, None, "now")
    clock.then = then
    heard, seen = [], []
    listeners = Listeners(heard.append, seen.append)
    try:
        return wait_for_writer(store, ref_for(desc.digest), desc, Run(pause=clock.sleep), listeners), clock, heard
    finally:
        assert len(clock.waits) == 3
        assert clock.waits[0] <= 0.016
        assert max(clock.waits) <= 2
        assert [notice.text.endswith("waiting") for notice in heard] == [True]
        assert set(seen) == {Event(ref_for(desc.digest), 0, desc.size, "waiting")}


def test_who_waits_for_a_writer_reads_what_it_committed(store):
    desc = Descriptor(Digest.of(b"content"), 7)
    first = store.writer(ref_for(desc.digest), desc)
    first.write(b"content")
    with pytest.raises(AlreadyExists):
        waiting(store, desc, first.commit)
    assert store.read(desc, 10) == b"content"


def test_who_waits_for_a_writer_that_gives_up_goes_on_where_it_was(store):
    desc = Descriptor(Digest.of(b"content"), 7)
    first = store.writer(ref_for(desc.digest), desc)
    first.write(b"cont")
    writer, _, _ = waiting(store, desc, first.close)
    with writer:
        assert writer.offset == 4


def test_waiting_ends_with_the_time_that_was_given(store):
    with store.writer("ref"), pytest.raises(DeadlineExceeded):
        wait_for_writer(store, "ref", None, Run(deadline=time.monotonic() - 1))


def test_listing_writes_does_not_disturb_them(store):
    desc = Descriptor(Digest.of(b"content"), 7)
    stop = threading.Event()

    def look():
        while not stop.is_set():
            list(open_store(store.root).statuses())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(50):
            with store.writer("ref", desc) as writer:
                writer.write(b"cont")
            with store.writer("ref", desc) as writer:
                assert writer.offset == 4
                writer.truncate()
    finally:
        stop.set()
        thread.join()


def test_abandoned_writes_are_told_from_active_ones(store):
    with store.writer("abandoned") as writer:
        writer.write(b"some")
    with store.writer("active") as writer:
        assert {status.ref: status.active for status in store.statuses()} == {"abandoned": False, "active": True}
        assert store.status("active").active
        with pytest.raises(Locked):
            store.abort("active")


# Times


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


def test_a_database_of_a_stranger_is_not_let_compute(store):
    """A view in place of the table could keep a reader busy for ever."""
    import sqlite3

    desc = put(store, b"x")
    db = sqlite3.connect(os.path.join(store.root, "metadata.db"))
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n AS digest, n AS key, n AS value"
    db.execute(f"CREATE VIEW labels AS {endless} FROM r")
    db.close()
    assert store.info(desc.digest).labels == {}
    assert [info.labels for info in store.walk()] == [{}]
    with pytest.raises(LocalFailure):
        store.label(desc.digest, {"a": "b"})
