"""Mirrors that die and lie on the wire: what the transfer asks of whom, and what comes out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import faults
from support.content import blob, flip
from support.faults import blob_path, content, cut, manifest_path, range_ignored
from support.fetching import Outcome, fetch
from support.routes import route
from support.server import FaultServer, OpenServer, Step

from dist_tool import errors
from dist_tool.settings import Endpoint

REPOSITORY = "team/app"
BLOB = blob("mirrors on the wire", 5000)
LARGE = blob("mirrors on the wire, large", 6 << 20)
PATH = blob_path(REPOSITORY, BLOB.digest)
AT = 1234
FILE = "/files/app.tgz"
# How a mirror may die: it never says that it will, and the transfer goes on at the byte that it came to.
DEATHS: dict[str, Step] = {
    "closed": cut(BLOB.data, AT),
    "reset": cut(BLOB.data, AT, ending="reset"),
    "chunked": cut(BLOB.data, AT, "chunked"),
    "at once": cut(BLOB.data, 0),
    "hung up": faults.hang_up,
    "500": faults.status(500),
    "404": faults.status(404),
    "403": faults.registry_error(403, "DENIED"),
    "a web page": faults.html_page(503),
    "not http": faults.not_http,
}
LIES: dict[str, Step] = {
    "one bit": faults.flipped(BLOB.data, 99),
    "another object": content(blob("another", 5000).data),
    "more": faults.longer(BLOB.data),
    "less": content(BLOB.data[:-1]),
    "less, and no word of it": content(BLOB.data[:-1]).but(framing="close", ranges=False),
    "more, and no word of it": faults.longer(BLOB.data, framing="chunked"),
    "nothing": content(b""),
    "a web page": faults.html_page(),
}


def through(*mirrors: FaultServer, last: FaultServer, attempts: int = 5, hints: tuple[str, ...] = ()) -> Outcome:
    """Fetch the blob of a name with these mirrors; `last` is the registry itself."""
    tables = tuple(Endpoint(location=f"{mirror.host}/{REPOSITORY}", flat=True) for mirror in mirrors)
    return fetch(f"{last.host}/{REPOSITORY}", BLOB.digest, *hints, remote=route(mirrors=tables), attempts=attempts)


def ranges(server: FaultServer) -> list[str]:
    return [request.header("range") for request in server.requests("GET", PATH)]


@pytest.mark.parametrize("attempts", [1, 5])
@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_mirror_that_dies_is_left_without_a_wait(servers: OpenServer, death: Step, attempts: int) -> None:
    mirror, registry = servers(), servers()
    mirror.always("GET", PATH, death)
    mirror.always("GET", manifest_path(REPOSITORY, BLOB.digest), faults.status(404))
    registry.always("GET", PATH, content(BLOB.data))
    outcome = through(mirror, last=registry, attempts=attempts)
    assert (outcome.data, outcome.error, outcome.waits) == (BLOB.data, None, [])
    assert len(ranges(registry)) == 1


@pytest.mark.parametrize("attempts", [1, 5])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_mirror_that_lies_is_left(servers: OpenServer, lie: Step, attempts: int) -> None:
    mirror, registry = servers(), servers()
    mirror.always("GET", PATH, lie)
    registry.always("GET", PATH, content(BLOB.data))
    outcome = through(mirror, last=registry, attempts=attempts)
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert ranges(registry) == [""]


@pytest.mark.parametrize("who", ["first", "second"])
def test_splice_is_resolved_and_only_the_corrupt_mirror_is_reported(servers: OpenServer, who: str) -> None:
    one, other, registry = servers(), servers(), servers()
    wrong = flip(BLOB.data, 8 * (10 if who == "first" else 4000))
    one.script("GET", PATH, cut(wrong if who == "first" else BLOB.data, AT))
    one.always("GET", PATH, content(wrong if who == "first" else BLOB.data))
    other.always("GET", PATH, content(BLOB.data if who == "first" else wrong))
    outcome = through(one, other, last=registry)
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    blamed = [notice.text for notice in outcome.notices if notice.level == "warning"]
    assert [text.partition(" served")[0] for text in blamed] == (
        [f"registry::{one.host}/{REPOSITORY}"] if who == "first" else []
    )
    assert registry.log == []
    assert ranges(other)[0] == f"bytes={AT}-"


def test_a_splice_that_no_range_made_is_found_at_once_and_taken_apart(servers: OpenServer) -> None:
    one, other, registry = servers(), servers(), servers()
    one.always("GET", PATH, cut(flip(BLOB.data, 5), AT))
    other.always("GET", PATH, range_ignored(BLOB.data))
    assert through(one, other, last=registry, attempts=2).data == BLOB.data
    assert registry.log == []


def test_error_lists_every_attempt_if_all_mirrors_are_corrupt(servers: OpenServer) -> None:
    one, other, registry = servers(), servers(), servers()
    one.script("GET", PATH, cut(flip(BLOB.data, 5), AT))
    one.always("GET", PATH, content(flip(BLOB.data, 5)))
    other.always("GET", PATH, content(flip(BLOB.data, 6)))
    registry.always("GET", PATH, content(flip(BLOB.data, 7)))
    outcome = through(one, other, last=registry)
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert outcome.data == b""
    for server in (one, other, registry):
        assert any(server.host in attempt and "wrong content" in attempt for attempt in outcome.error.attempts)
    assert [len(ranges(server)) for server in (one, other, registry)] == [2, 2, 1]


def test_single_attempt_tries_each_cut_mirror_once(servers: OpenServer) -> None:
    mirrors = [servers() for _ in range(3)]
    for mirror in mirrors:
        mirror.always("GET", PATH, cut(BLOB.data, 1000))
    outcome = through(*mirrors[:2], last=mirrors[2], attempts=1)
    assert isinstance(outcome.error, errors.Truncated)
    assert [ranges(mirror) for mirror in mirrors] == [[""], ["bytes=1000-"], ["bytes=2000-"]]
    assert outcome.waits == []


class TestHints:
    def test_wrong_size_hint_costs_one_request_per_mirror_without_a_warning(self, servers: OpenServer) -> None:
        mirrors = [servers() for _ in range(3)]
        for mirror in mirrors:
            mirror.always("GET", PATH, content(BLOB.data))
        outcome = through(*mirrors[:2], last=mirrors[2], hints=("size:10",))
        assert (outcome.code, outcome.data) == (5, b"")
        assert "no source confirms size:10" in str(outcome.error)
        assert [ranges(mirror) for mirror in mirrors] == [[""]] * 3
        assert not [notice for notice in outcome.notices if notice.level == "warning"]

    def test_a_wrong_size_is_the_users_though_the_registry_is_down(self, servers: OpenServer) -> None:
        mirror, registry = servers(), servers()
        mirror.always("GET", PATH, content(BLOB.data))
        registry.always("GET", PATH, faults.hang_up)
        assert through(mirror, last=registry, attempts=2, hints=("size:10",)).code == 5

    @pytest.mark.parametrize("framing", ["close", "http10", "chunked"])
    def test_too_large_a_size_for_right_content_is_no_cut(self, server: FaultServer, framing: str) -> None:
        server.always("GET", PATH, content(BLOB.data).but(framing=framing, ranges=False))
        outcome = fetch(f"{server.host}/{REPOSITORY}", BLOB.digest, "size:6000")
        assert isinstance(outcome.error, errors.UnexpectedSize)
        assert (outcome.code, outcome.data) == (5, b"")
        assert "has 5000 bytes, expected 6000" in str(outcome.error)
        assert len(server.log) == 1

    def test_too_large_a_size_for_content_that_is_cut_is_a_cut(self, server: FaultServer) -> None:
        server.always("GET", PATH, cut(BLOB.data, AT, "close").but(ranges=False))
        outcome = fetch(f"{server.host}/{REPOSITORY}", BLOB.digest, "size:6000")
        assert (outcome.code, outcome.data) == (6, b"")


class TestNames:
    """Files of a web server behind a name, read without a digest from one mirror at a time."""

    def _through(self, mirror: FaultServer, last: FaultServer, attempts: int = 2) -> Outcome:
        table = Endpoint(kind="http", location=f"{mirror.host}/files", flat=True)
        remote = route(kind="http", mirrors=(table,))
        return fetch(f"http::{last.host}/files", "app.tgz", remote=remote, attempts=attempts)

    @pytest.mark.parametrize("death", [cut(LARGE.data, 5 << 20), faults.status(404), faults.hang_up])
    def test_a_mirror_that_dies_leaves_nothing_in_what_another_gives(self, servers: OpenServer, death: Step) -> None:
        mirror, origin = servers(), servers()
        mirror.always("GET", FILE, death)
        origin.always("GET", FILE, content(BLOB.data))
        outcome = self._through(mirror, origin)
        assert (outcome.data, outcome.error) == (BLOB.data, None)
        assert [request.header("range") for request in origin.log] == [""]

    def test_a_cut_is_continued_at_the_same_mirror(self, servers: OpenServer) -> None:
        mirror, origin = servers(), servers()
        tagged = content(BLOB.data).with_header("ETag", '"1"')
        mirror.script("GET", FILE, replace(tagged, cut=AT), tagged)
        assert self._through(mirror, origin).data == BLOB.data
        assert mirror.log[1].header("if-range") == '"1"'
        assert origin.log == []

    def test_when_all_fail_the_error_is_the_names_own(self, servers: OpenServer) -> None:
        mirror, origin = servers(), servers()
        mirror.always("GET", FILE, faults.status(500))
        origin.always("GET", FILE, faults.status(404))
        outcome = self._through(mirror, origin)
        assert (outcome.code, outcome.data) == (3, b"")
        assert outcome.error is not None
        assert len(outcome.error.attempts) == 2
