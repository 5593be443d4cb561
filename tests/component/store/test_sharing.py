"""A store that several users write: root once, and a group. Needs root, to become others."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.disk import Child

from dist_tool.errors import AlreadyExists, LocalFailure
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.run import Run
from dist_tool.store import open_store, verify
from dist_tool.store import sniff as media
from dist_tool.store.disk import DiskStore
from dist_tool.store.gc import GcPolicy, collect

ALICE, BOB, GROUP = 64001, 64002, 64100
EVERYTHING = GcPolicy(grace_s=0)

Work = Callable[[DiskStore, Callable[[str], None]], None]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can become other users")
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        # Loads every module that is needed: another user may not be able to read the interpreter's directories.
        warm = open_store(f"{path}/warm")
        fill(b"warm", "warm", "sha512")(warm, print)
        use_all(warm, print)
        yield Path(path)


def run_as(uid: int, root: Path, work: Work, umask: int = 0o022) -> list[str]:
    """Run `work` on the store as a user; returns the lines that it reports, warnings of the store first."""

    def become_and_work(tell: Callable[[str], None]) -> None:
        os.umask(umask)
        if uid:
            os.setgroups([GROUP])
            os.setgid(uid)
            os.setuid(uid)
        store = open_store(str(root), Run(lambda notice: tell(f"{notice.level}: {notice.text}")))
        work(store, tell)

    code, lines = Child(become_and_work).wait()
    assert code == 0
    return lines


def put(store: DiskStore, data: bytes, algorithm: str = "sha256") -> Descriptor:
    desc = Descriptor(Digest.of(data, algorithm), len(data))
    with suppress(AlreadyExists), store.writer(str(desc.digest), desc) as writer:
        writer.write(data)
        writer.commit()
    return desc


def fill(data: bytes, name: str, algorithm: str = "sha256") -> Work:
    """Add a named and labelled blob, and leave a write unfinished."""

    def work(store: DiskStore, tell: Callable[[str], None]) -> None:
        desc = put(store, data, algorithm)
        store.tag(name, desc)
        store.label(desc.digest, {"by": name})
        with store.writer(f"unfinished {name}") as writer:
            writer.write(b"some")

    return work


def use_all(store: DiskStore, tell: Callable[[str], None]) -> None:
    """Everything that a user does: list, label, name, remove, collect, add."""
    tell(",".join(sorted(status.ref for status in store.statuses())))
    for info in list(store.walk()):
        store.label(info.digest, {"seen": "yes"})
    assert all(verdict.state == "ok" for verdict in verify.verify_all(store))
    media.media_types(store, list(store.digests()), store.run)
    for name in list(store.tags()):
        desc = store.resolve(name, Hints())
        store.untag(name)
        store.tag(f"{name} again", desc)
        store.untag(f"{name} again")
    loose = put(store, b"loose")
    store.delete(loose.digest)
    list(collect(store, EVERYTHING))
    tell(str(len(list(store.walk()))))


def owners(root: Path) -> set[int]:
    return {path.lstat().st_uid for path in (root, *root.rglob("*"))}


def test_what_root_adds_belongs_to_the_owner_of_the_store(place: Path) -> None:
    root = place / "home" / "store"
    root.parent.mkdir()
    os.chown(root.parent, ALICE, ALICE)
    run_as(0, root, fill(b"by root", "root", "sha512"), umask=0o077)
    assert owners(root) == {ALICE}
    assert run_as(ALICE, root, use_all) == ["unfinished root", "0"]


def test_root_does_not_give_away_what_was_there_before(place: Path) -> None:
    """The user may have moved a file of root's to the name of one of ours."""
    root = place / "store"
    root.mkdir()
    os.chown(root, ALICE, ALICE)
    run_as(ALICE, root, fill(b"by alice", "alice"))
    (root / "lock").unlink()
    (root / "lock").write_text("of root's")
    (root / "metadata.db").chmod(0o600)
    os.chown(root / "metadata.db", 0, 0)
    run_as(0, root, fill(b"by root", "root"))
    assert ((root / "lock").stat().st_uid, (root / "metadata.db").stat().st_uid) == (0, 0)


def test_what_cannot_be_read_is_passed_over_with_a_warning(place: Path) -> None:
    """What an older `sudo dist` left: directories and files of root's."""
    root = place / "store"
    root.mkdir()
    os.chown(root, ALICE, ALICE)
    run_as(ALICE, root, fill(b"by alice", "alice"))
    loose = []

    def add(store: DiskStore, tell: Callable[[str], None]) -> None:
        tell(str(put(store, b"loose").digest))

    loose += run_as(ALICE, root, add)
    for directory in ("ingest/" + "0" * 64, "blobs/sha512"):
        (root / directory).mkdir(mode=0o700)
    (root / "lock").chmod(0o644)
    os.chown(root / "lock", 0, 0)

    def look(store: DiskStore, tell: Callable[[str], None]) -> None:
        tell(",".join(status.ref for status in store.statuses()))
        for each in collect(store, EVERYTHING):
            tell(each.name)

    lines = run_as(ALICE, root, look)
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert [line for line in lines if line not in warnings] == ["unfinished alice", *loose, "unfinished alice"]
    assert len(warnings) == 3
    for name, count in (("ingest/" + "0" * 64, 2), ("blobs/sha512", 1)):
        assert sum(f"{root}/{name}" in line and "another user" in line for line in warnings) == count


def test_blob_that_cannot_be_read_does_not_end_a_list(place: Path) -> None:
    root = place / "store"
    root.mkdir()
    os.chown(root, ALICE, ALICE)
    run_as(ALICE, root, fill(b"by alice", "alice"))
    [file] = (root / "blobs" / "sha256").iterdir()
    os.chown(file, 0, 0)
    file.chmod(0o400)

    def look(store: DiskStore, tell: Callable[[str], None]) -> None:
        store.untag("alice")
        tell(",".join(media.media_types(store, list(store.digests()), store.run).values()))

    warning, types = run_as(ALICE, root, look)
    assert "Permission denied" in warning
    assert types == "application/octet-stream"


@pytest.fixture
def with_database_of_root(place: Path) -> Path:
    """A store of Alice's whose labels root has rewritten: she may read them."""
    root = place / "store"
    root.mkdir()
    os.chown(root, ALICE, ALICE)
    run_as(ALICE, root, fill(b"by alice", "alice"))
    os.chown(root / "metadata.db", 0, 0)
    (root / "metadata.db").chmod(0o644)
    return root


def test_database_of_root_is_no_obstacle_to_removing(with_database_of_root: Path) -> None:
    def work(store: DiskStore, tell: Callable[[str], None]) -> None:
        for data in (b"one", b"two"):
            put(store, data)
        store.delete(Digest.of(b"one"))
        list(collect(store, EVERYTHING))
        tell(str(store.size(Digest.of(b"two"))))
        store.delete(Digest.of(b"by alice"))  # the one with a label

    missing, warning = run_as(ALICE, with_database_of_root, work)
    assert missing == "None"
    assert "labels of removed blobs stay" in warning


def test_label_in_a_database_of_root_is_refused_before_anything_is_added(with_database_of_root: Path) -> None:
    def work(store: DiskStore, tell: Callable[[str], None]) -> None:
        try:
            with store.writer("ref") as writer:
                writer.write(b"new")
                writer.commit(labels={"k": "v"})
        except LocalFailure as error:
            tell(error.hint)
        tell(str(store.size(Digest.of(b"new"))))
        try:
            store.label(Digest.of(b"by alice"), {"k": "v"})
        except LocalFailure as error:
            tell(error.hint)

    owner = "check the owner and the permissions of the file"
    assert run_as(ALICE, with_database_of_root, work) == [owner, "None", owner]


def test_gc_removes_nothing_if_it_cannot_read_the_labels(with_database_of_root: Path) -> None:
    (with_database_of_root / "metadata.db").chmod(0o600)

    def work(store: DiskStore, tell: Callable[[str], None]) -> None:
        put(store, b"loose")
        try:
            list(collect(store, EVERYTHING))
        except LocalFailure as error:
            tell(error.hint)
        tell(str(store.size(Digest.of(b"loose"))))

    lines = run_as(ALICE, with_database_of_root, work)
    assert lines == ["check the owner and the permissions of the file", "5"]


def test_gc_removes_nothing_if_it_cannot_read_what_is_named(place: Path) -> None:
    root = place / "store"
    root.mkdir()
    os.chown(root, ALICE, ALICE)
    run_as(ALICE, root, fill(b"by alice", "alice"))
    for file in (root / "blobs" / "sha256").iterdir():
        os.chown(file, 0, 0)
        file.chmod(0o400)

    def work(store: DiskStore, tell: Callable[[str], None]) -> None:
        put(store, b"loose")
        try:
            list(collect(store, EVERYTHING))
        except Exception as error:
            tell(type(error).__name__)
        tell(str(len(list(store.walk()))))

    assert run_as(ALICE, root, work) == ["LocalFailure", "2"]


def test_group_shares_a_store(place: Path) -> None:
    """A directory with the setgid bit and umask 002, as `git init --shared` wants them too."""
    root = place / "store"
    root.mkdir()
    os.chown(root, ALICE, GROUP)
    root.chmod(0o2775)
    run_as(ALICE, root, fill(b"by alice", "alice", "sha512"), umask=0o002)
    run_as(BOB, root, fill(b"by bob", "bob"), umask=0o002)
    for path in (root, *root.rglob("*")):
        found = path.lstat()
        assert found.st_gid == GROUP, path
        if stat.S_ISDIR(found.st_mode):
            assert stat.S_IMODE(found.st_mode) == 0o2775, path
        elif "blobs" not in path.parts:
            assert stat.S_IMODE(found.st_mode) == 0o664, path
    assert run_as(BOB, root, use_all, umask=0o002)[-1] == "0"
    run_as(BOB, root, fill(b"by bob", "bob"), umask=0o002)
    assert run_as(ALICE, root, use_all, umask=0o002) == ["unfinished bob", "0"]


def test_one_of_the_group_continues_what_another_began(place: Path) -> None:
    root = place / "store"
    root.mkdir()
    os.chown(root, ALICE, GROUP)
    root.chmod(0o2775)
    run_as(ALICE, root, fill(b"by alice", "alice"), umask=0o002)

    def work(store: DiskStore, tell: Callable[[str], None]) -> None:
        with store.writer("unfinished alice") as writer:
            writer.write(b"more")
            desc: Any = writer.commit()
        tell(store.read(desc, 100).decode())
        put(store, b"by alice")

    assert run_as(BOB, root, work, umask=0o002) == ["somemore"]
