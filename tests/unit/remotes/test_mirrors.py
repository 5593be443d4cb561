"""Mirrors of one name: order, capabilities, failover midway, and wrong content."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError

import pytest
from support.content import blob, random_bytes
from support.fake_remotes import ALL, PULL, FakeRemote, mirrored, options
from support.repositories import fetch_known, fetch_to

from dist_tool.errors import (
    DigestMismatch,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    SizeMismatch,
    Truncated,
    Unavailable,
    Unsupported,
)
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.remotes.mirrors.mirror import Mirror
from dist_tool.remotes.mirrors.remote import MirroredRemote
from dist_tool.run import Notice

SMALL = blob("mirrored", 3000)
LARGE = blob("mirrored large", 6 << 20)
PATIENT = options()


def fetched(remote: MirroredRemote, desc: Descriptor) -> bytes:
    out = bytearray()
    fetch_to(remote, str(desc.digest), out.extend, options=PATIENT)
    return bytes(out)


def test_object_is_read_from_the_first_mirror_that_has_it() -> None:
    sources = FakeRemote(error=NotFound("no")), FakeRemote(SMALL.data), FakeRemote(SMALL.data)
    assert fetched(mirrored(*sources), SMALL.descriptor) == SMALL.data
    assert [len(source.requests) for source in sources] == [1, 1, 0]


def test_tag_is_resolved_only_by_mirrors_with_the_resolve_capability() -> None:
    mirror, origin = (FakeRemote(SMALL.data, tag=SMALL.descriptor) for _ in range(2))
    remote = mirrored(mirror, origin, capabilities=[PULL, ALL])
    assert remote.resolve("latest", Hints()).digest == SMALL.digest
    assert (mirror.requests, origin.requests) == ([], ["latest"])


def test_tag_without_a_mirror_that_may_resolve_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="may resolve"):
        mirrored(FakeRemote(SMALL.data), capabilities=[PULL]).resolve("latest", Hints())


def test_digest_that_will_be_read_is_not_looked_up() -> None:
    source = FakeRemote(SMALL.data)
    mirrored(source).resolve(str(SMALL.digest), Hints(content=True))
    assert source.requests == []


def test_error_of_the_own_endpoint_lists_all_attempts_if_every_mirror_fails() -> None:
    remote = mirrored(
        FakeRemote(error=Unavailable("a")), FakeRemote(error=NotFound("b")), FakeRemote(error=PermissionDenied("c"))
    )
    with pytest.raises(PermissionDenied) as caught:
        fetched(remote, SMALL.descriptor)
    assert caught.value.attempts == ("mirror 0: a", "mirror 1: b", "mirror 2: c")


def test_cut_is_continued_by_the_next_mirror_at_the_same_byte() -> None:
    cut, sound = FakeRemote(LARGE.data, cut_at=5 << 20), FakeRemote(LARGE.data)
    assert fetched(mirrored(cut, sound), LARGE.descriptor) == LARGE.data
    assert (cut.requests, sound.requests) == ([0], [5 << 20])


def test_two_mirrors_that_are_both_cut_alternate() -> None:
    first, second = FakeRemote(LARGE.data, cut_at=2 << 20), FakeRemote(LARGE.data, cut_at=4 << 20)
    remote = mirrored(first, second)
    first_open = first.open

    def recovered(desc: Descriptor, offset: int = 0) -> object:
        first.cut_at = None if offset else 2 << 20
        return first_open(desc, offset)

    first.open = recovered  # type: ignore[method-assign]
    assert fetched(remote, LARGE.descriptor) == LARGE.data
    assert (first.requests, second.requests) == ([0, 4 << 20], [2 << 20])


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_nothing_of_a_corrupt_mirror_is_delivered(content: object) -> None:
    expected = content if isinstance(content, type(SMALL)) else SMALL
    corrupt, sound = FakeRemote(random_bytes("lie", len(expected.data))), FakeRemote(expected.data)
    notices: list[Notice] = []
    out: list[bytes] = []
    remote = mirrored(corrupt, sound, notices=notices)
    fetch_to(remote, str(expected.digest), lambda data: out.append(bytes(data)), options=PATIENT)
    assert b"".join(out) == expected.data
    assert any("mirror 0 served wrong content" in notice.text for notice in notices)


def test_mirror_that_declares_an_unexpected_size_is_skipped() -> None:
    out = bytearray()
    remote = mirrored(FakeRemote(SMALL.data + b"x"), FakeRemote(SMALL.data))
    fetch_known(remote, SMALL.descriptor, out.extend, options=PATIENT)
    assert out == SMALL.data


def test_size_limit_ends_the_transfer_without_a_warning() -> None:
    sources = FakeRemote(SMALL.data), FakeRemote(SMALL.data)
    notices: list[Notice] = []
    options = PATIENT._replace(limit=10)
    with pytest.raises(LimitExceeded):
        fetch_to(mirrored(*sources, notices=notices), str(SMALL.digest), lambda _: None, Hints(), options)
    assert [source.requests for source in sources] == [[0], []]
    assert not [notice for notice in notices if notice.level == "warning"]


def test_mirror_that_contradicts_a_size_hint_is_skipped() -> None:
    out = bytearray()
    remote = mirrored(FakeRemote(SMALL.data + b"x"), FakeRemote(SMALL.data))
    fetch_to(remote, str(SMALL.digest), out.extend, Hints(size=len(SMALL.data)), PATIENT)
    assert out == SMALL.data


def test_size_hint_that_every_mirror_contradicts_is_a_size_mismatch() -> None:
    with pytest.raises(SizeMismatch):
        fetch_to(
            mirrored(FakeRemote(SMALL.data), FakeRemote(SMALL.data)),
            str(SMALL.digest),
            lambda _: None,
            Hints(size=10),
            PATIENT,
        )


def test_one_sound_mirror_among_failing_ones_is_enough() -> None:
    sources = [
        FakeRemote(error=Unavailable("refused")),
        FakeRemote(random_bytes("lie", 3000)),
        FakeRemote(SMALL.data, cut_at=100),
        FakeRemote(error=PermissionDenied("denied")),
        FakeRemote(SMALL.data[:-1]),
        FakeRemote(SMALL.data),
    ]
    assert fetched(mirrored(*sources), SMALL.descriptor) == SMALL.data


def test_only_corrupt_mirrors_are_a_digest_mismatch_without_output() -> None:
    out = bytearray()
    remote = mirrored(FakeRemote(random_bytes("one", 3000)), FakeRemote(random_bytes("two", 3000)))
    with pytest.raises(DigestMismatch):
        fetch_to(remote, str(SMALL.digest), out.extend, options=PATIENT)
    assert not out


def test_mirror_that_is_always_cut_ends_the_transfer() -> None:
    with pytest.raises(Truncated):
        fetched(mirrored(FakeRemote(SMALL.data, cut_at=10)), SMALL.descriptor)


def test_tags_are_listed_by_the_first_mirror_that_may_resolve() -> None:
    assert list(mirrored(FakeRemote(), FakeRemote(), capabilities=[PULL, ALL]).tags()) == ["v1"]


def test_close_closes_opened_mirrors_only() -> None:
    used, unused = FakeRemote(SMALL.data), FakeRemote(SMALL.data)
    remote = mirrored(used, unused)
    fetched(remote, SMALL.descriptor)
    remote.close()
    assert (used.closed, unused.closed) == (True, False)


def test_each_failed_request_gets_its_own_error() -> None:
    remote = mirrored(FakeRemote(error=NotFound("no")), FakeRemote(error=NotFound("no")))
    for line in ("line 1", "line 2"):
        with pytest.raises(NotFound) as caught:
            remote.open(SMALL.descriptor)
        assert caught.value.with_facts(object_id=line).object_id == line


def test_mirror_is_opened_once_for_all_threads() -> None:
    together = Barrier(2)

    def opener() -> FakeRemote:
        with pytest.raises(BrokenBarrierError):  # no second thread gets here
            together.wait(0.1)
        return FakeRemote(SMALL.data)

    mirror = Mirror("mirror", opener, ALL)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: mirror.remote, range(2))
    assert first is second
