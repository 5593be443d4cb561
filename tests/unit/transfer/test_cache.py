"""Fetching through the store."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from support import fake_remotes
from support.content import blob, random_bytes
from support.fake_remotes import FakeRemote
from support.repositories import cached, find
from support.stored import damage

from dist_tool.errors import (
    DigestMismatch,
    LimitExceeded,
    LocalFailure,
    NotFound,
    SizeMismatch,
    Truncated,
    UnexpectedSize,
)
from dist_tool.names.hints import Hints
from dist_tool.names.reference import parse_object
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import Event, Notice, Run
from dist_tool.store.disk import DiskStore
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Retry
from dist_tool.transfer.opening import FetchOptions

ONCE = FetchOptions(retry=Retry(attempts=1))
CONTENT = blob("keep", 3 << 20)
NO_HINTS = Hints()


class Source:
    """A remote of one blob that counts, and can be told to cut or to lie."""

    def __init__(self, data: bytes = CONTENT.data, *, cut_at: int | None = None) -> None:
        self.data = data
        self.cut_at = cut_at
        self.offsets: list[int] = []
        self.resolved = 0

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        digest = parse_object(object_id).digest
        if digest is None:
            self.resolved += 1
            return CONTENT.descriptor
        return Descriptor(digest, hints.size)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        self.offsets.append(offset)
        end = len(self.data) if self.cut_at is None else self.cut_at
        return Body(io.BytesIO(self.data[offset:end]), offset=offset, total=len(self.data), source="test")


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(str(tmp_path / "store"))


def taken(remote: Source, store: DiskStore, options: FetchOptions = ONCE) -> bytes:
    out = bytearray()
    cached(remote, store, options).fetch_known(find(remote, store, str(CONTENT.digest), Hints()), out.extend)
    return bytes(out)


def test_a_digest_that_is_in_the_store_asks_the_remote_nothing(store: DiskStore) -> None:
    remote = Source()
    assert taken(remote, store) == CONTENT.data
    assert taken(remote, store) == CONTENT.data
    assert remote.offsets == [0]


def test_a_tag_costs_one_question_and_no_content_when_that_is_in_the_store(store: DiskStore) -> None:
    remote = Source()
    taken(remote, store)
    assert find(remote, store, "latest", Hints()).digest == CONTENT.digest
    assert (remote.resolved, remote.offsets) == (1, [0])


def test_what_a_cut_fetch_left_is_continued_by_the_next(store: DiskStore) -> None:
    broken = Source(cut_at=2_000_000)
    with pytest.raises(Truncated):
        taken(broken, store)
    events: list[Event] = []
    remote = Source()
    assert taken(remote, store, ONCE._replace(run=Run(progress=events.append))) == CONTENT.data
    assert remote.offsets == [2_000_000]
    assert {event.resumed for event in events if event.state == "moving"} == {2_000_000}


def test_a_wrong_start_left_by_an_earlier_session_is_thrown_away_once(store: DiskStore) -> None:
    with pytest.raises(Truncated):
        taken(Source(random_bytes("other", len(CONTENT.data)), cut_at=1_500_000), store)
    remote = Source()
    assert taken(remote, store) == CONTENT.data
    assert remote.offsets == [1_500_000, 0]


def test_a_size_that_was_not_known_is_that_of_the_answer(store: DiskStore) -> None:
    """What `content active` shows of a fetch by digest alone."""
    large = blob("keep, large", 6 << 20)
    with pytest.raises(Truncated):
        cached(Source(large.data, cut_at=1_500_000), store, ONCE).ensure_stored(Descriptor(large.digest))
    assert [(status.offset, status.total) for status in store.statuses()] == [(1_500_000, 6 << 20)]
    assert cached(Source(large.data), store, ONCE).ensure_stored(Descriptor(large.digest)).size == 6 << 20


def test_wrong_declared_size_is_not_kept_for_later_fetches(store: DiskStore) -> None:
    large, longer = blob("keep, large", 6 << 20), blob("keep, longer", 7 << 20)
    with pytest.raises(Truncated):
        cached(Source(longer.data, cut_at=5 << 20), store, ONCE).ensure_stored(Descriptor(large.digest))
    assert cached(Source(large.data), store, ONCE).ensure_stored(Descriptor(large.digest)).size == 6 << 20


def test_wrong_content_is_refused_not_delivered_and_not_stored(store: DiskStore) -> None:
    out = bytearray()
    corrupt = Source(random_bytes("lie", len(CONTENT.data)))
    with pytest.raises(DigestMismatch):
        cached(corrupt, store, ONCE).fetch_known(Descriptor(CONTENT.digest), out.extend)
    assert not out
    assert store.size(CONTENT.digest) is None
    assert list(store.statuses()) == []
    assert taken(Source(), store) == CONTENT.data


def test_a_rotten_blob_of_the_store_is_fetched_anew(store: DiskStore) -> None:
    taken(Source(), store)
    path = Path(store.path(CONTENT.digest))
    path.chmod(0o644)
    path.write_bytes(b"x" + CONTENT.data[1:])
    notices: list[str] = []
    remote = Source()
    assert taken(remote, store, ONCE._replace(run=Run(lambda notice: notices.append(notice.text)))) == CONTENT.data
    assert remote.offsets == [0]
    assert any("damaged" in text for text in notices)


def test_a_size_hint_that_the_store_contradicts_is_refused(store: DiskStore) -> None:
    taken(Source(), store)
    with pytest.raises(SizeMismatch):
        find(Source(), store, str(CONTENT.digest), Hints(size=5))


def test_an_absent_object_leaves_no_partial_write(store: DiskStore) -> None:
    class Empty(Source):
        def open(self, desc: Descriptor, offset: int = 0) -> Body:
            raise NotFound("not here")

    with pytest.raises(NotFound):
        cached(Empty(), store, ONCE).ensure_stored(Descriptor(CONTENT.digest))
    assert list(store.statuses()) == []


def test_an_empty_object_is_kept_like_any_other(store: DiskStore) -> None:
    empty = blob("empty", 0)
    out = bytearray()
    cached(Source(b""), store, ONCE).fetch_known(Descriptor(empty.digest), out.extend)
    assert not out
    assert store.size(empty.digest) == 0


@pytest.mark.parametrize("source", [Source(cut_at=5), Source(random_bytes("lie", 3 << 20))], ids=["cut", "wrong"])
def test_an_object_that_fails_ends_once_for_those_who_watch(store: DiskStore, source: Source) -> None:
    events: list[Event] = []
    with pytest.raises((Truncated, DigestMismatch)):
        taken(source, store, ONCE._replace(run=Run(progress=events.append)))
    assert [event.state for event in events if event.state not in ("started", "moving")] == ["failed"]


# Mirrors


def fetched_from(
    store: DiskStore, *sources: FakeRemote, hints: Hints = NO_HINTS, notices: list[Notice] | None = None
) -> bytes:
    out = bytearray()
    how = fake_remotes.options(notices=notices)
    remote = fake_remotes.mirrored(*sources, notices=notices)
    cached(remote, store, how).fetch_known(find(remote, store, str(CONTENT.digest), hints), out.extend, hints)
    return bytes(out)


def test_size_limit_is_final_and_no_mirror_is_excluded(store: DiskStore) -> None:
    sources = FakeRemote(CONTENT.data), FakeRemote(CONTENT.data)
    with pytest.raises(LimitExceeded):
        cached(fake_remotes.mirrored(*sources), store, ONCE._replace(limit=10)).ensure_stored(
            Descriptor(CONTENT.digest)
        )
    assert [source.requests for source in sources] == [[0], []]


def test_corrupt_mirror_is_skipped_and_leaves_no_partial_write(store: DiskStore) -> None:
    assert fetched_from(store, fake_remotes.corrupt_remote(CONTENT), FakeRemote(CONTENT.data)) == CONTENT.data
    assert store.size(CONTENT.digest) == len(CONTENT.data)
    assert list(store.statuses()) == []


def test_isolated_mirror_begins_at_byte_0(store: DiskStore) -> None:
    cut = FakeRemote(fake_remotes.corrupt_remote(CONTENT).data, cut_at=2_000_000)
    sound = FakeRemote(CONTENT.data)
    assert fetched_from(store, cut, sound) == CONTENT.data
    assert sound.requests == [2_000_000, 0]


def test_bytes_of_an_isolated_mirror_that_was_cut_are_not_continued_by_another(store: DiskStore) -> None:
    cut, other = (
        FakeRemote(fake_remotes.corrupt_remote(CONTENT).data, cut_at=2_000_000),
        fake_remotes.corrupt_remote(CONTENT),
    )
    sound = FakeRemote(CONTENT.data)
    assert fetched_from(store, cut, other, sound) == CONTENT.data
    assert sound.requests == [0]


def test_no_mirror_is_blamed_for_wrong_bytes_of_an_earlier_session(store: DiskStore) -> None:
    with pytest.raises(Truncated):
        taken(Source(random_bytes("other", len(CONTENT.data)), cut_at=1_500_000), store)
    notices: list[Notice] = []
    first, second = FakeRemote(CONTENT.data), FakeRemote(CONTENT.data)
    assert fetched_from(store, first, second, notices=notices) == CONTENT.data
    assert (first.requests, second.requests) == ([1_500_000, 0], [])
    assert not [notice for notice in notices if notice.level == "warning"]


def test_partial_write_that_is_longer_than_the_object_is_dropped(store: DiskStore) -> None:
    with pytest.raises(Truncated):
        taken(Source(random_bytes("other", 5 << 20), cut_at=4 << 20), store)
    whole = FakeRemote(CONTENT.data, supports_ranges=False)
    assert fetched_from(store, whole) == CONTENT.data
    assert whole.requests == [4 << 20, 0]


@pytest.mark.parametrize("size", [10, 5 << 20])
def test_wrong_size_hint_is_reported_after_each_mirror_was_tried_once(store: DiskStore, size: int) -> None:
    sources = FakeRemote(CONTENT.data), FakeRemote(CONTENT.data)
    notices: list[Notice] = []
    with pytest.raises(SizeMismatch, match=f"no source confirms size:{size}"):
        fetched_from(store, *sources, hints=Hints(size=size), notices=notices)
    assert [source.requests for source in sources] == [[0], [0]]
    assert not [notice for notice in notices if notice.level == "warning"]
    assert fetched_from(store, *sources) == CONTENT.data


def test_a_wrong_size_hint_blames_no_earlier_session_and_costs_none_of_its_bytes(store: DiskStore) -> None:
    with pytest.raises(Truncated):
        taken(Source(cut_at=2_000_000), store)
    source, hints = Source(), Hints(size=5 << 20)
    with pytest.raises(SizeMismatch):
        cached(source, store, ONCE).fetch_known(find(source, store, str(CONTENT.digest), hints), lambda _: None, hints)
    assert taken(source, store) == CONTENT.data
    assert source.offsets == [2_000_000, 2_000_000]


def test_wrong_size_hint_tries_each_mirror_once_after_an_earlier_session(store: DiskStore) -> None:
    with pytest.raises(Truncated):
        taken(Source(cut_at=2_000_000), store)
    sources = FakeRemote(CONTENT.data), FakeRemote(CONTENT.data)
    with pytest.raises(SizeMismatch, match="no source confirms"):
        fetched_from(store, *sources, hints=Hints(size=5 << 20))
    assert [len(source.requests) for source in sources] == [1, 1]


def test_a_size_hint_that_is_too_large_for_right_content_costs_one_download(store: DiskStore) -> None:
    source, other = FakeRemote(CONTENT.data, declares_size=False, supports_ranges=False), FakeRemote(CONTENT.data)
    with pytest.raises(UnexpectedSize, match="the digest matches"):
        fetched_from(store, source, other, hints=Hints(size=5 << 20))
    assert fetched_from(store, source, other) == CONTENT.data
    assert (source.requests, other.requests) == ([0], [])


# Damage, and removal by others


FLIPPED = b"x" + CONTENT.data[1:]
SHORT = CONTENT.data[:100]


@pytest.mark.parametrize("data", [FLIPPED, SHORT, b""], ids=["flipped", "short", "empty"])
@pytest.mark.parametrize("object_id", [str(CONTENT.digest), "latest"])
def test_damaged_blob_is_replaced_and_keeps_labels_and_names(store: DiskStore, data: bytes, object_id: str) -> None:
    taken(Source(), store)
    store.label(CONTENT.digest, {"containerd.io/gc.root": "y"})
    store.tag("name", CONTENT.descriptor)
    damage(store, CONTENT.digest, data)
    out = bytearray()
    remote = Source()
    cached(remote, store, ONCE).fetch_known(find(remote, store, object_id, NO_HINTS), out.extend)
    assert bytes(out) == CONTENT.data
    assert store.read(Descriptor(CONTENT.digest), 1 << 30) == CONTENT.data
    assert store.info(CONTENT.digest).labels == {"containerd.io/gc.root": "y"}
    assert list(store.tags()) == ["name"]
    assert remote.offsets == [0]


def test_damaged_blob_stays_if_it_cannot_be_fetched_again(store: DiskStore) -> None:
    """It is evidence, and `dist content verify` reports it; another process must not see it vanish."""

    class Absent(Source):
        def open(self, desc: Descriptor, offset: int = 0) -> Body:
            raise NotFound("not here")

    taken(Source(), store)
    damage(store, CONTENT.digest, FLIPPED)
    with pytest.raises(NotFound):
        taken(Absent(), store)
    assert Path(store.path(CONTENT.digest)).read_bytes() == FLIPPED


def test_blob_that_is_removed_before_it_is_read_is_fetched_again(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `dist content gc --grace 0`."""
    removals = iter([True, True])
    real = DiskStore.open

    def remove_first(self: DiskStore, desc: Descriptor, offset: int = 0, **how: bool) -> object:
        if next(removals, False):
            self.delete(desc.digest)
        return real(self, desc, offset, **how)

    monkeypatch.setattr(DiskStore, "open", remove_first)
    remote = Source()
    assert taken(remote, store) == CONTENT.data
    assert remote.offsets == [0, 0, 0]


def test_blob_that_is_always_removed_is_a_local_failure(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = DiskStore.open

    def remove(self: DiskStore, desc: Descriptor, offset: int = 0, **how: bool) -> object:
        self.delete(desc.digest)
        return real(self, desc, offset, **how)

    monkeypatch.setattr(DiskStore, "open", remove)
    with pytest.raises(LocalFailure, match=r"was removed from the store: .*--grace 0"):
        taken(Source(), store)
