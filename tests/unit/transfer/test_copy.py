"""Copying one object into each kind of target."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest
from support import fake_remotes
from support.content import blob, random_bytes
from support.fake_remotes import FakeRemote

from dist_tool.api import NamedStore, Store, Writer
from dist_tool.errors import Cancelled, DeadlineExceeded, DigestMismatch, LimitExceeded, NotFound, Truncated
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import Event, Notice, Run
from dist_tool.store import open_store
from dist_tool.store.memory import MemoryStore
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Retry
from dist_tool.transfer.copy import copy_object
from dist_tool.transfer.sources import Sources

CONTENT = blob("copied", 3 << 20)
LARGE = blob("copied, large", 6 << 20)
DESC = CONTENT.descriptor
ONCE = Retry(attempts=1)


class Fetching:
    """A `Fetcher` of one object that records the offsets of its requests."""

    def __init__(self, data: bytes = CONTENT.data, *, cut_at: int | None = None) -> None:
        self.data, self.cut_at = data, cut_at
        self.offsets: list[int] = []

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        self.offsets.append(offset)
        end = len(self.data) if self.cut_at is None else self.cut_at
        return Body(io.BytesIO(self.data[offset:end]), offset=offset, total=len(self.data), source="test")


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> NamedStore:
    return MemoryStore() if request.param == "memory" else open_store(str(tmp_path / "store"))


class Upload:
    """A target that is only an `Ingester`, as the upload of a registry."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def writer(self, ref: str, desc: Descriptor | None = None) -> Writer:
        return self._store.writer(ref, desc)


def content_of(store: Store) -> bytes:
    with store.open(DESC) as body:
        view = memoryview(bytearray(len(CONTENT.data) + 1))
        filled = 0
        while got := body.readinto(view[filled:]):
            filled += got
        return bytes(view[:filled])


@pytest.mark.parametrize("target_of", [lambda store: store, Upload], ids=["store", "ingester"])
def test_object_is_copied_once(store: NamedStore, target_of: Callable[[NamedStore], Store]) -> None:
    events: list[Event] = []
    source, run = Fetching(), Run(progress=events.append)
    assert copy_object(source, target_of(store), Descriptor(DESC.digest), run).size == len(CONTENT.data)
    assert content_of(store) == CONTENT.data
    assert (events[0].state, events[-1].state, events[-1].offset) == ("started", "done", len(CONTENT.data))
    events.clear()
    assert copy_object(source, target_of(store), DESC, run).size == len(CONTENT.data)
    assert source.offsets == [0]
    assert [event.state for event in events] == ["exists"]


def test_object_is_copied_from_one_store_to_another(store: NamedStore) -> None:
    copy_object(Fetching(), store, DESC)
    other = MemoryStore()
    copy_object(store, other, DESC)
    assert content_of(other) == CONTENT.data


def test_interrupted_copy_is_continued(store: NamedStore) -> None:
    with pytest.raises(Truncated):
        copy_object(Fetching(cut_at=2_000_000), store, DESC, retry=ONCE)
    events: list[Event] = []
    source = Fetching()
    copy_object(source, store, DESC, Run(progress=events.append))
    assert source.offsets == [2_000_000]
    assert {event.resumed for event in events if event.state in ("moving", "done")} == {2_000_000}
    assert content_of(store) == CONTENT.data


def test_wrong_start_of_an_earlier_session_is_dropped_once(store: NamedStore) -> None:
    with pytest.raises(Truncated):
        copy_object(Fetching(random_bytes("other", len(CONTENT.data)), cut_at=1_500_000), store, DESC, retry=ONCE)
    notices: list[Notice] = []
    source = Fetching()
    copy_object(source, store, DESC, Run(notices.append))
    assert source.offsets == [1_500_000, 0]
    assert [notice.text.endswith("restarting at byte 0") for notice in notices] == [True]
    assert content_of(store) == CONTENT.data


def test_wrong_content_leaves_nothing(store: NamedStore) -> None:
    with pytest.raises(DigestMismatch):
        copy_object(Fetching(random_bytes("lie", len(CONTENT.data))), store, DESC, retry=ONCE)
    assert store.size(DESC.digest) is None
    assert list(store.statuses()) == []


def test_next_mirror_is_asked_for_wrong_content(store: NamedStore) -> None:
    remote = fake_remotes.mirrored(fake_remotes.corrupt_remote(CONTENT), FakeRemote(CONTENT.data))
    copy_object(Sources(remote, DESC), store, DESC)
    assert content_of(store) == CONTENT.data


def test_declared_size_is_in_the_status(store: NamedStore) -> None:
    with pytest.raises(Truncated):
        copy_object(Fetching(LARGE.data, cut_at=1_500_000), store, Descriptor(LARGE.digest), retry=ONCE)
    assert [(status.offset, status.total) for status in store.statuses()] == [(1_500_000, 6 << 20)]
    assert copy_object(Fetching(LARGE.data), store, Descriptor(LARGE.digest)).size == 6 << 20


def test_complete_ingest_of_an_earlier_session_is_committed_without_a_request(store: NamedStore) -> None:
    with store.writer(str(DESC.digest), Descriptor(DESC.digest)) as writer:
        writer.write(CONTENT.data)
    source = Fetching()
    copy_object(source, store, DESC)
    assert source.offsets == []
    assert content_of(store) == CONTENT.data


def test_limit_bounds_the_object(store: NamedStore) -> None:
    with pytest.raises(LimitExceeded):
        copy_object(Fetching(), store, DESC, limit=10)
    assert list(store.statuses()) == []


def test_absent_object_leaves_no_ingest(store: NamedStore) -> None:
    class Absent(Fetching):
        def open(self, desc: Descriptor, offset: int = 0) -> Body:
            raise NotFound("absent")

    with pytest.raises(NotFound):
        copy_object(Absent(), store, DESC)
    assert list(store.statuses()) == []


def test_copy_waits_for_another_writer_of_the_digest(store: NamedStore) -> None:
    first = store.writer(str(DESC.digest), DESC)
    first.write(CONTENT.data)
    events: list[Event] = []
    source = Fetching()
    run = Run(progress=events.append, pause=lambda _: first.commit() and None)
    assert copy_object(source, store, DESC, run).size == len(CONTENT.data)
    assert source.offsets == []
    assert [event.state for event in events] == ["waiting", "exists"]


def test_wait_ends_with_the_run(store: NamedStore) -> None:
    now = [0.0]
    late = Run(deadline=5.0, clock=lambda: now[0], pause=lambda seconds: now.__setitem__(0, now[0] + seconds))
    run = Run()
    with store.writer(str(DESC.digest), DESC):
        with pytest.raises(DeadlineExceeded):
            copy_object(Fetching(), store, DESC, late)
        assert now[0] >= 5.0
        timer = Timer(0.05, run.cancel)
        timer.start()
        with pytest.raises(Cancelled):
            copy_object(Fetching(), store, DESC, run)
        timer.join()
