"""Parallel `dist content ingest` processes killed at random moments; then everything is as it should be."""

from __future__ import annotations

import random
import subprocess
import time

import pytest
from support.processes import dist_command, dist_environment, run_dist

from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.store import open_store
from dist_tool.store.verify import verify_all

BLOBS = [random.Random(seed).randbytes(size) for seed, size in enumerate((100, 3_000_000, 6_000_000))]
DIGESTS = [Digest.of(blob) for blob in BLOBS]


def start(root, number, source):
    """A process that ingests one blob: two of them by digest, as a fetch would, one under a ref."""
    args = ["--expected-digest", str(DIGESTS[number])] if number else ["small"]
    with source.open("rb") as file:
        return subprocess.Popen(
            dist_command("content", "ingest", *args, "--root", str(root)),
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dist_environment(),
        )


def crash(root, sources, delay_s):
    """Five processes, killed after a while; returns the digests that were printed before."""
    processes = [start(root, number, sources[number]) for number in (0, 1, 1, 2, 2)]
    time.sleep(delay_s)
    for process in processes:
        process.kill()
    printed = set()
    for process in processes:
        out, _ = process.communicate()
        printed |= set(out.decode().split())
    return printed


def check(root, printed):
    store = open_store(str(root))
    verdicts = list(verify_all(store))
    assert [verdict for verdict in verdicts if verdict.state != "ok"] == []
    here = {str(verdict.digest) for verdict in verdicts}
    assert printed <= here <= {str(digest) for digest in DIGESTS}
    for status in store.statuses():
        assert not status.active
        for digest, blob in zip(DIGESTS, BLOBS, strict=True):
            if status.ref == str(digest):
                with store.writer(status.ref) as writer:
                    assert writer.digest() == Digest.of(blob[: writer.offset])
    return here


def finish(root, sources):
    """The next run succeeds, whatever there was; verify and gc of the command line agree."""
    for number, digest in enumerate(DIGESTS):
        process = start(root, number, sources[number])
        assert process.communicate()[0].decode() == f"{digest}\n"
    assert run_dist(["content", "verify", "--root", str(root)]) == (b"", "", 0)
    store = open_store(str(root))
    for digest, blob in zip(DIGESTS, BLOBS, strict=True):
        assert store.read(Descriptor(digest), 1 << 30) == blob


@pytest.mark.parametrize("runs", [3, pytest.param(200, marks=pytest.mark.torture)])
def test_ingests_killed_at_random_leave_nothing_wrong(tmp_path, runs):
    chance = random.Random(runs)
    sources = []
    for number, blob in enumerate(BLOBS):
        sources.append(tmp_path / f"source{number}")
        sources[-1].write_bytes(blob)
    outcomes = set()
    for run in range(runs):
        root = tmp_path / f"store{run}"
        outcomes.add(len(check(root, crash(root, sources, chance.uniform(0.1, 0.6)))))
        if run % 10 == 0:
            finish(root, sources)
    assert runs < 100 or len(outcomes) > 1, "every kill came at the same moment of a life"
