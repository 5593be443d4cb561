"""Every cut and every flipped bit is found: samples here, the whole of it under `torture` (docs/security.md 5)."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from support import faults
from support.content import blob, flip
from support.faults import blob_path
from support.fetching import fetch
from support.kinds import REPOSITORY, Kind
from support.server import Exchange, FaultServer

LAYER = blob("damage", 200_000)
PATH = blob_path(REPOSITORY, LAYER.digest)
FRAMINGS = ("length", "chunked", "close", "http10")


def _all_cuts_are_refused(kind: Kind, server: FaultServer, cuts: Iterable[int]) -> None:
    answer = faults.cut(LAYER.data, 0)

    def step(exchange: Exchange) -> None:
        answer(exchange)

    server.always("GET", PATH, step)
    for at in cuts:
        framing = FRAMINGS[at % len(FRAMINGS)]
        answer = faults.cut(LAYER.data, at, framing).but(ranges=False)
        outcome = fetch(kind.at(server), LAYER.digest, attempts=1)
        assert outcome.code in (5, 6), (at, framing)
        assert outcome.data == b""


def test_a_layer_cut_anywhere_is_refused(kind: Kind, server: FaultServer) -> None:
    size = len(LAYER.data)
    edges = [0, 1, 2, 3, 4095, 4096, 4097, 65535, 65536, 65537, size - 4, size - 3, size - 2, size - 1]
    _all_cuts_are_refused(kind, server, [*edges, *random.Random(1).sample(range(size), 60)])


@pytest.mark.torture
def test_a_layer_cut_at_every_byte_of_its_beginning_is_refused(kind: Kind, server: FaultServer) -> None:
    _all_cuts_are_refused(kind, server, [*range(65536), *range(65536, len(LAYER.data), 4096)])


def _all_flips_are_found(kind: Kind, server: FaultServer, count: int) -> None:
    answer = faults.content(LAYER.data)

    def step(exchange: Exchange) -> None:
        answer(exchange)

    server.always("GET", PATH, step)
    for bit in random.Random(2).sample(range(8 * len(LAYER.data)), count):
        answer = faults.content(flip(LAYER.data, bit))
        outcome = fetch(kind.at(server), LAYER.digest)
        assert outcome.code == 5, bit
        assert outcome.data == b""


def test_a_bit_flipped_on_the_way_is_found(kind: Kind, server: FaultServer) -> None:
    _all_flips_are_found(kind, server, 60)


@pytest.mark.torture
def test_two_thousand_bits_flipped_on_the_way_are_found(kind: Kind, server: FaultServer) -> None:
    _all_flips_are_found(kind, server, 2000)
