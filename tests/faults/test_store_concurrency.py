"""Many processes on one store: writers of the same and of different blobs, with gc and readers.

Two processes and not two threads: a lock that lives in one process is what peers have.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter

import pytest
from support.disk import Child, intercepted

from dist_tool.errors import AlreadyExists, Locked, NotFound
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.run import Run
from dist_tool.store import gc as gc_module
from dist_tool.store import locks, open_store
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.ingest import ref_for
from dist_tool.store.verify import verify_all
from dist_tool.store.waiting import wait_for_writer

PATIENT = Run(pause=lambda seconds: time.sleep(seconds / 10))


def blob(number):
    return random.Random(number).randbytes(20_000 + number)


def describe(data):
    return Descriptor(Digest.of(data), len(data))


def fetch(store, data, tell):
    """What a fetch does: the first one downloads, and tells of it; the others wait and read."""
    desc = describe(data)
    try:
        with wait_for_writer(store, ref_for(desc.digest), desc, PATIENT) as writer:
            tell(f"download {desc.digest} -")
            for at in range(writer.offset, len(data), 4096):
                writer.write(data[at : at + 4096])
            writer.commit()
    except AlreadyExists:
        pass
    assert store.read(desc, 1 << 20) == data


def writer(root, seed, blobs, rounds):
    """Fetch shared blobs in an order of its own, then one of its own, and name that."""

    def work(tell):
        store = open_store(root)
        order = list(range(blobs))
        for number in range(rounds):
            random.Random(f"{seed} {number}").shuffle(order)
            for each in order:
                fetch(store, blob(each), tell)
            own = blob(1000 + seed * rounds + number)
            fetch(store, own, tell)
            store.tag(f"name-{seed}-{number}", describe(own))
            tell(f"named name-{seed}-{number} {describe(own).digest}")

    return work


def until_told(root, step):
    """Repeat `step` until the name `stop` is in the store."""

    def work(tell):
        store = open_store(root)
        for number in itertools.count():
            step(store)
            if "stop" in store.tags():
                tell(f"rounds {number + 1}")
                return

    return work


def read_everything(store):
    for info in store.walk():
        try:
            with store.open_verified(Descriptor(info.digest)) as reader:
                while reader.read(1 << 16):
                    pass
        except NotFound:
            continue
    for name in list(store.tags()):
        store.resolve(name, Hints())
    list(store.statuses())


def gc(store):
    """Collects what nobody names and nobody used for a minute: nothing, and never a fresh name's."""
    assert list(collect(store, GcPolicy(grace_s=60))) == []


def run_together(root, writers, blobs, rounds):
    """All of them at once; returns what the writers told."""
    store = open_store(root)
    store.prepare()
    others = [Child(until_told(root, step)) for step in (gc, read_everything, read_everything)]
    children = [Child(writer(root, seed, blobs, rounds)) for seed in range(writers)]
    told = [child.wait() for child in children]
    store.tag("stop", put(store, b"stop"))
    ended = [child.wait() for child in others]
    assert [code for code, _ in told + ended] == [0] * (writers + len(others))
    return [lines for _, lines in told]


def put(store, data):
    with store.writer("put") as sink:
        sink.write(data)
        return sink.commit()


def check_together(root, writers, blobs, rounds):
    told = run_together(root, writers, blobs, rounds)
    store = open_store(root)
    assert all(verdict.state == "ok" for verdict in verify_all(store))
    for line in itertools.chain.from_iterable(told):
        kind, name, digest = line.split()
        if kind == "named":
            assert str(store.resolve(name, Hints()).digest) == digest
    assert len(list(store.tags())) == writers * rounds + 1
    downloads = Counter(line.split()[1] for line in itertools.chain.from_iterable(told) if line.startswith("download"))
    assert set(downloads.values()) == {1}, "a blob was downloaded twice"
    assert len(downloads) == blobs + writers * rounds
    assert list(store.statuses()) == []


def test_processes_share_a_store_and_each_blob_is_downloaded_once(tmp_path):
    check_together(str(tmp_path / "store"), writers=6, blobs=6, rounds=2)


@pytest.mark.torture
def test_sixteen_writers_with_gc_and_readers(tmp_path):
    """A minute of it, and some 5,000 fetches in each store."""
    started = time.monotonic()
    for number in itertools.count():
        check_together(str(tmp_path / f"store{number}"), writers=16, blobs=40, rounds=8)
        if time.monotonic() - started > 60:
            return


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.torture)])
def test_ten_processes_naming_ten_things_in_a_new_store_lose_none(tmp_path, rounds):
    """The store is made at the same time, too: peers lose names here (containers/skopeo, umoci)."""
    for number in range(rounds):
        root = str(tmp_path / f"store{number}")

        def work(tell, seed, root=root):
            store = open_store(root)
            fetch(store, blob(seed), tell)
            store.tag(f"name{seed}", describe(blob(seed)))

        children = [Child(lambda tell, seed=seed: work(tell, seed)) for seed in range(10)]
        assert [child.wait()[0] for child in children] == [0] * 10
        assert sorted(open_store(root).tags()) == [f"name{seed}" for seed in range(10)]


def test_gc_without_grace_keeps_what_is_named_while_others_fetch(tmp_path):
    """Unnamed blobs may go at any time then; named ones never, and nothing is ever half there."""
    root = str(tmp_path / "store")
    open_store(root).prepare()

    def careless(tell):
        store = open_store(root)
        for number in range(20):
            data = blob(number)
            while True:
                try:
                    fetch(store, data, lambda _: None)
                    store.tag(f"name{number}", describe(data))
                    break
                except NotFound:
                    continue

    collector = Child(until_told(root, lambda store: list(collect(store, GcPolicy(grace_s=0)))))
    children = [Child(careless) for _ in range(3)]
    codes = [child.wait()[0] for child in children]
    store = open_store(root)
    store.tag("stop", store.resolve("name0", Hints()))
    assert (codes, collector.wait()[0]) == ([0, 0, 0], 0)
    check_named(store)


def test_naming_waits_for_gc_and_then_knows_what_is_gone(tmp_path, monkeypatch):
    """Whatever the order, no name is left for a blob that is not there."""
    root = str(tmp_path / "store")
    store = open_store(root)
    put(store, blob(1))
    marked = tmp_path / "marked"

    def name(tell):
        while not marked.exists():
            time.sleep(0.001)
        try:
            open_store(root).tag("name", describe(blob(1)))
        except NotFound:
            tell("gone")

    def sweep(*args):
        marked.touch()
        time.sleep(0.1)  # for as long as it likes: the lock, not the time, keeps the other waiting
        return real(*args)

    real = gc_module._sweep_blobs
    monkeypatch.setattr(gc_module, "_sweep_blobs", sweep)
    namer = Child(name)
    assert [each.name for each in collect(store, GcPolicy(grace_s=0))] == [str(describe(blob(1)).digest)]
    assert namer.wait() == (0, ["gone"])
    assert list(store.tags()) == []


def test_the_lock_of_a_removed_ingest_is_no_lock(tmp_path):
    """Who opened the lock's file before it was removed, and got it after, must begin again."""
    store = open_store(str(tmp_path / "store"))
    first = store.writer("ref")
    first.write(b"first")

    def hook(name, args):
        if name == "flock" and ending:
            ending.pop()()

    ending = [first.commit]
    with pytest.MonkeyPatch.context() as patch:
        real = locks.try_ingest

        def try_ingest(directory, *, create):
            with intercepted(hook):
                return real(directory, create=create)

        patch.setattr(locks, "try_ingest", try_ingest)
        second = store.writer("ref")
    with second:
        second.write(b"second")
        assert first.closed
        with pytest.raises(Locked):
            store.writer("ref")
        assert [status.active for status in store.statuses()] == [True]
        assert second.commit().digest == Digest.of(b"second")


def check_named(store):
    for number in range(20):
        assert store.read(store.resolve(f"name{number}", Hints()), 1 << 20) == blob(number)
