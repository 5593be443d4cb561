"""What gc follows, and how deep."""

from __future__ import annotations

import json
from typing import Any

from dist_tool.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from dist_tool.store.gc import GRACE_S, GcPolicy, collect

EVERYTHING = GcPolicy(grace_s=0)


def put_json(filled: Any, value: Any, media_type: str) -> Any:
    return filled.put(json.dumps(value).encode(), media_type)


def test_gc_follows_a_chain_of_subjects_of_any_length(filled: Any) -> None:
    empty = filled.put(b"{}")
    desc = None
    for number in range(30):
        value = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": empty.to_json(),
            "layers": [],
            "annotations": {"number": str(number)},
        }
        desc = put_json(filled, {**value, "subject": desc.to_json()} if desc else value, OCI_MANIFEST)
    filled.store.tag("last", desc)
    before = filled.digests()
    loose = filled.put(b"loose")
    assert [each.name for each in collect(filled.store, EVERYTHING)] == [str(loose.digest)]
    assert filled.digests() == before


def test_gc_follows_nested_indexes_of_any_depth(filled: Any) -> None:
    desc = filled.put(b"leaf")
    for _ in range(30):
        desc = put_json(filled, {"schemaVersion": 2, "manifests": [desc.to_json()]}, OCI_INDEX)
    filled.store.tag("deep", desc)
    assert list(collect(filled.store, EVERYTHING)) == []


def test_gc_ends_on_labels_that_form_a_cycle(filled: Any) -> None:
    one, two = filled.put(b"one"), filled.put(b"two")
    filled.store.label(one.digest, {"containerd.io/gc.ref.content": str(two.digest), "containerd.io/gc.root": "y"})
    filled.store.label(two.digest, {"containerd.io/gc.ref.content": str(one.digest)})
    assert list(collect(filled.store, EVERYTHING)) == []


def test_grace_covers_the_day_by_which_a_use_may_be_noted_late(filled: Any) -> None:
    """Under relatime a file that was read a moment ago may show a use of up to 24 hours ago."""
    late, old = filled.put(b"late"), filled.put(b"old")
    filled.age(late, 24 * 3600 + 12 * 3600)
    filled.age(old, GRACE_S + 60)
    assert [each.name for each in collect(filled.store, GcPolicy())] == [str(old.digest)]
