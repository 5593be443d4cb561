"""One gibibyte from a pipe into the store, against hashing it and copying it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench.measure import Command, compare
from bench.places import have, large_blob


def bench(directory: Path) -> None:
    digest = large_blob(directory / "source", 1 << 30)
    content = directory / "source" / "blobs" / "sha256" / digest.partition(":")[2]
    env = {"DIST_STORE": str(directory / "store")}

    def empty() -> None:
        shutil.rmtree(directory / "store", ignore_errors=True)
        (directory / "copy").unlink(missing_ok=True)

    ingest = f"cat {content} | {sys.executable} -m dist_tool content ingest --expected-digest {digest}"
    commands = [Command("cat | dist content ingest", ingest, env, empty)]
    if have("openssl"):
        copy = f"openssl dgst -sha256 {content} && cp {content} {directory}/copy"
        commands += [
            Command("openssl dgst, and cp", copy, prepare=empty),
            Command("openssl dgst, and cp, synced", f"{copy} && sync {directory}/copy", prepare=empty),
        ]
    compare("1 GiB into the store, synced", commands)
