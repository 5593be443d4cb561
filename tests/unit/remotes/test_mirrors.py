"""Several places for one name: order, capabilities, leaving a place midway, and wrong content."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError

import pytest
from support.content import blob, random_bytes
from support.places import ALL, PULL, Source, mirrored, options
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


def taken(remote: MirroredRemote, desc: Descriptor) -> bytes:
    out = bytearray()
    fetch_to(remote, str(desc.digest), out.extend, options=PATIENT)
    return bytes(out)


def test_the_first_mirror_with_the_object_is_used() -> None:
    sources = Source(error=NotFound("no")), Source(SMALL.data), Source(SMALL.data)
    assert taken(mirrored(*sources), SMALL.descriptor) == SMALL.data
    assert [len(source.asked) for source in sources] == [1, 1, 0]


def test_a_tag_is_resolved_by_mirrors_with_the_resolve_capability_only() -> None:
    mirror, origin = (Source(SMALL.data, tag=SMALL.descriptor) for _ in range(2))
    remote = mirrored(mirror, origin, capabilities=[PULL, ALL])
    assert remote.resolve("latest", Hints()).digest == SMALL.digest
    assert (mirror.asked, origin.asked) == ([], ["latest"])


def test_a_tag_is_unsupported_if_no_mirror_may_resolve() -> None:
    with pytest.raises(Unsupported, match="may resolve"):
        mirrored(Source(SMALL.data), capabilities=[PULL]).resolve("latest", Hints())


def test_resolving_a_digest_for_reading_asks_no_mirror() -> None:
    source = Source(SMALL.data)
    mirrored(source).resolve(str(SMALL.digest), Hints(content=True))
    assert source.asked == []


def test_if_all_mirrors_fail_the_error_of_the_origin_lists_each_attempt() -> None:
    remote = mirrored(Source(error=Unavailable("a")), Source(error=NotFound("b")), Source(error=PermissionDenied("c")))
    with pytest.raises(PermissionDenied) as caught:
        taken(remote, SMALL.descriptor)
    assert caught.value.attempts == ("place 0: a", "place 1: b", "place 2: c")


def test_a_transfer_continues_on_the_next_mirror_from_the_same_byte() -> None:
    dying, healthy = Source(LARGE.data, cut_at=5 << 20), Source(LARGE.data)
    assert taken(mirrored(dying, healthy), LARGE.descriptor) == LARGE.data
    assert (dying.asked, healthy.asked) == ([0], [5 << 20])


def test_two_mirrors_that_fail_midway_take_turns() -> None:
    first, second = Source(LARGE.data, cut_at=2 << 20), Source(LARGE.data, cut_at=4 << 20)
    remote = mirrored(first, second)
    first_open = first.open

    def recovered(desc: Descriptor, offset: int = 0) -> object:
        first.cut_at = None if offset else 2 << 20
        return first_open(desc, offset)

    first.open = recovered  # type: ignore[method-assign]
    assert taken(remote, LARGE.descriptor) == LARGE.data
    assert (first.asked, second.asked) == ([0, 4 << 20], [2 << 20])


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_content_with_a_wrong_digest_is_discarded_and_the_next_mirror_is_used(content: object) -> None:
    truth = content if isinstance(content, type(SMALL)) else SMALL
    liar, honest = Source(random_bytes("lie", len(truth.data))), Source(truth.data)
    notices: list[Notice] = []
    out: list[bytes] = []
    remote = mirrored(liar, honest, notices=notices)
    fetch_to(remote, str(truth.digest), lambda data: out.append(bytes(data)), options=PATIENT)
    assert b"".join(out) == truth.data
    assert any("place 0 served wrong content" in notice.text for notice in notices)


def test_a_mirror_that_declares_another_size_is_skipped() -> None:
    out = bytearray()
    remote = mirrored(Source(SMALL.data + b"x"), Source(SMALL.data))
    fetch_known(remote, SMALL.descriptor, out.extend, options=PATIENT)
    assert out == SMALL.data


def test_exceeding_the_size_limit_of_the_user_ends_the_failover() -> None:
    sources = Source(SMALL.data), Source(SMALL.data)
    notices: list[Notice] = []
    options = PATIENT._replace(limit=10)
    with pytest.raises(LimitExceeded):
        fetch_to(mirrored(*sources, notices=notices), str(SMALL.digest), lambda _: None, Hints(), options)
    assert [source.asked for source in sources] == [[0], []]
    assert not [notice for notice in notices if notice.level == "warning"]


def test_a_mirror_that_contradicts_the_size_hint_is_skipped() -> None:
    out = bytearray()
    remote = mirrored(Source(SMALL.data + b"x"), Source(SMALL.data))
    fetch_to(remote, str(SMALL.digest), out.extend, Hints(size=len(SMALL.data)), PATIENT)
    assert out == SMALL.data


def test_a_size_hint_that_all_mirrors_contradict_is_a_size_mismatch() -> None:
    with pytest.raises(SizeMismatch):
        fetch_to(
            mirrored(Source(SMALL.data), Source(SMALL.data)), str(SMALL.digest), lambda _: None, Hints(size=10), PATIENT
        )


def test_one_good_mirror_among_five_bad_ones_is_enough() -> None:
    sources = [
        Source(error=Unavailable("refused")),
        Source(random_bytes("lie", 3000)),
        Source(SMALL.data, cut_at=100),
        Source(error=PermissionDenied("denied")),
        Source(SMALL.data[:-1]),
        Source(SMALL.data),
    ]
    assert taken(mirrored(*sources), SMALL.descriptor) == SMALL.data


def test_wrong_content_from_all_mirrors_is_a_digest_mismatch_without_output() -> None:
    out = bytearray()
    remote = mirrored(Source(random_bytes("one", 3000)), Source(random_bytes("two", 3000)))
    with pytest.raises(DigestMismatch):
        fetch_to(remote, str(SMALL.digest), out.extend, options=PATIENT)
    assert not out


def test_a_transfer_ends_if_its_only_mirror_stays_down() -> None:
    with pytest.raises(Truncated):
        taken(mirrored(Source(SMALL.data, cut_at=10)), SMALL.descriptor)


def test_tags_come_from_the_first_mirror_that_may_resolve_and_list() -> None:
    assert list(mirrored(Source(), Source(), capabilities=[PULL, ALL]).tags()) == ["v1"]


def test_closing_closes_what_was_opened() -> None:
    used, unused = Source(SMALL.data), Source(SMALL.data)
    remote = mirrored(used, unused)
    taken(remote, SMALL.descriptor)
    remote.close()
    assert (used.closed, unused.closed) == (True, False)


def test_each_failed_call_raises_an_error_of_its_own() -> None:
    remote = mirrored(Source(error=NotFound("no")), Source(error=NotFound("no")))
    for line in ("line 1", "line 2"):
        with pytest.raises(NotFound) as caught:
            remote.open(SMALL.descriptor)
        assert caught.value.with_facts(object_id=line).object_id == line


def test_a_mirror_is_opened_once_for_all_threads() -> None:
    together = Barrier(2)

    def opener() -> Source:
        with pytest.raises(BrokenBarrierError):  # nobody else comes in here
            together.wait(0.1)
        return Source(SMALL.data)

    place = Mirror("place", opener, ALL)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: place.remote, range(2))
    assert first is second
