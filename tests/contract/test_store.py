"""What every store promises beyond its writers: reading, names, labels, sharing."""

from __future__ import annotations

import threading
import time

import pytest
from support.stored import have, put, put_image, put_index
from support.threads import repeating, run_in_threads

from dist_tool.api import Fetcher, Ingester, Listable, NamedStore, Namer, Remote, Resolver, Store, Writer
from dist_tool.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    LimitExceeded,
    Locked,
    NotFound,
)
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, OCTET_STREAM
from dist_tool.run import Event, Run
from dist_tool.store.ingest import ref_for
from dist_tool.store.sniff import media_types, sniff
from dist_tool.store.verify import open_verified, read, verify
from dist_tool.store.waiting import wait_for_writer


def test_the_store_implements_the_protocols(store):
    assert isinstance(store, Store | Remote)
    for protocol in (Store, NamedStore, Namer, Remote, Resolver, Fetcher, Ingester, Listable):
        assert isinstance(store, protocol)
    with store.writer("x") as writer:
        assert isinstance(writer, Writer)


def test_an_empty_store_contains_nothing(store):
    desc = Descriptor(Digest.of(b"x"))
    assert list(store.walk()) == list(store.statuses()) == list(store.tags()) == store.entries() == []
    assert store.size(desc.digest) is None
    assert not store.claim(desc)
    for action in (
        lambda: store.open(desc),
        lambda: store.info(desc.digest),
        lambda: store.delete(desc.digest),
        lambda: store.label(desc.digest, {"a": "b"}),
        lambda: store.abort("ref"),
        lambda: store.status("ref"),
        lambda: store.tag("name", desc),
        lambda: store.untag("name"),
        lambda: store.resolve("name", Hints()),
        lambda: store.resolve(str(desc.digest), Hints()),
        lambda: list(verify(store, [desc.digest])),
    ):
        with pytest.raises(NotFound):
            action()


def test_walk_and_statuses_take_a_predicate(store):
    small, large = put(store, b"x"), put(store, b"0123456789")
    assert [info.digest for info in store.walk(lambda info: info.size > 1)] == [large.digest]
    assert {info.digest for info in store.walk(lambda info: info.size > 0)} == {small.digest, large.digest}
    with store.writer("abandoned") as writer:
        writer.write(b"some")
    with store.writer("active"):
        assert [status.ref for status in store.statuses(lambda status: status.active)] == ["active"]
        assert [status.ref for status in store.statuses(lambda status: status.offset > 0)] == ["abandoned"]


def test_claim_needs_the_blob_and_its_size(store):
    desc = put(store, b"0123456789")
    assert store.claim(desc)
    assert store.claim(Descriptor(desc.digest))
    assert not store.claim(Descriptor(desc.digest, 9))


def test_distrusted_blob_is_absent_until_it_is_written_again(store):
    desc = put(store, b"0123456789")
    store.label(desc.digest, {"k": "v"})
    store.distrust(desc.digest)
    assert store.size(desc.digest) is None
    assert have(store) == set()
    with pytest.raises(NotFound):
        store.info(desc.digest)
    put(store, b"0123456789")
    assert store.info(desc.digest).labels == {"k": "v"}
    store.distrust(Digest.of(b"absent"))


def test_info_has_size_and_times(store):
    before = time.time()
    desc = put(store, b"0123456789")
    info = store.info(desc.digest)
    assert (info.digest, info.size, info.labels) == (desc.digest, 10, {})
    assert before - 1 <= info.created_at <= info.updated_at <= time.time() + 1


def test_labels_that_were_returned_do_not_change(store):
    digest = put(store, b"x").digest
    info = store.label(digest, {"k": "v"})
    store.label(digest, {"k": "other"})
    assert info.labels == {"k": "v"}


def test_label_with_an_empty_value_is_not_set(store):
    digest = put(store, b"x").digest
    assert store.label(digest, {"a": "", "b": "1"}, replace=True).labels == {"b": "1"}
    with store.writer("ref") as writer:
        writer.write(b"labelled at once")
        committed = writer.commit(labels={"a": "", "b": "1"})
    assert store.info(committed.digest).labels == {"b": "1"}


def test_labels_of_a_commit_are_not_set_if_the_content_was_there(store):
    digest = put(store, b"x").digest
    store.label(digest, {"a": "1"})
    with store.writer("ref") as writer:
        writer.write(b"x")
        with pytest.raises(AlreadyExists):
            writer.commit(labels={"b": "2"})
    assert store.info(digest).labels == {"a": "1"}


def test_label_that_cannot_be_set_is_refused_before_the_commit(store):
    with store.writer("ref") as writer:
        writer.write(b"x")
        with pytest.raises(InvalidArgument):
            writer.commit(labels={"k": "v" * 4096})
    assert have(store) == set()


def test_entries_are_what_names_mean(store):
    manifest = put(store, b"{}", OCI_MANIFEST)
    store.tag("first", manifest)
    store.tag("second", manifest)
    assert {(entry.digest, entry.size, entry.media_type) for entry in store.entries()} == {
        (manifest.digest, 2, OCI_MANIFEST)
    }
    assert [entry.annotations["org.opencontainers.image.ref.name"] for entry in store.entries()] == ["first", "second"]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 5000])
def test_check_name_refuses_what_tag_refuses(store, name):
    with pytest.raises(InvalidArgument):
        store.check_name(name)
    store.check_name("docker.io/library/redis:latest")


@pytest.mark.parametrize("object_id", ["sha256:short", f"sha256:{'G' * 64}"])
def test_malformed_digest_is_no_name(store, object_id):
    with pytest.raises(InvalidArgument):
        store.resolve(object_id, Hints())


# Reading


@pytest.mark.parametrize("offset", [0, 1, 9, 10, 11, 1 << 40])
def test_open_at_an_offset_returns_the_remaining_bytes_of_a_blob(store, offset):
    desc = put(store, b"0123456789")
    with store.open(desc, offset) as blob:
        view = memoryview(bytearray(100))
        got = blob.readinto(view)
        assert bytes(view[:got]) == b"0123456789"[offset:]
        assert (blob.offset, blob.total) == (offset, 10)


def test_read_is_bounded(store):
    desc = put(store, b"0123456789")
    assert read(store, desc, 10) == b"0123456789"
    with pytest.raises(LimitExceeded):
        read(store, desc, 9)


def test_deleting_removes_the_blob_and_its_labels(store):
    desc = put(store, b"x")
    store.label(desc.digest, {"a": "b"})
    store.delete(desc.digest)
    with pytest.raises(NotFound):
        store.delete(desc.digest)
    assert store.info(put(store, b"x").digest).labels == {}


def test_an_open_blob_outlives_its_deletion(store):
    desc = put(store, b"0123456789")
    with open_verified(store, desc) as reader:
        store.delete(desc.digest)
        assert reader.read() == b"0123456789"


# Names


def test_the_last_tag_of_a_name_wins(store):
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


def test_only_existing_blobs_can_be_tagged(store):
    with pytest.raises(NotFound):
        store.tag("name", Descriptor(Digest.of(b"absent"), 6, OCI_MANIFEST))


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 5000])
def test_a_name_is_printable_text(store, name):
    with pytest.raises(InvalidArgument):
        store.tag(name, put(store, b"x"))


def test_a_digest_resolves_to_itself_with_the_type_that_is_known(store):
    manifest, _config, layer = put_image(store)
    assert store.resolve(str(manifest.digest), Hints()).media_type == OCI_MANIFEST
    assert store.resolve(str(layer.digest), Hints(media_types=("a/b",))).media_type == "a/b"
    store.tag("name", manifest)
    assert store.resolve(str(manifest.digest), Hints()) == store.resolve("name", Hints())
    store.tag("localhost:latest", manifest)
    assert store.resolve("localhost:latest", Hints()).digest == manifest.digest


def test_media_types_come_from_the_descriptors_of_a_blob(store):
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
def test_the_media_type_is_detected_from_the_content(store, data, expected):
    assert sniff(store, put(store, data).digest) == expected


# Labels


def test_labels_are_replaced_updated_and_removed(store):
    digest = put(store, b"x").digest
    assert store.label(digest, {"k1": "v1", "k2": "v2"}).labels == {"k1": "v1", "k2": "v2"}
    assert store.label(digest, {"k1": "new", "k3": "v3"}, replace=True).labels == {"k1": "new", "k3": "v3"}
    assert store.label(digest, {"k1": "v1", "k3": ""}).labels == {"k1": "v1"}
    assert [info.labels for info in store.walk()] == [{"k1": "v1"}]


def test_labelling_marks_the_blob_as_used(store):
    digest = put(store, b"x").digest
    before = store.info(digest)
    time.sleep(0.02)
    after = store.label(digest, {"k": "v"})
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


def test_a_label_is_bounded(store):
    digest = put(store, b"x").digest
    store.label(digest, {"k": "v" * 4095})
    with pytest.raises(InvalidArgument):
        store.label(digest, {"k": "v" * 4096})
    with pytest.raises(InvalidArgument):
        store.label(digest, {"": "v"})


# Sharing


def test_concurrent_tags_of_ten_threads_are_all_kept(store):
    def run(number):
        store.tag(f"name{number}", put(store, f"content {number}".encode()))

    run_in_threads(10, run)
    assert sorted(store.tags()) == sorted(f"name{number}" for number in range(10))


def test_listing_writes_does_not_disturb_them(store):
    desc = Descriptor(Digest.of(b"content"), 7)
    with repeating(lambda: list(store.statuses())):
        for _ in range(50):
            with store.writer("ref", desc) as writer:
                writer.write(b"cont")
            with store.writer("ref", desc) as writer:
                assert writer.offset == 4
                writer.truncate()


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
    run = Run(heard.append, seen.append, pause=clock.sleep)
    try:
        return wait_for_writer(store, ref_for(desc.digest), desc, run), clock, heard
    finally:
        assert len(clock.waits) == 3
        assert clock.waits[0] <= 0.016
        assert max(clock.waits) <= 2
        assert [notice.text.endswith("waiting") for notice in heard] == [True]
        assert set(seen) == {Event(ref_for(desc.digest), 0, desc.size, "waiting")}


def test_a_waiting_writer_finds_the_committed_blob(store):
    desc = Descriptor(Digest.of(b"content"), 7)
    first = store.writer(ref_for(desc.digest), desc)
    first.write(b"content")
    with pytest.raises(AlreadyExists):
        waiting(store, desc, first.commit)
    assert read(store, desc, 10) == b"content"


def test_a_waiting_writer_resumes_an_abandoned_ingest(store):
    desc = Descriptor(Digest.of(b"content"), 7)
    first = store.writer(ref_for(desc.digest), desc)
    first.write(b"cont")
    writer, _, _ = waiting(store, desc, first.close)
    with writer:
        assert writer.offset == 4


def test_waiting_for_a_writer_ends_at_the_timeout(store):
    with store.writer("ref"), pytest.raises(DeadlineExceeded):
        wait_for_writer(store, "ref", None, Run(deadline=time.monotonic() - 1))


def test_waiting_ends_when_the_run_is_cancelled(store):
    run = Run()
    timer = threading.Timer(0.05, run.cancel)
    timer.start()
    try:
        with store.writer("ref"), pytest.raises(Cancelled):
            wait_for_writer(store, "ref", None, run)
    finally:
        timer.join()


def test_abandoned_ingests_are_reported_as_inactive(store):
    with store.writer("abandoned") as writer:
        writer.write(b"some")
    with store.writer("active") as writer:
        assert {status.ref: status.active for status in store.statuses()} == {"abandoned": False, "active": True}
        assert store.status("active").active
        with pytest.raises(Locked):
            store.abort("active")
