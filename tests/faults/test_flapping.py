"""A server that cuts or refuses three requests in ten: everything arrives, and little of it twice."""

from __future__ import annotations

import random

import pytest
from support import faults
from support.content import Blob, blob
from support.faults import blob_path
from support.fetching import fetch
from support.kinds import REPOSITORY, Kind
from support.server import Exchange, FaultServer

REFUSALS = (faults.reset, faults.hang_up, faults.status(503), faults.status(500))


def _flap(server: FaultServer, blobs: list[Blob], seed: int) -> None:
    rng = random.Random(seed)
    for each in blobs:

        def step(exchange: Exchange, each: Blob = each) -> None:
            chance = rng.random()
            if chance < 0.15:
                rng.choice(REFUSALS)(exchange)
            elif chance < 0.3:
                rest = len(each.data) - (exchange.request.first_byte or 0)
                faults.cut(each.data, rng.randrange(max(rest, 1)))(exchange)
            else:
                faults.content(each.data)(exchange)

        server.always("GET", blob_path(REPOSITORY, each.digest), step)


def _fetch_all(kind: Kind, server: FaultServer, blobs: list[Blob]) -> None:
    for each in blobs:
        outcome = fetch(kind.at(server), each.digest)
        assert outcome.error is None
        assert outcome.data == each.data
    assert server.body_bytes <= 1.3 * sum(len(each.data) for each in blobs)


@pytest.mark.parametrize("seed", range(3))
def test_twenty_blobs_arrive_from_a_flapping_server(kind: Kind, server: FaultServer, seed: int) -> None:
    blobs = [blob(f"flap/{n}", 200_000) for n in range(20)]
    _flap(server, blobs, seed)
    _fetch_all(kind, server, blobs)
    assert len(server.log) > 22  # it did flap


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(20))
def test_two_hundred_megabytes_arrive_from_a_flapping_server(kind: Kind, server: FaultServer, seed: int) -> None:
    blobs = [blob(f"flap/{n}", 10 << 20) for n in range(20)]
    _flap(server, blobs, seed)
    _fetch_all(kind, server, blobs)
