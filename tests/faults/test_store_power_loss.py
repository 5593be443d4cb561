"""A modelled power cut: what was not synced may be gone, and what was acknowledged may not."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from support.disk import Dead, DeadFrom, Recorder, after_power_loss, intercepted
from support.stores import CONTENTS, DESCRIPTORS, check, live, recover

from dist_tool.errors import AlreadyExists, NotFound
from dist_tool.store import files, open_store
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


def deaths(tmp_path):
    """The indices of the calls after which something has a new name, and is not durable yet."""
    hook = DeadFrom(10_000)
    (tmp_path / "whole").mkdir()
    with intercepted(hook):
        live(tmp_path / "whole" / "store", lambda _: None)
    return [index + 1 for index, name in enumerate(hook.names) if name in ("mkdir", "rename")]


def add_unseen(root, ack):
    """Ingest without saying what it will be: that it is there already comes out at the end."""
    for data, desc in zip(CONTENTS, DESCRIPTORS, strict=True):
        if desc.digest.algorithm == "sha256":
            with suppress(AlreadyExists), open_store(str(root)).writer("no_progress") as writer:
                writer.write(data)
                writer.commit()
            ack(str(desc.digest))


@pytest.mark.parametrize("second_life", [live, add_unseen])
def test_whoever_relies_on_what_a_killed_process_left_may_rely_on_it(tmp_path, second_life):
    """The first one dies before it could sync; the next one finds everything there, and acknowledges it."""
    seeds = itertools.count()
    for death in deaths(tmp_path):
        recorder = Recorder(tmp_path / f"before{death}")
        root = tmp_path / f"before{death}" / "store"
        root.parent.mkdir()
        with recorder.active():
            with suppress(Dead), intercepted(DeadFrom(death)):
                live(root, recorder.ack)
            begin = len(recorder.log)
            if recorder.log[-1][0] not in ("mkdir", "rename") or "ingest" in recorder.log[-1][-1]:
                continue  # a directory that was there already, or what need not be durable
            second_life(root, recorder.ack)
        acks = [at for at in range(begin, len(recorder.log)) if recorder.log[at][0] == "ack"]
        for at, seed in zip(acks * 3, seeds, strict=False):
            disk = tmp_path / f"disk{seed}"
            check(disk / "store", after_power_loss(recorder, at + 1, seed, disk))
    assert next(seeds) > 100


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
