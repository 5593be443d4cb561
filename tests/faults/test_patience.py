"""Slow and silent servers: each ends within its limit (docs/security.md 5, behaviours B42, trap T10).

Over every kind that speaks HTTP. The limits are made short here; that a test ends at all is what it tests.
"""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest
from support import faults
from support.content import Blob, blob
from support.faults import blob_path, content
from support.fetching import SHORT, Outcome, fetch
from support.kinds import REPOSITORY, Kind
from support.server import FaultServer, Step

from dist_tool import errors
from dist_tool.settings import Endpoint, Timeouts, Tls
from dist_tool.stream.retry import Retry

BLOB = blob("patience", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
QUICK = Endpoint(timeout=SHORT)


def _fetch(kind: Kind, server: FaultServer) -> Outcome:
    return fetch(kind.at(server), BLOB.digest, remote=QUICK, attempts=1)


SLOW: dict[str, tuple[Step, str]] = {
    "silence": (faults.silent, "no response within 0.25 s"),
    "silence in the headers": (faults.silent_in_headers, "no response within 0.25 s"),
    "silence in the body": (faults.cut(BLOB.data, 100, ending="hang"), "no data received for 0.25 s"),
    "silence in a chunk": (faults.cut(BLOB.data, 100, "chunked", "hang"), "no data received for 0.25 s"),
    "a header byte now and then": (faults.slow_headers(0.02), "no response within 0.25 s"),
    "a body byte now and then": (faults.slow_body(BLOB.data, 0.02), "slower than 1024 bytes/s over 0.25 s"),
}


@pytest.mark.parametrize(("step", "message"), SLOW.values(), ids=SLOW)
def test_a_slow_server_is_given_up(kind: Kind, server: FaultServer, step: Step, message: str) -> None:
    server.script("GET", PATH, step)
    outcome = _fetch(kind, server)
    assert isinstance(outcome.error, errors.Unavailable)
    assert message in outcome.error.what
    assert (outcome.code, outcome.data) == (6, b"")


@pytest.mark.parametrize(
    "step", [faults.endless_continue, faults.endless_header, faults.endless_headers], ids=lambda step: step.__name__
)
def test_noise_without_end_is_given_up(kind: Kind, server: FaultServer, step: Step) -> None:
    server.always("GET", PATH, step)
    outcome = _fetch(kind, server)
    assert outcome.code in (6, 7)
    assert outcome.data == b""


def test_a_server_that_never_shakes_hands_is_given_up(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections are made, and nobody takes them
        place = kind.at(None, f"127.0.0.1:{listener.getsockname()[1]}")
        remote = Endpoint(plain_http=False, timeout=replace(SHORT, connect_s=0.25), tls=Tls(skip_verify=True))
        outcome = fetch(place, BLOB.digest, remote=remote, attempts=1)
    assert isinstance(outcome.error, errors.Unavailable)
    assert "connection timed out" in outcome.error.what


def test_a_body_that_is_slow_and_steady_enough_arrives(kind: Kind, server: FaultServer) -> None:
    """Patience is a virtue as well: twice the idle limit, and never silent for as long."""
    small = Blob(BLOB.data[:26])
    server.script("GET", blob_path(REPOSITORY, small.digest), faults.slow_body(small.data, 0.02))
    remote = Endpoint(timeout=replace(SHORT, floor=10))
    assert fetch(kind.at(server), small.digest, remote=remote, attempts=1).data == small.data


def test_a_server_that_is_silent_once_costs_one_attempt(kind: Kind, server: FaultServer) -> None:
    server.script("GET", PATH, faults.cut(BLOB.data, 100, ending="hang"), content(BLOB.data))
    outcome = fetch(kind.at(server), BLOB.digest, remote=QUICK)
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert server.log[1].header("range") == "bytes=100-"


@pytest.mark.parametrize("step", [faults.silent, faults.slow_headers(0.02)], ids=["silence", "a trickle of headers"])
def test_a_server_without_progress_is_given_up_however_many_attempts_are_left(
    kind: Kind, server: FaultServer, step: Step
) -> None:
    server.always("GET", PATH, step)
    started = time.monotonic()
    outcome = fetch(kind.at(server), BLOB.digest, remote=QUICK, attempts=100, max_stall_s=0.6)
    assert isinstance(outcome.error, errors.Unavailable)
    assert outcome.error.what.endswith("no progress for 0.6 s")
    assert outcome.code == 6
    assert len(server.requests("GET", PATH)) == 3
    assert 0.6 <= time.monotonic() - started < 5


def test_a_byte_for_each_connection_is_no_progress(kind: Kind, server: FaultServer) -> None:
    step = faults.cut(BLOB.data, 1, ending="hang")
    server.always("GET", PATH, step)
    outcome = fetch(kind.at(server), BLOB.digest, remote=QUICK, attempts=100, max_stall_s=0.6)
    assert outcome.code == 6
    assert len(server.requests("GET", PATH)) == 3


def test_the_limits_that_hold_unasked_end_everything_in_time() -> None:
    """90 s at the outside, the slowest of the seven faults included."""
    limits = Timeouts()
    assert Retry().max_stall_s == 75
    assert 0 < limits.connect_s <= 10
    assert 0 < limits.headers_s <= 30
    assert 0 < limits.idle_s <= 30
    assert 0 < limits.floor_window_s <= 30
    assert limits.floor >= 1024
