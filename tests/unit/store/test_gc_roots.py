"""What gc keeps and what it removes."""

from __future__ import annotations

import os

import pytest
from support.stored import damage, have, put, put_image, put_index, put_json

from dist_tool.errors import AlreadyExists, DigestMismatch
from dist_tool.oci.mediatypes import OCI_MANIFEST
from dist_tool.store import open_store
from dist_tool.store.gc import GcPolicy, collect

EVERYTHING = GcPolicy(grace_s=0)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def test_gc_keeps_reachable_blobs_and_removes_others(store):
    image, other = put_image(store, "a"), put_image(store, "b")
    index = put_index(store, image[0])
    store.tag("name", index)
    removed = {each.name: each.size for each in collect(store, EVERYTHING)}
    assert removed == {str(desc.digest): desc.size for desc in other}
    assert have(store) == {index.digest, *(desc.digest for desc in image)}
    store.untag("name")
    assert len(list(collect(store, EVERYTHING))) == 4
    assert have(store) == set()


def test_gc_keeps_recently_used_blobs(store):
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


def test_gc_keeps_blobs_given_as_roots(store):
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


def test_gc_removes_ingests_left_by_a_crash(store, tmp_path):
    put(store, b"x")
    left = tmp_path / "store" / "ingest" / ("0" * 64)
    left.mkdir()
    (left / "startedat").write_text("half")
    assert ("ingest", "0" * 64, 0) in list(collect(store, EVERYTHING))
    assert not left.exists()


def test_gc_of_a_store_with_missing_blobs_keeps_the_others(store):
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
    damage(store, manifest.digest, b'{"layers": []}')
    with pytest.raises(DigestMismatch, match=str(manifest.digest)):
        list(collect(store, EVERYTHING))
    assert have(store) == {manifest.digest, config.digest, layer.digest, loose.digest}


def test_gc_follows_unknown_media_types(store):
    child = put(store, b"child")
    value = {"mediaType": "application/vnd.example+json", "blobs": [child.to_json()], "config": {"plain": 1}}
    store.tag("name", put_json(store, value, "application/vnd.example+json"))
    assert list(collect(store, EVERYTHING)) == []


def test_gc_keeps_a_subject_with_its_referrers(store):
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
