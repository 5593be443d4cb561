"""Damaged layers by the thousand, from fixed seeds: an error of ours or success, in time, in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from support.layers import apply
from support.mutate import LIMITS, MemoryUse, is_clean, mutated_blobs, mutated_tars, seeds
from support.trees import snapshot

from dist_tool.errors import DistError
from dist_tool.layers.options import ApplyOptions

SLOWEST_S = 5.0  # security.md, section 5
MOST_MEMORY = 200 << 20
BATCH = 50  # layers to one root: what damaged ones leave behind is there for the next
EXAMPLES = min(1500, 30 * settings().max_examples)
OPTIONS = ApplyOptions(limits=LIMITS, devices="skip")


def outcome(root: Path, stream: bytes) -> DistError | None:
    try:
        apply(root, stream, options=OPTIONS)
    except DistError as error:
        return error
    return None


def apply_all(streams: Iterable[bytes], here: Path) -> tuple[int, int]:
    """Apply each; returns how many were refused and how many applied."""
    here.mkdir()
    (here / "canary").write_text("as it was")
    before = snapshot(here, without="roots").keys()
    refused = applied = 0
    with MemoryUse() as memory:
        for number, stream in enumerate(streams):
            root = here / "roots" / str(number // BATCH)
            start = time.monotonic()
            error = outcome(root, stream)
            assert error is None or is_clean(error), repr(error)
            refused += error is not None
            applied += error is None
            assert time.monotonic() - start < SLOWEST_S, stream
    assert snapshot(here, without="roots").keys() == before
    assert (here / "canary").read_text() == "as it was"
    assert memory.most < MOST_MEMORY
    return refused, applied


def test_the_undamaged_are_applied(tmp_path: Path) -> None:
    for number, stream in enumerate(seeds()):
        apply(tmp_path / str(number), stream, options=OPTIONS)


def test_damaged_tars_end_well(tmp_path: Path) -> None:
    refused, applied = apply_all(mutated_tars(1, EXAMPLES), tmp_path / "here")
    assert refused > EXAMPLES / 3
    assert applied > EXAMPLES / 15


def test_damaged_compressed_streams_end_well(tmp_path: Path) -> None:
    refused, _ = apply_all(mutated_blobs(2, EXAMPLES), tmp_path / "here")
    assert refused > 0.8 * EXAMPLES


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(10))
def test_fifty_thousand_damaged_tars_end_well(tmp_path: Path, seed: int) -> None:
    apply_all(mutated_tars(100 + seed, 5000), tmp_path / "here")


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(4))
def test_twenty_thousand_damaged_compressed_streams_end_well(tmp_path: Path, seed: int) -> None:
    apply_all(mutated_blobs(200 + seed, 5000), tmp_path / "here")
