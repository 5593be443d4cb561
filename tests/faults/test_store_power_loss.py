"""A modelled power cut: what was not synced may be gone, and what was acknowledged may not."""

from __future__ import annotations

import itertools

import pytest
from support.disk import Recorder, after_power_loss
from support.stores import check, live, recover

from dist_tool.errors import NotFound
from dist_tool.store import files
from dist_tool.store.writer import DiskWriter


def record(root):
    recorder = Recorder(root.parent)
    with recorder.active():
        live(root, recorder.ack)
    return recorder


def cut(recorder, tmp_path, cuts):
    for number, (index, seed) in enumerate(cuts):
        disk = tmp_path / f"disk{number}"
        acked = after_power_loss(recorder, index, seed, disk)
        check(disk / "store", acked)
        recover(disk / "store")


def every_cut(recorder, seeds):
    return [(index, seed) for index in range(len(recorder.log) + 1) for seed in range(seeds)]


def test_a_power_cut_loses_nothing_acknowledged(tmp_path):
    recorder = record(tmp_path / "before" / "store")
    cuts = every_cut(recorder, 3)
    assert len(cuts) > 500
    cut(recorder, tmp_path, cuts[:: len(cuts) // 40])


@pytest.mark.torture
def test_a_power_cut_after_every_single_step_loses_nothing_acknowledged(tmp_path):
    recorder = record(tmp_path / "before" / "store")
    cut(recorder, tmp_path, every_cut(recorder, 3))


def skip(*_):
    """What forgets to sync."""


@pytest.mark.parametrize(
    ("place", "name", "message"),
    [
        (files, "sync_directory", "is lost|is not in the store"),
        (DiskWriter, "_sync", "corrupt"),
    ],
)
def test_the_model_notices_what_was_not_synced(tmp_path, monkeypatch, place, name, message):
    """Without this test the others could pass because the model forgives everything."""
    monkeypatch.setattr(place, name, skip)
    recorder = record(tmp_path / "before" / "store")
    acks = [number for number, step in enumerate(recorder.log) if step[0] == "ack"]
    with pytest.raises((AssertionError, NotFound), match=message):
        check_all(recorder, tmp_path, itertools.product(acks, range(8)))


def check_all(recorder, tmp_path, cuts):
    for number, seed in cuts:
        disk = tmp_path / f"disk{number}-{seed}"
        check(disk / "store", after_power_loss(recorder, number + 1, seed, disk))
