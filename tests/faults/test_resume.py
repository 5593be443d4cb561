"""Resuming a cut body: every branch of behaviours B24-B33, and what a user gets of it."""

from __future__ import annotations

import gzip

import pytest
from support import faults
from support.content import blob, flip
from support.faults import blob_path, content, cut, partial, range_ignored, redirect, unsatisfiable
from support.fetching import fetch
from support.kinds import REGISTRY, REPOSITORY, Kind
from support.server import FaultServer, OpenServer, Step

from dist_tool import errors

BLOB = blob("resume", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
AT = 1234


def _ranges(server: FaultServer) -> list[str]:
    return [request.header("range") for request in server.requests("GET", PATH)]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_cut_body_is_continued_from_the_byte_it_came_at(
    kind: Kind, server: FaultServer, framing: str, ending: str
) -> None:
    """Behaviours B25."""
    server.script("GET", PATH, cut(BLOB.data, AT, framing, ending), content(BLOB.data))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    first, second = _ranges(server)
    assert first == ""
    assert second.startswith("bytes=")
    if ending == "close":  # a reset may swallow what was on its way
        assert second == f"bytes={AT}-"


def test_many_cuts_are_as_good_as_one(kind: Kind, server: FaultServer) -> None:
    """Behaviours B25."""
    server.script("GET", PATH, *[cut(BLOB.data, 1000)] * 4, content(BLOB.data))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert outcome.data == BLOB.data
    assert _ranges(server) == ["", *(f"bytes={n}000-" for n in (1, 2, 3, 4))]


def test_a_sha512_object_is_resumed_and_verified_like_any(kind: Kind, server: FaultServer) -> None:
    """Behaviours W2."""
    long = blob("resume", 5000, "sha512")
    path = blob_path(REPOSITORY, long.digest)
    server.script("GET", path, cut(long.data, AT), content(long.data), content(flip(long.data, 0)))
    assert fetch(kind.at(server), long.digest).data == long.data
    assert fetch(kind.at(server), long.digest).code == 5


SIZE = len(BLOB.data)
# Answers to `bytes=1234-` that must not be appended. What is in them is right or wrong: nobody can tell.
UNUSABLE: dict[str, Step] = {
    "another start": partial(BLOB.data, AT + 1, f"bytes {AT + 1}-{SIZE - 1}/{SIZE}"),
    "an earlier start": partial(BLOB.data, 0, f"bytes 0-{SIZE - 1}/{SIZE}"),
    "no Content-Range": partial(BLOB.data, AT, None),
    "a Content-Range of other bytes than the body's": partial(BLOB.data, 0, f"bytes {AT}-{SIZE - 1}/{SIZE}"),
    "another unit": partial(BLOB.data, AT, f"items {AT}-{SIZE - 1}/{SIZE}"),
    "no numbers": partial(BLOB.data, AT, "bytes x-y/z"),
    "numbers that only int() reads": partial(BLOB.data, AT, f"bytes 1_234-{SIZE - 1}/{SIZE}"),
    "an end before the total": partial(BLOB.data, AT, f"bytes {AT}-{SIZE - 2}/{SIZE}"),
    "an end past the total": partial(BLOB.data, AT, f"bytes {AT}-{SIZE}/{SIZE}"),
    "an end before the start": partial(BLOB.data, AT, f"bytes {AT}-{AT - 1}/{SIZE}"),
    "multipart/byteranges": faults.status(
        206,
        body=b"--x\r\nContent-Range: bytes 1234-4999/5000\r\n\r\n",
        headers=[("Content-Type", "multipart/byteranges; boundary=x"), ("Content-Range", f"bytes {AT}-4999/5000")],
    ),
    "416 that speaks of more": unsatisfiable(SIZE),
    "416 without a size": unsatisfiable(None),
    "416 with nonsense": unsatisfiable("many"),
    "a Content-Encoding": partial(BLOB.data, AT, f"bytes {AT}-{SIZE - 1}/{SIZE}").with_header(
        "Content-Encoding", "gzip"
    ),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_range_means_reading_from_the_beginning(kind: Kind, server: FaultServer, answer: Step) -> None:
    """Behaviours B25, B27, B33."""
    server.script("GET", PATH, cut(BLOB.data, AT), answer, content(BLOB.data))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert _ranges(server) == ["", f"bytes={AT}-", ""]


def test_bytes_of_another_place_under_a_right_range_are_found_by_the_digest(kind: Kind, server: FaultServer) -> None:
    """Behaviours B25."""
    wrong = partial(BLOB.data, AT + 1, f"bytes {AT}-{SIZE - 1}/{SIZE}").but(body=BLOB.data[AT - 7 : SIZE - 7])
    server.script("GET", PATH, cut(BLOB.data, AT), wrong)
    outcome = fetch(kind.at(server), BLOB.digest)
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert outcome.data == b""


def test_another_total_is_another_object(kind: Kind, server: FaultServer) -> None:
    """Behaviours B25."""
    longer = BLOB.data + b"x"
    server.script("GET", PATH, cut(BLOB.data, AT), content(longer))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert isinstance(outcome.error, errors.SizeMismatch)
    assert outcome.data == b""


def test_a_range_that_is_ignored_is_read_past_what_was_there(kind: Kind, server: FaultServer) -> None:
    """Behaviours B26."""
    server.script("GET", PATH, cut(BLOB.data, AT), range_ignored(BLOB.data))
    assert fetch(kind.at(server), BLOB.digest).data == BLOB.data
    assert _ranges(server) == ["", f"bytes={AT}-"]


def test_a_second_answer_with_another_beginning_is_found_before_more_is_written(
    kind: Kind, server: FaultServer
) -> None:
    """Behaviours B26."""
    large = blob("large", 6 << 20)
    path = blob_path(REPOSITORY, large.digest)
    server.script("GET", path, cut(large.data, 5 << 20), range_ignored(flip(large.data, 5)))
    outcome = fetch(kind.at(server), large.digest)
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert "other bytes than before" in outcome.error.what
    assert large.data.startswith(outcome.data)


def test_a_large_object_is_resumed_after_bytes_were_written(kind: Kind, server: FaultServer) -> None:
    """Behaviours B26."""
    large = blob("large", 6 << 20)
    path = blob_path(REPOSITORY, large.digest)
    server.script("GET", path, cut(large.data, 5_500_000), content(large.data))
    assert fetch(kind.at(server), large.digest).data == large.data
    assert server.requests("GET", path)[1].header("range") == "bytes=5500000-"


def test_nothing_more_is_good_news_where_everything_came(kind: Kind, server: FaultServer) -> None:
    """A body without a length ends; asked for the rest, the server says that there is none: then the digest decides.
    Behaviours B27.
    """
    wrong = flip(BLOB.data, 0)
    server.script("GET", PATH, content(wrong).but(framing="close"), unsatisfiable(len(wrong)))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert _ranges(server) == ["", f"bytes={SIZE}-"]


@pytest.mark.parametrize("framing", ["close", "http10", "chunked"])
def test_bodies_without_a_length_are_legal(kind: Kind, server: FaultServer, framing: str) -> None:
    """Behaviours B30."""
    server.script("GET", PATH, content(BLOB.data).but(framing=framing))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert (outcome.data, outcome.error) == (BLOB.data, None)


@pytest.mark.parametrize("framing", ["close", "http10"])
def test_a_cut_that_looks_like_an_end_is_continued(kind: Kind, server: FaultServer, framing: str) -> None:
    """Behaviours B30."""
    server.script("GET", PATH, cut(BLOB.data, AT, framing), content(BLOB.data))
    assert fetch(kind.at(server), BLOB.digest).data == BLOB.data
    assert _ranges(server) == ["", f"bytes={AT}-"]


@pytest.mark.parametrize("framing", ["close", "http10"])
def test_a_cut_that_looks_like_an_end_is_never_success(kind: Kind, server: FaultServer, framing: str) -> None:
    """Behaviours B30."""
    server.always("GET", PATH, cut(BLOB.data, AT, framing).but(ranges=False))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert outcome.code in (5, 6)
    assert outcome.data == b""


@pytest.mark.parametrize("framing", ["close", "http10"])
def test_with_a_known_size_such_a_cut_is_a_cut(kind: Kind, server: FaultServer, framing: str) -> None:
    """Behaviours B30."""
    server.always("GET", PATH, cut(BLOB.data, AT, framing).but(ranges=False))
    outcome = fetch(kind.at(server), BLOB.digest, f"size:{SIZE}")
    assert isinstance(outcome.error, errors.Truncated)
    assert outcome.data == b""


def test_no_coding_is_asked_for(kind: Kind, server: FaultServer) -> None:
    """Behaviours B31."""
    server.script("GET", PATH, content(BLOB.data))
    fetch(kind.at(server), BLOB.digest)
    assert server.log[0].header("accept-encoding") == "identity"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
def test_a_coded_body_that_is_cut_starts_again(kind: Kind, server: FaultServer, coding: str) -> None:
    """Behaviours B32, B33."""
    whole = faults.coded(BLOB.data, coding)
    server.script("GET", PATH, whole.but(cut=AT), whole)
    assert fetch(kind.at(server), BLOB.digest).data == BLOB.data
    assert _ranges(server) == ["", ""]


def test_a_coded_body_that_never_comes_whole_is_an_error(kind: Kind, server: FaultServer) -> None:
    """Behaviours B32."""
    server.always("GET", PATH, faults.coded(BLOB.data, "gzip").but(cut=AT))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert (outcome.code, outcome.data) == (6, b"")


def test_a_label_that_is_no_coding_at_all_is_an_error(kind: Kind, server: FaultServer) -> None:
    """Behaviours B32."""
    server.script("GET", PATH, faults.labelled(b"not gzip", "gzip"))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert isinstance(outcome.error, errors.ProtocolError)


def test_an_unknown_coding_of_the_stored_bytes_does_not_matter(kind: Kind, server: FaultServer) -> None:
    """Behaviours B32."""
    server.script("GET", PATH, faults.labelled(BLOB.data, "br"))
    assert fetch(kind.at(server), BLOB.digest).data == BLOB.data


def test_an_unknown_coding_is_unsupported(kind: Kind, server: FaultServer) -> None:
    """Behaviours B32."""
    server.script("GET", PATH, faults.labelled(b"whatever", "br"))
    assert isinstance(fetch(kind.at(server), BLOB.digest).error, errors.Unsupported)


def test_a_coded_body_may_be_a_little_longer_than_the_object(kind: Kind, server: FaultServer) -> None:
    """Behaviours B32."""
    server.script("GET", PATH, faults.coded(BLOB.data, "gzip"))
    assert len(gzip.compress(BLOB.data)) > SIZE
    assert fetch(kind.at(server), BLOB.digest, f"size:{SIZE}").data == BLOB.data


def test_a_bomb_in_a_coding_meets_the_limit(kind: Kind, server: FaultServer) -> None:
    """Behaviours B32."""
    bomb = gzip.compress(bytes(64 << 20))
    server.script("GET", PATH, faults.labelled(bomb, "gzip"))
    outcome = fetch(kind.at(server), BLOB.digest, "size:100000")
    assert len(bomb) < 100_000
    assert isinstance(outcome.error, errors.LimitExceeded)
    assert outcome.data == b""


class TestThroughARedirect:
    """B24: a resumed request goes to the registry's own door, for fresh authorisation and a fresh signed URL."""

    def test_the_old_location_is_not_asked_again(self, kind: Kind, servers: OpenServer) -> None:
        """Behaviours B24."""
        registry, cdn = servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/one?sig=1")), redirect(cdn.url("/two?sig=2")))
        cdn.script("GET", "/one", cut(BLOB.data, AT))
        cdn.script("GET", "/two", content(BLOB.data))
        assert fetch(kind.at(registry), BLOB.digest).data == BLOB.data
        assert [(request.target, request.header("range")) for request in cdn.log] == [
            ("/one?sig=1", ""),
            ("/two?sig=2", f"bytes={AT}-"),
        ]

    def test_the_token_is_reused_and_stays_at_the_registry(self, servers: OpenServer) -> None:
        """Behaviours B24."""
        registry, cdn = servers(), servers()
        tokens = faults.TokenServer(registry.url("/token"), f"repository:{REPOSITORY}:pull")
        registry.always("GET", "/token", tokens.issue)
        registry.always("GET", PATH, tokens.protect(faults.in_turn(redirect(cdn.url("/a")), redirect(cdn.url("/b")))))
        cdn.script("GET", "/a", cut(BLOB.data, AT))
        cdn.script("GET", "/b", content(BLOB.data))
        assert fetch(REGISTRY.at(registry), BLOB.digest).data == BLOB.data
        assert len(tokens.issued) == 1
        assert [request.header("authorization") for request in cdn.log] == ["", ""]

    def test_a_signed_url_that_has_expired_is_replaced(self, kind: Kind, servers: OpenServer) -> None:
        """Behaviours B24."""
        registry, cdn = servers(), servers()
        registry.script("GET", PATH, *(redirect(cdn.url(f"/{n}")) for n in (1, 2, 3)))
        cdn.script("GET", "/1", cut(BLOB.data, AT))
        cdn.script("GET", "/2", faults.status(403, body=b"<Error>Request has expired</Error>"))
        cdn.script("GET", "/3", content(BLOB.data))
        assert fetch(kind.at(registry), BLOB.digest).data == BLOB.data
        assert cdn.requests("GET", "/3")[0].header("range") == f"bytes={AT}-"

    def test_another_host_may_serve_the_rest(self, kind: Kind, servers: OpenServer) -> None:
        """A digest is the same from everywhere. Behaviours B24."""
        registry, one, other = servers(), servers(), servers()
        registry.script("GET", PATH, redirect(one.url("/x")), redirect(other.url("/y")))
        one.script("GET", "/x", cut(BLOB.data, AT))
        other.script("GET", "/y", content(BLOB.data))
        assert fetch(kind.at(registry), BLOB.digest).data == BLOB.data


def test_a_body_that_never_moves_is_given_up_after_five_tries(kind: Kind, server: FaultServer) -> None:
    """Behaviours B40."""
    server.always("GET", PATH, cut(BLOB.data, 0))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert isinstance(outcome.error, errors.Truncated)
    assert len(server.log) == 5
    assert len(outcome.waits) == 4
    assert outcome.data == b""


def test_progress_earns_new_tries(kind: Kind, server: FaultServer) -> None:
    """Behaviours B40."""
    large = blob("progress", 9 << 20)
    path = blob_path(REPOSITORY, large.digest)
    server.always("GET", path, cut(large.data, 1 << 20))
    outcome = fetch(kind.at(server), large.digest)
    assert (outcome.data == large.data, outcome.error) == (True, None)
    assert len(server.log) == 9
