"""Failover: which mirror is tried after a cut or wrong content, how often, and the final error."""

from __future__ import annotations

import pytest
from support.content import Blob, blob, flip, random_bytes
from support.fake_remotes import PULL, FakeNameRemote, FakeRemote, corrupt_remote, mirrored, options
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
    """Wrong content combined from several mirrors: the culprit is unknown."""

    def test_sound_mirror_that_was_cut_succeeds_alone(self) -> None:
        sound, corrupt = FakeRemote(SMALL.data, cut_at=AT, cuts=1), corrupt_remote(SMALL)
        notices: list[Notice] = []
        assert fetched(mirrored(sound, corrupt, notices=notices)) == SMALL.data
        assert (sound.requests, corrupt.requests) == ([0, 0], [AT])
        assert warnings(notices) == []

    def test_sound_mirror_is_not_excluded_for_the_bytes_of_a_corrupt_one(self) -> None:
        corrupt, sound = FakeRemote(corrupt_remote(SMALL).data, cut_at=AT), FakeRemote(SMALL.data)
        notices: list[Notice] = []
        assert fetched(mirrored(corrupt, sound, notices=notices)) == SMALL.data
        assert sound.requests == [AT, 0]
        assert not any("mirror 1 served wrong" in text for text in warnings(notices))

    def test_mirror_that_serves_wrong_content_alone_is_excluded_with_a_warning(self) -> None:
        corrupt, other, sound = (
            FakeRemote(corrupt_remote(SMALL).data, cut_at=AT, cuts=1),
            corrupt_remote(SMALL),
            FakeRemote(SMALL.data),
        )
        notices: list[Notice] = []
        assert fetched(mirrored(corrupt, other, sound, notices=notices)) == SMALL.data
        assert (corrupt.requests, other.requests, sound.requests) == ([0, 0], [AT, 0], [0])
        assert [text.partition(" for ")[0] for text in warnings(notices)] == [
            "mirror 0 served wrong content",
            "mirror 1 served wrong content",
        ]

    def test_mirror_that_is_cut_alone_is_excluded(self) -> None:
        cut, other, sound = (
            FakeRemote(corrupt_remote(SMALL).data, cut_at=AT),
            corrupt_remote(SMALL),
            FakeRemote(SMALL.data),
        )
        assert fetched(mirrored(cut, other, sound), options(attempts=2)) == SMALL.data
        assert cut.requests == [0, 0, AT]  # first in the round, then alone with one retry
        assert sound.requests == [0]

    def test_second_mirror_that_contradicts_the_first_bytes_is_a_splice(self) -> None:
        """Without ranges the second mirror begins at byte 0, and its first bytes are compared (behaviours B26)."""
        corrupt = FakeRemote(flip(SMALL.data, 5), cut_at=AT)
        sound = FakeRemote(SMALL.data, supports_ranges=False)
        assert fetched(mirrored(corrupt, sound)) == SMALL.data
        assert sound.requests == [AT, 0]

    def test_mirrors_that_declare_different_sizes_are_each_tried_alone(self) -> None:
        corrupt, sound = FakeRemote(SMALL.data + b"more", cut_at=AT), FakeRemote(SMALL.data)
        assert fetched(mirrored(corrupt, sound), options(attempts=1)) == SMALL.data
        assert sound.requests == [AT, 0]

    def test_mirror_that_served_too_many_bytes_before_a_cut_is_excluded(self) -> None:
        corrupt = FakeRemote(bytes(2 * len(SMALL.data)), cut_at=2 * len(SMALL.data) - 1, declares_size=False)
        sound = FakeRemote(SMALL.data, supports_ranges=False)
        assert fetched(mirrored(corrupt, sound)) == SMALL.data

    def test_transfer_fails_with_all_attempts_if_every_mirror_is_corrupt(self) -> None:
        halves = [
            FakeRemote(corrupt_remote(SMALL).data, cut_at=AT, cuts=1),
            corrupt_remote(SMALL),
            corrupt_remote(SMALL),
        ]
        with pytest.raises(DigestMismatch) as caught:
            fetched(mirrored(*halves))
        attempts = caught.value.attempts
        assert "combined from mirror 0 and mirror 1" in attempts[1]
        assert [text.partition(":")[0] for text in attempts if "combined" not in text] == [
            "mirror 0",  # cut
            "mirror 0",  # alone
            "mirror 1",  # alone
            "mirror 2",
        ]
        assert [source.requests for source in halves] == [[0, 0], [AT, 0], [0]]

    def test_transfer_terminates_with_many_failing_mirrors(self) -> None:
        sources = [FakeRemote(random_bytes(str(n), 3000), cut_at=200 * (n + 1)) for n in range(10)]
        with pytest.raises((DigestMismatch, Truncated)):
            fetched(mirrored(*sources), options(attempts=3))
        assert all(len(source.requests) < 10 for source in sources)


class TestRounds:
    """Switching mirrors is not a retry; another round of the same mirrors is one."""

    def test_single_attempt_continues_at_the_next_mirror_after_a_cut(self) -> None:
        waits: list[float] = []
        cut, sound = FakeRemote(SMALL.data, cut_at=AT), FakeRemote(SMALL.data)
        assert fetched(mirrored(cut, sound), options(1, waits)) == SMALL.data
        assert (cut.requests, sound.requests, waits) == ([0], [AT], [])

    def test_single_attempt_tries_each_mirror_once(self) -> None:
        waits: list[float] = []
        sources = [FakeRemote(SMALL.data, cut_at=AT) for _ in range(3)]
        with pytest.raises(Truncated) as caught:
            fetched(mirrored(*sources), options(1, waits))
        assert ([source.requests for source in sources], waits) == ([[0], [AT], [AT]], [])
        assert len(caught.value.attempts) == 3

    def test_further_attempts_try_all_mirrors_again_after_a_wait(self) -> None:
        waits: list[float] = []
        sources = [FakeRemote(SMALL.data, cut_at=AT) for _ in range(2)]
        with pytest.raises(Truncated):
            fetched(mirrored(*sources), options(3, waits))
        assert [source.requests for source in sources] == [[0, AT, AT], [AT, AT, AT]]
        assert len(waits) == 2

    def test_progress_resets_the_attempts(self) -> None:
        class Steady(FakeRemote):
            """It serves 1.5 MiB per request."""

            def body(self, offset: int) -> object:  # type: ignore[override]
                self.cut_at = offset + (3 << 19)
                return super().body(offset)

        assert (
            fetched(mirrored(Steady(LARGE.data), FakeRemote(error=NotFound("no"))), options(2), what=LARGE)
            == LARGE.data
        )

    def test_cut_mirror_is_resumed_if_the_own_endpoint_is_unreachable(self) -> None:
        mirror = FakeRemote(SMALL.data, cut_at=AT, cuts=1)
        unreachable = FakeRemote(error=Unreachable("no such host"))
        assert fetched(mirrored(mirror, unreachable)) == SMALL.data
        assert mirror.requests == [0, AT]

    def test_no_second_round_if_no_mirror_could_be_opened(self) -> None:
        waits: list[float] = []
        sources = [FakeRemote(error=Unavailable("refused")) for _ in range(2)]
        with pytest.raises(Unavailable):
            fetched(mirrored(*sources), options(5, waits))
        assert ([source.requests for source in sources], waits) == ([[0], [0]], [])

    def test_silent_cut_is_continued_at_the_next_mirror_if_the_size_is_known(self) -> None:
        silent, sound = FakeRemote(SMALL.data, cut_at=AT, declares_size=False), FakeRemote(SMALL.data)
        out = bytearray()
        fetch_known(mirrored(silent, sound), SMALL.descriptor, out.extend, options=options(1))
        assert out == SMALL.data
        assert (silent.requests, sound.requests) == ([0], [AT])

    def test_silent_cut_is_replaced_by_the_next_mirror_if_the_size_is_unknown(self) -> None:
        silent = FakeRemote(SMALL.data[:AT], declares_size=False, supports_ranges=False)
        assert fetched(mirrored(silent, FakeRemote(SMALL.data)), options(1)) == SMALL.data

    def test_mirror_that_answers_from_another_offset_is_skipped(self) -> None:
        class Odd(FakeRemote):
            def body(self, offset: int) -> object:  # type: ignore[override]
                return super().body(offset + 10)

        assert fetched(mirrored(Odd(SMALL.data), FakeRemote(SMALL.data))) == SMALL.data


class TestHints:
    """A wrong `size:` hint is the user's error: no mirror is excluded for it."""

    def test_each_mirror_is_tried_once_and_none_is_excluded(self) -> None:
        sources = FakeRemote(SMALL.data), FakeRemote(SMALL.data)
        notices: list[Notice] = []
        with pytest.raises(SizeMismatch) as caught:
            fetched(mirrored(*sources, notices=notices), hints=Hints(size=10))
        assert "no source confirms size:10" in caught.value.hint
        assert len(caught.value.attempts) == 2
        assert [source.requests for source in sources] == [[0], [0]]
        assert warnings(notices) == []

    @pytest.mark.parametrize("other", [Unavailable("refused"), NotFound("no")])
    def test_contradicted_hint_is_reported_even_if_other_mirrors_fail(self, other: Exception) -> None:
        for order in (1, -1):
            sources = [FakeRemote(SMALL.data), FakeRemote(error=other)][::order]  # type: ignore[arg-type]
            with pytest.raises(SizeMismatch, match="no source confirms size:10"):
                fetched(mirrored(*sources), hints=Hints(size=10))

    def test_too_large_hint_is_reported_if_the_digest_matches(self) -> None:
        sources = FakeRemote(SMALL.data, declares_size=False, supports_ranges=False), FakeRemote(SMALL.data)
        notices: list[Notice] = []
        with pytest.raises(UnexpectedSize, match="the content has 3000 bytes, expected 5000"):
            fetched(mirrored(*sources, notices=notices), hints=Hints(size=5000))
        assert [source.requests for source in sources] == [[0], []]
        assert warnings(notices) == []

    def test_wrong_content_is_a_digest_mismatch_with_a_correct_hint(self) -> None:
        with pytest.raises(DigestMismatch):
            fetched(mirrored(corrupt_remote(SMALL), corrupt_remote(SMALL)), hints=Hints(size=3000))


class TestSeveralTransfers:
    def test_corrupt_mirror_is_not_tried_for_the_same_object_again(self) -> None:
        corrupt, sound = corrupt_remote(SMALL), FakeRemote(SMALL.data)
        remote = mirrored(corrupt, sound)
        assert [fetched(remote), fetched(remote)] == [SMALL.data] * 2
        assert (corrupt.requests, sound.requests) == ([0], [0, 0])

    def test_no_mirror_is_tried_again_if_all_are_corrupt(self) -> None:
        sources = corrupt_remote(SMALL), corrupt_remote(SMALL)
        remote = mirrored(*sources)
        for _ in range(2):
            with pytest.raises(DigestMismatch) as caught:
                fetched(remote)
            assert len(caught.value.attempts) == 2
        assert [source.requests for source in sources] == [[0], [0]]

    def test_corrupt_mirror_is_tried_for_other_objects(self) -> None:
        both = FakeRemote(LARGE.data)
        remote = mirrored(both, FakeRemote(SMALL.data))
        assert fetched(remote) == SMALL.data
        assert fetched(remote, what=LARGE) == LARGE.data

    def test_concurrent_transfers_have_separate_state(self) -> None:
        corrupt, sound = corrupt_remote(SMALL), FakeRemote(SMALL.data)
        remote = mirrored(corrupt, sound)
        one, other = remote.search(SMALL.descriptor), remote.search(SMALL.descriptor)
        one.open(0)
        other.open(0)
        other.reject(DigestMismatch("wrong"))
        assert other.open(0).readinto(memoryview(bytearray(10)))
        one.reject(DigestMismatch("wrong"))
        one.open(0)
        assert (corrupt.requests, sound.requests) == ([0, 0], [0, 0])


def test_file_is_verified_before_it_is_read() -> None:
    desc, file = fetch(mirrored(corrupt_remote(SMALL), FakeRemote(SMALL.data)), str(SMALL.digest), options=options())
    with file:
        assert file.read() == SMALL.data
    assert desc.size == len(SMALL.data)


def test_fetch_fails_if_every_mirror_is_corrupt() -> None:
    with pytest.raises(DigestMismatch):
        fetch(mirrored(corrupt_remote(SMALL)), str(SMALL.digest), options=options())


def test_no_mirror_with_the_pull_capability_is_unsupported() -> None:
    remote = mirrored(FakeRemote(SMALL.data), capabilities=[("resolve",)])
    with pytest.raises(Unsupported, match="may serve content"):
        fetched(remote)


def test_embedded_content_is_used_only_if_it_matches() -> None:
    """behaviours B19."""
    source = FakeRemote(SMALL.data)
    for data, asked in ((SMALL.data, []), (flip(SMALL.data, 1), [0])):
        out = bytearray()
        desc = Descriptor(SMALL.digest, len(data), data=data)
        fetch_known(mirrored(source), desc, out.extend, options=options())
        assert (out, source.requests) == (SMALL.data, asked)


class TestNames:
    """A name without a known digest is read from one mirror at a time."""

    def _fetched(
        self, *sources: FakeRemote, how: FetchOptions | None = None, **more: object
    ) -> tuple[bytes, Descriptor]:
        out = bytearray()
        remote = mirrored(*sources, **more)  # type: ignore[arg-type]
        desc = fetch_to(remote, "v1.2/app.tgz", out.extend, Hints(), how or options())
        return bytes(out), desc

    def test_name_is_read_from_the_first_mirror_that_serves_it_with_one_warning(self) -> None:
        notices: list[Notice] = []
        sources = FakeNameRemote(error=NotFound("no")), FakeNameRemote(SMALL.data), FakeNameRemote(LARGE.data)
        data, desc = self._fetched(*sources, how=options(notices=notices))
        assert (data, desc.digest) == (SMALL.data, SMALL.digest)
        assert sources[2].requests == ["v1.2/app.tgz"]  # resolved, not read
        assert len(warnings(notices)) == 1

    def test_cut_is_resumed_at_the_same_mirror_only(self) -> None:
        cut, other = FakeNameRemote(SMALL.data, cut_at=AT, cuts=1), FakeNameRemote(LARGE.data)
        assert self._fetched(cut, other)[0] == SMALL.data
        assert cut.requests[1:] == [0, AT]
        assert other.requests == ["v1.2/app.tgz"]

    def test_failed_mirror_leaves_no_bytes_in_the_output_of_the_next(self) -> None:
        cut, other = FakeNameRemote(SMALL.data, cut_at=AT), FakeNameRemote(LARGE.data)
        assert self._fetched(cut, other, how=options(2))[0] == LARGE.data

    def test_mirror_whose_content_changes_is_skipped(self) -> None:
        class Changing(FakeNameRemote):
            is_unchanged = False

            def body(self, offset: int) -> object:  # type: ignore[override]
                body = super().body(offset)
                self.data = flip(self.data, 3)
                return body

        data, _ = self._fetched(Changing(SMALL.data, cut_at=AT, cuts=1), FakeNameRemote(LARGE.data))
        assert data == LARGE.data

    def test_digest_from_any_trusted_mirror_is_preferred(self) -> None:
        data, desc = self._fetched(
            FakeNameRemote(LARGE.data), FakeRemote(SMALL.data, tag=SMALL.descriptor), corrupt_remote(SMALL)
        )
        assert (data, desc.digest) == (SMALL.data, SMALL.digest)

    def test_only_mirrors_with_the_resolve_capability_serve_names(self) -> None:
        mirror = FakeNameRemote(LARGE.data)
        data, _ = self._fetched(mirror, FakeNameRemote(SMALL.data), capabilities=[PULL, ("pull", "resolve")])
        assert (data, mirror.requests) == (SMALL.data, [])

    def test_unverified_content_does_not_replace_a_failed_resolve(self) -> None:
        with pytest.raises(Unavailable, match="refused"):
            self._fetched(FakeNameRemote(LARGE.data), FakeRemote(error=Unavailable("refused")))

    def test_error_lists_all_attempts_if_every_mirror_fails(self) -> None:
        with pytest.raises(NotFound) as caught:
            self._fetched(FakeNameRemote(SMALL.data, cut_at=AT), Missing(), how=options(1))
        assert [text.partition(":")[0] for text in caught.value.attempts] == ["mirror 0", "mirror 1"]


class Missing(FakeNameRemote):
    """It has neither a digest nor content for a name."""

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
    def _repository(self, *sources: FakeRemote) -> Repository:
        return Repository(mirrored(*sources), _Pinned())

    def test_corrupt_mirror_is_skipped(self) -> None:
        out = bytearray()
        remote = self._repository(corrupt_remote(SMALL), FakeRemote(SMALL.data))
        fetch_known(remote, SMALL.descriptor, out.extend, options=options())
        assert out == SMALL.data

    def test_refused_digest_is_not_requested(self) -> None:
        source = FakeRemote(b"x")
        with pytest.raises(PolicyRefused):
            fetch_known(self._repository(source), Descriptor(Digest.of(b"x", "sha512")), lambda _: None)
        assert source.requests == []

    def test_every_mirror_gets_the_pinned_name(self) -> None:
        class Noting(FakeNameRemote):
            def open_name(self, object_id: str, hints: Hints) -> object:  # type: ignore[override]
                names.append(object_id)
                return super().open_name(object_id, hints)

        names: list[str] = []
        out = bytearray()
        remote = self._repository(Noting(b""), Noting(SMALL.data))
        fetch_to(remote, "app.tgz", out.extend, Hints(size=3000), options())
        assert (out, names) == (SMALL.data, ["pinned-app.tgz"] * 2)
