"""Whom a transfer asks after a place died or lied: in what order, how often, and what it says in the end."""

from __future__ import annotations

import pytest
from support.content import Blob, blob, flip, random_bytes
from support.places import PULL, Files, Source, liar, mirrored, options
from support.repositories import fetch, fetch_known, fetch_to

from dist_tool.errors import (
    DigestMismatch,
    NotFound,
    PolicyRefused,
    SizeMismatch,
    Truncated,
    Unavailable,
    UnexpectedSize,
    Unreachable,
    Unsupported,
)
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.mirrors.remote import MirroredRemote
from dist_tool.run import Notice
from dist_tool.transfer.opening import FetchOptions
from dist_tool.transfer.repository import Repository, Rules

SMALL = blob("search", 3000)
LARGE = blob("search large", 6 << 20)
AT = 1234


def fetched(
    remote: MirroredRemote, how: FetchOptions | None = None, hints: Hints | None = None, what: Blob = SMALL
) -> bytes:
    out = bytearray()
    fetch_to(remote, str(what.digest), out.extend, hints or Hints(), how or options())
    return bytes(out)


def warnings(notices: list[Notice]) -> list[str]:
    return [notice.text for notice in notices if notice.level == "warning"]


class TestSplices:
    """Bytes of several places that are wrong together: nobody knows whose they are."""

    def test_a_mirror_of_a_spliced_body_is_accepted_if_its_own_body_is_right(self) -> None:
        honest, lying = Source(SMALL.data, cut_at=AT, deaths=1), liar(SMALL)
        notices: list[Notice] = []
        assert fetched(mirrored(honest, lying, notices=notices)) == SMALL.data
        assert (honest.asked, lying.asked) == ([0, 0], [AT])
        assert warnings(notices) == []

    def test_the_mirror_that_finished_a_spliced_body_is_not_blamed(self) -> None:
        lying, honest = Source(liar(SMALL).data, cut_at=AT), Source(SMALL.data)
        notices: list[Notice] = []
        assert fetched(mirrored(lying, honest, notices=notices)) == SMALL.data
        assert honest.asked == [AT, 0]
        assert not any("place 1 served wrong" in text for text in warnings(notices))

    def test_a_mirror_with_wrong_content_of_its_own_is_dropped(self) -> None:
        lying, other, sound = Source(liar(SMALL).data, cut_at=AT, deaths=1), liar(SMALL), Source(SMALL.data)
        notices: list[Notice] = []
        assert fetched(mirrored(lying, other, sound, notices=notices)) == SMALL.data
        assert (lying.asked, other.asked, sound.asked) == ([0, 0], [AT, 0], [0])
        assert [text.partition(" for ")[0] for text in warnings(notices)] == [
            "place 0 served wrong content",
            "place 1 served wrong content",
        ]

    def test_a_mirror_that_fails_alone_is_dropped(self) -> None:
        dying, other, sound = Source(liar(SMALL).data, cut_at=AT), liar(SMALL), Source(SMALL.data)
        assert fetched(mirrored(dying, other, sound), options(attempts=2)) == SMALL.data
        assert dying.asked == [0, 0, AT]  # a try and a second one, alone
        assert sound.asked == [0]

    def test_a_contradicting_second_half_is_detected_as_a_splice(self) -> None:
        """Without ranges the second begins at byte 0, and its beginning is compared (behaviours B26)."""
        lying = Source(flip(SMALL.data, 5), cut_at=AT)
        honest = Source(SMALL.data, ranges=False)
        assert fetched(mirrored(lying, honest)) == SMALL.data
        assert honest.asked == [AT, 0]

    def test_mirrors_with_different_declared_sizes_are_each_asked_alone(self) -> None:
        lying, honest = Source(SMALL.data + b"more", cut_at=AT), Source(SMALL.data)
        assert fetched(mirrored(lying, honest), options(attempts=1)) == SMALL.data
        assert honest.asked == [AT, 0]

    def test_a_mirror_that_sent_too_many_bytes_before_a_cut_is_detected(self) -> None:
        lying = Source(bytes(2 * len(SMALL.data)), cut_at=2 * len(SMALL.data) - 1, declares=False)
        honest = Source(SMALL.data, ranges=False)
        assert fetched(mirrored(lying, honest)) == SMALL.data

    def test_wrong_content_everywhere_ends_with_an_error_that_lists_every_attempt(self) -> None:
        halves = [Source(liar(SMALL).data, cut_at=AT, deaths=1), liar(SMALL), liar(SMALL)]
        with pytest.raises(DigestMismatch) as caught:
            fetched(mirrored(*halves))
        said = caught.value.attempts
        assert "combined from place 0 and place 1" in said[1]
        assert [text.partition(":")[0] for text in said if "combined" not in text] == [
            "place 0",  # died
            "place 0",  # alone
            "place 1",  # alone
            "place 2",
        ]
        assert [source.asked for source in halves] == [[0, 0], [AT, 0], [0]]

    def test_failover_always_terminates(self) -> None:
        sources = [Source(random_bytes(str(n), 3000), cut_at=200 * (n + 1)) for n in range(10)]
        with pytest.raises((DigestMismatch, Truncated)):
            fetched(mirrored(*sources), options(attempts=3))
        assert all(len(source.asked) < 10 for source in sources)


class TestRounds:
    """Going elsewhere is no retry; beginning again with the same places is one."""

    def test_with_one_attempt_a_cut_continues_on_another_mirror(self) -> None:
        waits: list[float] = []
        dying, sound = Source(SMALL.data, cut_at=AT), Source(SMALL.data)
        assert fetched(mirrored(dying, sound), options(1, waits)) == SMALL.data
        assert (dying.asked, sound.asked, waits) == ([0], [AT], [])

    def test_with_one_attempt_each_mirror_is_asked_once(self) -> None:
        waits: list[float] = []
        sources = [Source(SMALL.data, cut_at=AT) for _ in range(3)]
        with pytest.raises(Truncated) as caught:
            fetched(mirrored(*sources), options(1, waits))
        assert ([source.asked for source in sources], waits) == ([[0], [AT], [AT]], [])
        assert len(caught.value.attempts) == 3

    def test_with_more_attempts_all_are_asked_again_after_a_wait(self) -> None:
        waits: list[float] = []
        sources = [Source(SMALL.data, cut_at=AT) for _ in range(2)]
        with pytest.raises(Truncated):
            fetched(mirrored(*sources), options(3, waits))
        assert [source.asked for source in sources] == [[0, AT, AT], [AT, AT, AT]]
        assert len(waits) == 2

    def test_progress_resets_the_count_of_rounds(self) -> None:
        class Steady(Source):
            """It gives a mebibyte and a half at a time."""

            def body(self, offset: int) -> object:  # type: ignore[override]
                self.cut_at = offset + (3 << 19)
                return super().body(offset)

        assert fetched(mirrored(Steady(LARGE.data), Source(error=NotFound("no"))), options(2), what=LARGE) == LARGE.data

    def test_a_cut_mirror_is_resumed_if_the_origin_is_unreachable(self) -> None:
        mirror = Source(SMALL.data, cut_at=AT, deaths=1)
        unreachable = Source(error=Unreachable("no such host"))
        assert fetched(mirrored(mirror, unreachable)) == SMALL.data
        assert mirror.asked == [0, AT]

    def test_a_mirror_that_was_never_opened_causes_no_further_round(self) -> None:
        waits: list[float] = []
        sources = [Source(error=Unavailable("refused")) for _ in range(2)]
        with pytest.raises(Unavailable):
            fetched(mirrored(*sources), options(5, waits))
        assert ([source.asked for source in sources], waits) == ([[0], [0]], [])

    def test_a_silent_cut_continues_on_another_mirror_if_the_size_is_known(self) -> None:
        silent, sound = Source(SMALL.data, cut_at=AT, declares=False), Source(SMALL.data)
        out = bytearray()
        fetch_known(mirrored(silent, sound), SMALL.descriptor, out.extend, options=options(1))
        assert out == SMALL.data
        assert (silent.asked, sound.asked) == ([0], [AT])

    def test_a_silent_cut_of_unknown_size_is_skipped(self) -> None:
        silent = Source(SMALL.data[:AT], declares=False, ranges=False)
        assert fetched(mirrored(silent, Source(SMALL.data)), options(1)) == SMALL.data

    def test_a_mirror_that_answers_with_another_offset_is_skipped(self) -> None:
        class Odd(Source):
            def body(self, offset: int) -> object:  # type: ignore[override]
                return super().body(offset + 10)

        assert fetched(mirrored(Odd(SMALL.data), Source(SMALL.data))) == SMALL.data


class TestHints:
    """A wrong `size:` is the user's, and no place is blamed for it."""

    def test_a_wrong_size_hint_is_checked_once_per_mirror_without_a_warning(self) -> None:
        sources = Source(SMALL.data), Source(SMALL.data)
        notices: list[Notice] = []
        with pytest.raises(SizeMismatch) as caught:
            fetched(mirrored(*sources, notices=notices), hints=Hints(size=10))
        assert "no source confirms size:10" in caught.value.hint
        assert len(caught.value.attempts) == 2
        assert [source.asked for source in sources] == [[0], [0]]
        assert warnings(notices) == []

    @pytest.mark.parametrize("other", [Unavailable("refused"), NotFound("no")])
    def test_a_contradicted_size_hint_outweighs_other_failures(self, other: Exception) -> None:
        for order in (1, -1):
            sources = [Source(SMALL.data), Source(error=other)][::order]  # type: ignore[arg-type]
            with pytest.raises(SizeMismatch, match="no source confirms size:10"):
                fetched(mirrored(*sources), hints=Hints(size=10))

    def test_right_content_of_another_size_ends_the_failover(self) -> None:
        sources = Source(SMALL.data, declares=False, ranges=False), Source(SMALL.data)
        notices: list[Notice] = []
        with pytest.raises(UnexpectedSize, match="the content has 3000 bytes, expected 5000"):
            fetched(mirrored(*sources, notices=notices), hints=Hints(size=5000))
        assert [source.asked for source in sources] == [[0], []]
        assert warnings(notices) == []

    def test_wrong_content_is_reported_even_if_its_size_is_right(self) -> None:
        with pytest.raises(DigestMismatch):
            fetched(mirrored(liar(SMALL), liar(SMALL)), hints=Hints(size=3000))


class TestSeveralTransfers:
    def test_a_mirror_with_wrong_content_is_not_asked_for_the_same_object_again(self) -> None:
        lying, honest = liar(SMALL), Source(SMALL.data)
        remote = mirrored(lying, honest)
        assert [fetched(remote), fetched(remote)] == [SMALL.data] * 2
        assert (lying.asked, honest.asked) == ([0], [0, 0])

    def test_if_all_mirrors_had_wrong_content_none_is_asked_again(self) -> None:
        sources = liar(SMALL), liar(SMALL)
        remote = mirrored(*sources)
        for _ in range(2):
            with pytest.raises(DigestMismatch) as caught:
                fetched(remote)
            assert len(caught.value.attempts) == 2
        assert [source.asked for source in sources] == [[0], [0]]

    def test_a_mirror_with_wrong_content_is_still_asked_for_other_objects(self) -> None:
        both = Source(LARGE.data)
        remote = mirrored(both, Source(SMALL.data))
        assert fetched(remote) == SMALL.data
        assert fetched(remote, what=LARGE) == LARGE.data

    def test_concurrent_transfers_have_separate_failover_state(self) -> None:
        lying, honest = liar(SMALL), Source(SMALL.data)
        remote = mirrored(lying, honest)
        one, other = remote.search(SMALL.descriptor), remote.search(SMALL.descriptor)
        one.open(0)
        other.open(0)
        other.reject(DigestMismatch("wrong"))
        assert other.open(0).readinto(memoryview(bytearray(10)))
        one.reject(DigestMismatch("wrong"))
        one.open(0)
        assert (lying.asked, honest.asked) == ([0, 0], [0, 0])


def test_a_file_is_read_only_when_all_of_it_is_right() -> None:
    desc, file = fetch(mirrored(liar(SMALL), Source(SMALL.data)), str(SMALL.digest), options=options())
    with file:
        assert file.read() == SMALL.data
    assert desc.size == len(SMALL.data)


def test_a_file_is_not_opened_if_no_mirror_has_the_right_bytes() -> None:
    with pytest.raises(DigestMismatch):
        fetch(mirrored(liar(SMALL)), str(SMALL.digest), options=options())


def test_mirrors_without_the_pull_capability_are_unsupported() -> None:
    remote = mirrored(Source(SMALL.data), capabilities=[("resolve",)])
    with pytest.raises(Unsupported, match="may serve content"):
        fetched(remote)


def test_embedded_data_is_used_if_its_digest_is_right() -> None:
    """behaviours B19."""
    source = Source(SMALL.data)
    for data, asked in ((SMALL.data, []), (flip(SMALL.data, 1), [0])):
        out = bytearray()
        desc = Descriptor(SMALL.digest, len(data), data=data)
        fetch_known(mirrored(source), desc, out.extend, options=options())
        assert (out, source.asked) == (SMALL.data, asked)


class TestNames:
    """What no digest is known of comes from one place at a time."""

    def _fetched(self, *sources: Source, how: FetchOptions | None = None, **more: object) -> tuple[bytes, Descriptor]:
        out = bytearray()
        remote = mirrored(*sources, **more)  # type: ignore[arg-type]
        desc = fetch_to(remote, "v1.2/app.tgz", out.extend, Hints(), how or options())
        return bytes(out), desc

    def test_an_unverified_name_comes_from_the_first_mirror_with_one_warning(self) -> None:
        notices: list[Notice] = []
        sources = Files(error=NotFound("no")), Files(SMALL.data), Files(LARGE.data)
        data, desc = self._fetched(*sources, how=options(notices=notices))
        assert (data, desc.digest) == (SMALL.data, SMALL.digest)
        assert sources[2].asked == ["v1.2/app.tgz"]  # whether it knows a digest, and no more
        assert len(warnings(notices)) == 1

    def test_an_unverified_name_is_resumed_on_the_same_mirror_only(self) -> None:
        dying, other = Files(SMALL.data, cut_at=AT, deaths=1), Files(LARGE.data)
        assert self._fetched(dying, other)[0] == SMALL.data
        assert dying.asked[1:] == [0, AT]
        assert other.asked == ["v1.2/app.tgz"]

    def test_bytes_of_a_failed_mirror_are_discarded_for_an_unverified_name(self) -> None:
        dying, other = Files(SMALL.data, cut_at=AT), Files(LARGE.data)
        assert self._fetched(dying, other, how=options(2))[0] == LARGE.data

    def test_a_mirror_whose_file_changes_midway_is_skipped(self) -> None:
        class Changing(Files):
            stands = False

            def body(self, offset: int) -> object:  # type: ignore[override]
                body = super().body(offset)
                self.data = flip(self.data, 3)
                return body

        data, _ = self._fetched(Changing(SMALL.data, cut_at=AT, deaths=1), Files(LARGE.data))
        assert data == LARGE.data

    def test_a_digest_of_a_trusted_mirror_is_preferred_to_an_unverified_name(self) -> None:
        data, desc = self._fetched(Files(LARGE.data), Source(SMALL.data, tag=SMALL.descriptor), liar(SMALL))
        assert (data, desc.digest) == (SMALL.data, SMALL.digest)

    def test_names_are_resolved_by_mirrors_with_the_capability_only(self) -> None:
        mirror = Files(LARGE.data)
        data, _ = self._fetched(mirror, Files(SMALL.data), capabilities=[PULL, ("pull", "resolve")])
        assert (data, mirror.asked) == (SMALL.data, [])

    def test_an_unverified_file_does_not_replace_a_name_with_a_digest(self) -> None:
        with pytest.raises(Unavailable, match="refused"):
            self._fetched(Files(LARGE.data), Source(error=Unavailable("refused")))

    def test_the_error_of_an_unverified_name_lists_every_attempt(self) -> None:
        with pytest.raises(NotFound) as caught:
            self._fetched(Files(SMALL.data, cut_at=AT), Missing(), how=options(1))
        assert [text.partition(":")[0] for text in caught.value.attempts] == ["place 0", "place 1"]


class Missing(Files):
    """It knows no digest, and has no file either."""

    def body(self, offset: int) -> object:  # type: ignore[override]
        raise NotFound("no such file")


class _Pinned(Rules):
    """Rules that request every name as `pinned-NAME`, and allow sha256 only."""

    def request_for(self, object_id: str) -> str:
        return f"pinned-{object_id}"

    def check(self, digest: Digest) -> None:
        if digest.algorithm != "sha256":
            raise PolicyRefused("not allowed")


class TestUnderRules:
    def _governed(self, *sources: Source) -> Repository:
        return Repository(mirrored(*sources), _Pinned())

    def test_a_mirror_with_wrong_content_is_skipped(self) -> None:
        out = bytearray()
        remote = self._governed(liar(SMALL), Source(SMALL.data))
        fetch_known(remote, SMALL.descriptor, out.extend, options=options())
        assert out == SMALL.data

    def test_a_digest_outside_the_policy_is_requested_from_no_mirror(self) -> None:
        source = Source(b"x")
        with pytest.raises(PolicyRefused):
            fetch_known(self._governed(source), Descriptor(Digest.of(b"x", "sha512")), lambda _: None)
        assert source.asked == []

    def test_a_name_rewritten_by_policy_is_requested_on_each_mirror(self) -> None:
        class Noting(Files):
            def open_name(self, object_id: str, hints: Hints) -> object:  # type: ignore[override]
                names.append(object_id)
                return super().open_name(object_id, hints)

        names: list[str] = []
        out = bytearray()
        remote = self._governed(Noting(b""), Noting(SMALL.data))
        fetch_to(remote, "app.tgz", out.extend, Hints(size=3000), options())
        assert (out, names) == (SMALL.data, ["pinned-app.tgz"] * 2)
