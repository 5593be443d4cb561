"""Blobs that are damaged, replaced, and read without counting as used."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest

from dist_tool.errors import AlreadyExists
from dist_tool.oci.mediatypes import OCI_MANIFEST
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.sniff import media_types
from dist_tool.store.verify import verify_all

DAYS = 86400.0


def test_commit_of_good_bytes_replaces_a_damaged_blob(filled: Any) -> None:
    desc = filled.put(b"good")
    filled.store.label(desc.digest, {"k": "v"})
    filled.damage(desc, b"evil")
    with filled.store.writer("ref") as writer:
        writer.write(b"good")
        with pytest.raises(AlreadyExists):
            writer.commit()
    assert filled.file(desc).read_bytes() == b"good"
    assert filled.store.info(desc.digest).labels == {"k": "v"}
    assert list(filled.store.statuses()) == []


def test_replaced_blob_stays_readable_for_those_who_could_read_it(filled: Any) -> None:
    desc = filled.put(b"x")
    mode = stat.S_IMODE(filled.file(desc).stat().st_mode)
    assert mode & 0o044
    old = os.umask(0o077)
    try:
        filled.put(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(filled.file(desc).stat().st_mode) == mode


def test_distrusted_blob_is_absent_until_it_is_replaced(filled: Any) -> None:
    desc = filled.put(b"good")
    filled.damage(desc, b"evil")
    filled.store.distrust(desc.digest)
    assert filled.store.size(desc.digest) is None
    assert not filled.store.claim(desc)
    with filled.store.writer("ref", desc) as writer:
        writer.write(b"good")
        writer.commit()
    assert filled.store.claim(desc)
    assert filled.file(desc).read_bytes() == b"good"


def reads_set_the_time_of_use(filled: Any) -> bool:
    probe = filled.put(b"probe")
    before = filled.age(probe, 3 * DAYS)
    filled.file(probe).read_bytes()
    return bool(filled.file(probe).stat().st_atime > before)


def collect_nothing(filled: Any) -> None:
    assert list(collect(filled.store, GcPolicy(grace_s=30 * DAYS))) == []


@pytest.mark.parametrize(
    "look",
    [
        lambda filled: list(verify_all(filled.store)),
        lambda filled: media_types(filled.store, filled.digests(), filled.store.run),
        collect_nothing,
    ],
    ids=["verify", "media types", "gc"],
)
def test_looking_does_not_count_as_a_use(filled: Any, look: Any) -> None:
    if not reads_set_the_time_of_use(filled):
        pytest.skip("the file system does not keep the time of access")
    descs = [
        filled.put(b'{"schemaVersion": 2, "config": {}, "layers": []}', OCI_MANIFEST),
        filled.put(b"plain"),
    ]
    filled.store.tag("name", descs[0])
    before = [filled.age(desc, 3 * DAYS) for desc in descs]
    look(filled)
    assert [filled.file(desc).stat().st_atime for desc in descs] == before
    filled.store.read(descs[1], 100)
    assert filled.file(descs[1]).stat().st_atime > before[1]


def test_blob_of_another_owner_is_read_all_the_same(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the owner of a file may open it without setting the time of access."""
    desc = filled.put(b"x")
    real = os.open

    def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_NOATIME:
            raise PermissionError(1, "Operation not permitted")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert [verdict.state for verdict in verify_all(filled.store)] == ["ok"]
    assert filled.store.read(desc, 10, is_use=False) == b"x"


def test_claim_of_another_users_blob_reads_it(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time of access cannot be set by others, but reading it sets it at least once a day."""
    if not reads_set_the_time_of_use(filled):
        pytest.skip("the file system does not keep the time of access")
    desc = filled.put(b"x")
    before = filled.age(desc, 3 * DAYS)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert filled.store.claim(desc)
    assert filled.file(desc).stat().st_atime > before
