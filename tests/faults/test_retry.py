"""When to try again, how long to wait, and when to stop (behaviours B38-B42, R4).

Over every kind that speaks HTTP, but for tokens and for the two endpoints of a digest, which only registries have.
"""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from support import faults
from support.content import blob, image
from support.faults import blob_path, content, manifest_path, registry_error, status
from support.fetching import SHORT, fetch
from support.kinds import REGISTRY, REPOSITORY, Kind
from support.server import FaultServer, OpenServer, Step, closed_port

from dist_tool import errors
from dist_tool.settings import Endpoint, Settings

BLOB = blob("retry", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
IMAGE = image("retry")
GOOD = content(IMAGE.manifest.data, IMAGE.manifest.media_type)


# What may pass by itself: another try is made for each of these.
PASSING: dict[str, Step] = {
    **{f"{code}": status(code) for code in (408, 425, 429, 499, 500, 502, 503, 504, 522)},
    "503 with a page": faults.html_page(503),
    "503 as S3 says it": faults.s3_error(503, "SlowDown", "Please reduce your request rate."),
    "a reset": faults.reset,
    "a connection closed without an answer": faults.hang_up,
    "429 with an empty Retry-After": faults.too_many(""),
    "429 with nonsense in Retry-After": faults.too_many("soon"),
    "429 with a past date": faults.too_many("Wed, 21 Oct 2015 07:28:00 GMT"),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("what", ["blob", "tag"])
def test_what_may_pass_is_tried_again(kind: Kind, server: FaultServer, fault: Step, what: str) -> None:
    """Behaviours B39."""
    path, good, object_id = {
        "blob": (PATH, content(BLOB.data), str(BLOB.digest)),
        "tag": (kind.path("v1"), GOOD, "v1"),
    }[what]
    server.script("GET", path, fault, fault, good)
    outcome = fetch(kind.at(server), object_id)
    assert (outcome.data, outcome.error) == (good.body, None)
    assert len(outcome.waits) == 2


@pytest.mark.parametrize("fault", [faults.silent, faults.silent_in_headers], ids=lambda fault: fault.__name__)
def test_silence_may_pass_as_well(kind: Kind, server: FaultServer, fault: Step) -> None:
    """Behaviours B39."""
    server.script("GET", PATH, fault, content(BLOB.data))
    outcome = fetch(kind.at(server), BLOB.digest, remote=Endpoint(timeout=SHORT))
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert len(outcome.waits) == 1


# What is the same next time: one request, one clear failure.
FINAL: dict[str, tuple[Step, type[errors.DistError]]] = {
    "400": (status(400), errors.RemoteFailed),
    "403": (registry_error(403, "DENIED", "no"), errors.PermissionDenied),
    "404": (registry_error(404, "BLOB_UNKNOWN"), errors.NotFound),
    "410": (status(410), errors.NotFound),
    "405": (registry_error(405, "UNSUPPORTED"), errors.Unsupported),
    "401 without a challenge for anybody": (
        status(401, headers=[("WWW-Authenticate", "Negotiate")]),
        errors.Unauthenticated,
    ),
    "501": (status(501), errors.RemoteFailed),
    "another language": (faults.not_http, errors.ProtocolError),
}


@pytest.mark.parametrize(("fault", "error"), FINAL.values(), ids=FINAL)
def test_what_will_not_pass_is_asked_once(
    kind: Kind, server: FaultServer, fault: Step, error: type[errors.DistError]
) -> None:
    """Behaviours B41."""
    server.always("GET", kind.path("v1"), fault)
    outcome = fetch(kind.at(server), "v1")
    assert isinstance(outcome.error, error)
    assert len(server.requests("GET", kind.path("v1"))) == 1
    assert (outcome.waits, outcome.data) == ([], b"")


CUT = faults.cut(BLOB.data, 0)
MIXED: dict[str, list[Step]] = {
    "a cut after four refusals": [*[status(503)] * 4, CUT],
    "refusals and cuts in turn": [status(503), CUT],
    "a coded body that is cut after three refusals": [
        *[status(503)] * 3,
        status(200, body=b"", headers=[("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")]),
    ],
}


@pytest.mark.parametrize("steps", MIXED.values(), ids=MIXED)
def test_failures_of_different_layers_count_together(kind: Kind, server: FaultServer, steps: list[Step]) -> None:
    """Behaviours B39."""
    server.script("GET", PATH, *(steps * 5)[:5])
    outcome = fetch(kind.at(server), BLOB.digest)
    assert outcome.code in (6, 7)
    assert len(server.requests("GET", PATH)) == 5
    assert outcome.error is not None
    assert len(outcome.error.attempts) == 5


def test_a_tag_whose_header_lies_and_that_fails_gets_no_more_requests(server: FaultServer) -> None:
    """Behaviours B39."""
    lying = content(IMAGE.manifest.data, IMAGE.manifest.media_type, digest=BLOB.digest)
    refusal = status(503)
    server.script("GET", manifest_path(REPOSITORY, "v1"), refusal, refusal, refusal, lying, refusal)
    outcome = fetch(REGISTRY.at(server), "v1")
    assert outcome.code == 7
    assert len(server.requests("GET", manifest_path(REPOSITORY, "v1"))) == 5


@pytest.mark.parametrize("code", [500, 503])
def test_the_fifth_failure_is_the_last(kind: Kind, server: FaultServer, code: int) -> None:
    """Behaviours B39."""
    server.script("GET", kind.path("v1"), *[status(code)] * 5)
    outcome = fetch(kind.at(server), "v1")
    assert isinstance(outcome.error, errors.ServerError)
    assert outcome.code == 7
    assert len(outcome.waits) == 4
    assert len(outcome.error.attempts) == 5


def test_a_500_from_one_endpoint_does_not_lead_to_the_other(server: FaultServer) -> None:
    """containerd took the 500 for "not here" and then a manifest for a blob (9b7fa6131). Behaviours B39."""
    server.always("GET", PATH, status(500))
    outcome = fetch(REGISTRY.at(server), BLOB.digest)
    assert outcome.code == 7
    assert server.requests("GET", manifest_path(REPOSITORY, BLOB.digest)) == []


def test_a_refused_connection_is_tried_again_and_then_a_network_failure(kind: Kind) -> None:
    """Behaviours B39."""
    outcome = fetch(kind.at(None, f"127.0.0.1:{closed_port()}"), "v1")
    assert isinstance(outcome.error, errors.Unavailable)
    assert (outcome.code, len(outcome.waits)) == (6, 4)
    assert "connection refused" in outcome.error.what


def test_a_name_that_does_not_resolve_is_a_network_failure_at_once(kind: Kind) -> None:
    """Behaviours B39."""
    outcome = fetch(kind.at(None, "registry.invalid"), "v1")
    assert (outcome.code, outcome.waits) == (6, [])
    assert outcome.error is not None
    assert "does not resolve" in outcome.error.what


def test_a_socks_proxy_is_refused_without_another_try(kind: Kind) -> None:
    """Behaviours B41."""
    outcome = fetch(kind.at(None, "registry.invalid"), "v1", settings=Settings(environ={"ALL_PROXY": "socks5://p:1"}))
    assert (outcome.code, outcome.waits) == (8, [])
    assert outcome.error is not None
    assert "ALL_PROXY: SOCKS proxies are not supported" in outcome.error.what


class TestRetryAfter:
    """B38."""

    @pytest.mark.parametrize("asked", ["0", "7", "60", "007", " 7 "])
    def test_seconds_are_waited(self, kind: Kind, server: FaultServer, asked: str) -> None:
        """Behaviours B38."""
        server.script("GET", kind.path("v1"), faults.too_many(asked), GOOD)
        outcome = fetch(kind.at(server), "v1")
        assert outcome.error is None
        assert outcome.waits == [float(asked)]

    def test_a_date_is_waited_for(self, kind: Kind, server: FaultServer) -> None:
        """Behaviours B38."""
        server.script(
            "GET",
            kind.path("v1"),
            faults.too_many(formatdate(time.time() + 40, usegmt=True)),
            GOOD,
        )
        outcome = fetch(kind.at(server), "v1")
        assert outcome.error is None
        (wait,) = outcome.waits
        assert 20 < wait <= 40

    @pytest.mark.parametrize(
        "asked", ["61", "86400", "999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "1" * 400]
    )
    def test_an_absurd_wait_fails_at_once_and_is_named(self, kind: Kind, server: FaultServer, asked: str) -> None:
        """Behaviours B38."""
        server.script("GET", kind.path("v1"), faults.too_many(asked))
        outcome = fetch(kind.at(server), "v1")
        assert isinstance(outcome.error, errors.ResourceExhausted)
        assert (outcome.code, outcome.waits) == (7, [])
        assert "the server asks to wait" in outcome.error.hint

    @pytest.mark.parametrize("asked", ["-1", "1e3", "1_0", "NaN", "inf", "٣".encode().decode("latin-1"), "7, 8"])
    def test_what_is_no_time_counts_as_none(self, kind: Kind, server: FaultServer, asked: str) -> None:
        """Behaviours B38."""
        server.script("GET", kind.path("v1"), faults.too_many(asked), GOOD)
        outcome = fetch(kind.at(server), "v1")
        assert outcome.error is None
        assert outcome.waits == [0.0]

    def test_five_limits_in_a_row_are_exhaustion(self, kind: Kind, server: FaultServer) -> None:
        """Behaviours B38."""
        server.script("GET", kind.path("v1"), *[faults.too_many("1")] * 5)
        outcome = fetch(kind.at(server), "v1")
        assert isinstance(outcome.error, errors.ResourceExhausted)
        assert (outcome.code, outcome.waits) == (7, [1.0] * 4)

    def test_a_wait_is_announced(self, kind: Kind, server: FaultServer) -> None:
        """Behaviours B38."""
        server.script("GET", kind.path("v1"), faults.too_many("7"), GOOD)
        outcome = fetch(kind.at(server), "v1")
        assert any("trying again in 7.0 s" in notice.text for notice in outcome.notices)

    def test_a_503_that_names_a_time_is_not_asked_before_it(self, kind: Kind, server: FaultServer) -> None:
        """RFC 9110 10.2.3: Retry-After belongs to 503 as much as to 429. Behaviours B38."""
        busy = status(503, headers=[("Retry-After", "9")])
        server.script("GET", kind.path("v1"), busy, GOOD)
        outcome = fetch(kind.at(server), "v1")
        assert outcome.error is None
        assert outcome.waits == [9.0]

    def test_the_deadline_is_not_slept_away(self, kind: Kind, server: FaultServer) -> None:
        """Behaviours B38."""
        server.script("GET", kind.path("v1"), faults.too_many("30"))
        outcome = fetch(kind.at(server), "v1", deadline=time.monotonic() + 10)
        assert isinstance(outcome.error, errors.DeadlineExceeded)
        assert (outcome.code, outcome.waits) == (6, [])


class TestTokens:
    """B41, and C14, C20: a token is renewed once where that can help, and never in a loop."""

    def _registry(self, server: FaultServer, **options: object) -> faults.TokenServer:
        scope = f"repository:{REPOSITORY}:pull"
        tokens = faults.TokenServer(server.url("/token"), scope, **options)  # type: ignore[arg-type]
        server.always("GET", "/token", tokens.issue)
        return tokens

    def test_a_401_after_a_fresh_token_is_final(self, server: FaultServer) -> None:
        """Behaviours B41."""
        tokens = self._registry(server, uses=0)
        server.always("GET", PATH, tokens.protect(content(BLOB.data)))
        outcome = fetch(REGISTRY.at(server), BLOB.digest)
        assert isinstance(outcome.error, errors.Unauthenticated)
        assert len(tokens.issued) == 1
        assert len(server.requests("GET", PATH)) == 2
        assert outcome.waits == []

    def test_a_registry_that_wants_another_scope_each_time_is_given_up(self, server: FaultServer) -> None:
        """Behaviours B41."""
        tokens = self._registry(server)
        count = iter(range(1000))

        def insatiable(exchange: object) -> None:
            scope = f"repository:{REPOSITORY}:pull,extra{next(count)}"
            faults.challenge(server.url("/token"), scope, error="insufficient_scope")(exchange)  # type: ignore[arg-type]

        server.always("GET", PATH, insatiable)
        outcome = fetch(REGISTRY.at(server), BLOB.digest)
        assert outcome.code == 4
        assert len(tokens.issued) <= 3

    def test_a_token_that_ends_midway_is_renewed(self, server: FaultServer) -> None:
        """It was accepted once: its refusal is no verdict on us, but its end. Behaviours B41."""
        tokens = self._registry(server, uses=1)
        halves = faults.in_turn(faults.cut(BLOB.data, 1000), faults.cut(BLOB.data, 1000), content(BLOB.data))
        server.always("GET", PATH, tokens.protect(halves))
        outcome = fetch(REGISTRY.at(server), BLOB.digest)
        assert (outcome.data, outcome.error) == (BLOB.data, None)
        assert len(tokens.issued) == 3
        assert [request.header("range") for request in server.requests("GET", PATH)] == [
            *("", "", "bytes=1000-", "bytes=1000-", "bytes=2000-", "bytes=2000-")
        ]

    def test_an_anonymous_pull_costs_a_challenge_and_a_token(self, server: FaultServer) -> None:
        """B55: cold and anonymous adds exactly two requests, and no ping of /v2/. Behaviours C20."""
        tokens = self._registry(server)
        server.always("GET", PATH, tokens.protect(content(BLOB.data)))
        assert fetch(REGISTRY.at(server), BLOB.digest).data == BLOB.data
        assert [request.path for request in server.log] == [PATH, "/token", PATH]

    def test_a_token_server_that_fails_for_a_while_is_asked_again(self, server: FaultServer) -> None:
        tokens = faults.TokenServer(server.url("/token"), f"repository:{REPOSITORY}:pull")
        server.script("GET", "/token", status(503), faults.too_many("2"), tokens.issue)
        server.always("GET", PATH, tokens.protect(content(BLOB.data)))
        outcome = fetch(REGISTRY.at(server), BLOB.digest)
        assert outcome.data == BLOB.data
        assert 2.0 in outcome.waits

    def test_a_token_server_that_fails_for_good_is_asked_five_times_in_all(self, server: FaultServer) -> None:
        tokens = faults.TokenServer(server.url("/token"), f"repository:{REPOSITORY}:pull")
        server.script("GET", "/token", *[status(503)] * 5)
        server.always("GET", PATH, tokens.protect(content(BLOB.data)))
        outcome = fetch(REGISTRY.at(server), BLOB.digest)
        assert (outcome.code, len(outcome.waits)) == (7, 4)
        assert len(server.requests("GET", "/token")) == 5

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (status(401), 4),
            (status(403), 4),
            (status(404), 7),
            (faults.html_page(), 7),
            (faults.json_answer({"token": ""}), 7),
            (faults.json_answer({"token": "a\r\nX-Evil: 1"}), 7),
            (faults.json_answer(["token"]), 7),
            (faults.content(b"{" + b" " * (65 << 10) + b"}"), 7),
        ],
        ids=["401", "403", "404", "a page", "an empty token", "a header in it", "a list", "a long answer"],
    )
    def test_a_token_server_that_gives_no_token_is_asked_once(
        self, server: FaultServer, answer: Step, code: int
    ) -> None:
        tokens = faults.TokenServer(server.url("/token"), f"repository:{REPOSITORY}:pull")
        server.script("GET", "/token", answer)
        server.script("GET", PATH, tokens.protect(content(BLOB.data)))
        outcome = fetch(REGISTRY.at(server), BLOB.digest)
        assert (outcome.code, outcome.data, outcome.waits) == (code, b"", [])


def test_time_for_the_whole_command_ends_a_body_too(kind: Kind, servers: OpenServer) -> None:
    """Behaviours B42."""
    server = servers()
    server.always("GET", PATH, faults.slow_body(BLOB.data, 0.02))
    outcome = fetch(kind.at(server), BLOB.digest, deadline=time.monotonic() + 0.2)
    assert isinstance(outcome.error, errors.DeadlineExceeded)
    assert outcome.data == b""
