"""Bodies without a declared length, of objects whose size is unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import faults
from support.content import random_bytes
from support.faults import blob_path, status
from support.fetching import fetch
from support.kinds import REPOSITORY, Kind
from support.server import FaultServer, Step

from dist_tool import errors
from dist_tool.oci.digest import Digest
from dist_tool.transport import unsized

PIECE = random_bytes("undeclared", 1 << 16)
DATA = PIECE * 4
PATH = blob_path(REPOSITORY, Digest.of(DATA))


@pytest.fixture(autouse=True)
def asked_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsized, "ASK_AFTER", len(PIECE))


CHUNKED = replace(faults.content(DATA), framing="chunked")


def sized(length: int) -> Step:
    return lambda exchange: exchange.head("200 OK", [("Content-Length", length)])


def test_an_endless_body_ends_at_the_size_that_head_declares(kind: Kind, server: FaultServer) -> None:
    server.script("GET", PATH, faults.endless_body(piece=PIECE))
    server.script("HEAD", PATH, sized(len(DATA)))
    outcome = fetch(kind.at(server), Digest.of(DATA))
    assert isinstance(outcome.error, errors.SizeMismatch)
    assert outcome.error.what.endswith(f"more than the {len(DATA)} bytes that it declares for HEAD")
    assert len(server.requests("GET", PATH)) == 1


@pytest.mark.parametrize("answer", [sized(len(DATA)), sized(0), status(405), status(404)])
def test_an_object_arrives_whatever_head_answers(kind: Kind, server: FaultServer, answer: Step) -> None:
    server.always("GET", PATH, CHUNKED)
    server.always("HEAD", PATH, answer)
    outcome = fetch(kind.at(server), Digest.of(DATA))
    assert (outcome.error, len(outcome.data)) == (None, len(DATA))
    assert len(server.requests("HEAD", PATH)) == 1


def test_nothing_is_asked_for_a_size_that_is_known(kind: Kind, server: FaultServer) -> None:
    server.script("GET", PATH, CHUNKED)
    assert fetch(kind.at(server), Digest.of(DATA), f"size:{len(DATA)}").error is None
