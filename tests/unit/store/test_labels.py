"""Labels: permissions, encodings, and the order in which they and blobs are removed."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from dist_tool.errors import InvalidArgument, LocalFailure, NotFound
from dist_tool.oci.digest import Digest
from dist_tool.store import open_store
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.labels import GC_ROOT

EVERYTHING = GcPolicy(grace_s=0)
NOT_UTF8 = os.fsdecode(b"\xff")


def labelled(root: Path) -> set[str]:
    """The digests that have labels, by SQLite alone."""
    with sqlite3.connect(root / "metadata.db") as db:
        found = {row[0] for row in db.execute("SELECT digest FROM labels")}
    db.close()
    return found


@pytest.mark.parametrize("labels", [{NOT_UTF8: "v"}, {"k": NOT_UTF8}])
def test_label_that_is_not_utf8_is_a_usage_error(filled: Any, labels: dict[str, str]) -> None:
    digest = filled.put(b"x").digest
    with pytest.raises(InvalidArgument, match="not valid UTF-8"):
        filled.store.label(digest, labels)


def test_label_that_cannot_be_set_is_refused_before_the_commit(filled: Any) -> None:
    with filled.store.writer("ref") as writer:
        writer.write(b"x")
        with pytest.raises(InvalidArgument):
            writer.commit(labels={"k": "v" * 5000})
    assert filled.digests() == set()
    assert filled.store.status("ref").offset == 1


def test_labels_of_a_commit_are_set(filled: Any) -> None:
    with filled.store.writer("ref") as writer:
        writer.write(b"x")
        desc = writer.commit(labels={"k": "v"})
    assert filled.store.info(desc.digest).labels == {"k": "v"}


def test_store_whose_path_is_not_utf8_has_labels(tmp_path: Path) -> None:
    root = f"{tmp_path}/caf{os.fsdecode(b'%e9')}{NOT_UTF8}#?"
    store = open_store(root)
    with store.writer("ref") as writer:
        writer.write(b"x")
        desc = writer.commit(labels={"k": "v"})
    assert store.info(desc.digest).labels == {"k": "v"}
    assert os.path.exists(f"{root}/metadata.db")


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_database_has_the_permissions_that_the_umask_gives(filled: Any, umask: int, mode: int) -> None:
    desc = filled.put(b"x")
    old = os.umask(umask)
    try:
        filled.store.label(desc.digest, {"k": "v"})
    finally:
        os.umask(old)
    assert stat.S_IMODE((filled.root / "metadata.db").stat().st_mode) == mode


def test_delete_forgets_labels_before_it_removes_the_blob(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two must not leave a gc.root for content that is added again later."""
    desc = filled.put(b"x")
    filled.store.label(desc.digest, {GC_ROOT: "y"})
    at_unlink = []
    unlink = os.unlink

    def watched(path: str, *args: Any, **kwargs: Any) -> None:
        if path == filled.store.path(desc.digest):
            at_unlink.append(labelled(filled.root))
        unlink(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", watched)
    filled.store.delete(desc.digest)
    assert at_unlink == [set()]


def test_delete_holds_the_lock_until_labels_are_forgotten(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that adds and labels the content again right after must keep its label."""
    import fcntl

    desc = filled.put(b"x")
    filled.store.label(desc.digest, {"k": "v"})
    refused = []
    forget = filled.store.labels.forget

    def watched(digests: Any) -> None:
        with open(filled.root / "lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                refused.append(True)
        forget(digests)

    monkeypatch.setattr(filled.store.labels, "forget", watched)
    filled.store.delete(desc.digest)
    assert refused == [True]


def test_blob_that_cannot_be_removed_keeps_its_labels(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desc = filled.put(b"x")
    filled.store.label(desc.digest, {GC_ROOT: "y"})

    def refuse(digest: Digest) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(filled.store.blobs, "remove", refuse)
    with pytest.raises(LocalFailure):
        filled.store.delete(desc.digest)
    assert filled.store.info(desc.digest).labels == {GC_ROOT: "y"}


def test_gc_drops_labels_of_absent_blobs(filled: Any) -> None:
    kept, gone = filled.put(b"kept"), filled.put(b"gone")
    for desc in (kept, gone):
        filled.store.label(desc.digest, {GC_ROOT: "y"})
    filled.file(gone).unlink()
    list(collect(filled.store, GcPolicy(dry_run=True)))
    assert labelled(filled.root) == {str(kept.digest), str(gone.digest)}
    list(collect(filled.store, GcPolicy()))
    assert labelled(filled.root) == {str(kept.digest)}
    assert filled.store.info(filled.put(b"gone").digest).labels == {}


def test_gc_forgets_labels_before_it_removes_blobs(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desc = filled.put(b"x")
    filled.store.label(desc.digest, {"k": "v"})

    def refuse(digests: Any) -> None:
        list(digests)
        raise KeyboardInterrupt

    monkeypatch.setattr(filled.store.labels, "forget", refuse)
    with pytest.raises(KeyboardInterrupt):
        list(collect(filled.store, EVERYTHING))
    assert filled.digests() == {desc.digest}


@pytest.mark.parametrize("way", ["delete", "gc"])
def test_labels_that_cannot_be_forgotten_cost_a_warning(filled: Any, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    desc = filled.put(b"x")

    def refuse(digests: Any) -> None:
        list(digests)
        raise LocalFailure("the database is read-only")

    monkeypatch.setattr(filled.store.labels, "forget", refuse)
    if way == "delete":
        filled.store.delete(desc.digest)
    else:
        list(collect(filled.store, EVERYTHING))
    assert filled.digests() == set()
    assert filled.notices == ["the database is read-only; labels of removed blobs stay"]


def test_label_of_an_absent_blob_is_not_found_and_not_kept(filled: Any) -> None:
    filled.put(b"other")
    with pytest.raises(NotFound):
        filled.store.label(Digest.of(b"absent"), {"k": "v"})
    assert not (filled.root / "metadata.db").exists()
