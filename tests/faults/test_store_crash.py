"""SIGKILL at every call of the store's, and at random moments in many processes."""

from __future__ import annotations

import itertools
import random
import signal
import time

import pytest
from support.disk import Child, KillAt, intercepted
from support.stores import CONTENTS, DESCRIPTORS, check, ingest, live, recover

from dist_tool.store import open_store


def killed_at(root, index):
    """The exit code and what was acknowledged when the process dies at call `index`."""

    def work(tell):
        with intercepted(KillAt(index)):
            live(root, tell)

    return Child(work).wait()


def survive(tmp_path, indices):
    count = 0
    for index in indices:
        root = tmp_path / str(index)
        code, acked = killed_at(root, index)
        assert code in (0, -signal.SIGKILL)
        check(root, acked)
        recover(root)
        if code == 0:
            break
        count += 1
    return count


def test_a_kill_at_any_call_loses_nothing_acknowledged(tmp_path):
    """A sample; which part of it differs with the length of the store's life only."""
    assert survive(tmp_path, range(0, 10_000, 17)) > 20


@pytest.mark.torture
def test_a_kill_at_every_single_call_loses_nothing_acknowledged(tmp_path):
    assert survive(tmp_path, itertools.count()) > 200


def crash_together(root, chance, processes):
    """Some processes ingest the same things at once and are killed at a random moment."""

    def work(tell):
        order = list(range(len(CONTENTS)))
        for number in itertools.count():
            random.Random(number).shuffle(order)
            for which in order:
                store = open_store(str(root))
                try_ingest(store, which)
                tell(str(DESCRIPTORS[which].digest))

    children = [Child(work) for _ in range(processes)]
    for _ in range(chance.randrange(8)):
        chance.choice(children).hear()
    time.sleep(chance.random() * 0.01)
    for child in children:
        child.kill()
    acked = []
    for child in children:
        code, lines = child.wait()
        assert code == -signal.SIGKILL
        acked += lines
    return acked


def try_ingest(store, which):
    from dist_tool.errors import Locked

    while True:
        try:
            return ingest(store, CONTENTS[which], DESCRIPTORS[which])
        except Locked:
            time.sleep(0.001)


def run_crashes(tmp_path, runs, seed):
    chance = random.Random(seed)
    acknowledged = 0
    for run in range(runs):
        root = tmp_path / f"run{run}"
        acked = crash_together(root, chance, processes=4)
        check(root, acked)
        recover(root)
        acknowledged += bool(acked)
    return acknowledged


def test_processes_killed_at_random_lose_nothing_acknowledged(tmp_path):
    assert run_crashes(tmp_path, 15, seed=1) > 0


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_random_kills_lose_nothing_acknowledged(tmp_path, seed):
    assert run_crashes(tmp_path, 200, seed) > 100
