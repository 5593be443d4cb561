"""How long it takes to start, as wall and CPU time and as what the importer counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Command, compare
from bench.places import have, registry_over
from support.content import image


def bench(directory: Path) -> None:
    with registry_over(directory / "layout", image("bench")) as repository:
        dist = [sys.executable, "-m", "dist_tool"]
        commands = [
            Command("dist --version", [*dist, "--version"]),
            Command("python -c pass", [sys.executable, "-c", "pass"]),
        ]
        compare("start", commands, rounds=15)
        commands = [Command("dist fetch (a manifest)", [*dist, "fetch", repository, "latest"])]
        if have("crane"):
            commands.append(Command("crane manifest", ["crane", "manifest", "--insecure", f"{repository}:latest"]))
        if have("skopeo"):
            argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{repository}:latest"]
            commands.append(Command("skopeo inspect --raw", argv))
        commands.append(Command("python -c pass", [sys.executable, "-c", "pass"]))
        compare("one small object from a registry", commands, rounds=15)
        print("\nimport time, in ratios to python -c pass (-X importtime, best of 7)")
        bare = import_time(["-c", "pass"])
        for name, args in (("dist --version", ["--version"]), ("dist fetch", ["fetch", repository, "latest"])):
            print(f"  {name:<44} {import_time(['-m', 'dist_tool', *args]) / bare:6.1f}")


def import_time(args: Sequence[str]) -> float:
    """The sum of what -X importtime counts, in seconds; best of 7 runs."""
    totals = []
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(7):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *args],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )
        lines = [line.split("|") for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
        totals.append(sum(int(line[0].split(":")[1]) for line in lines if line[0].split(":")[1].strip().isdigit()))
    return min(totals) / 1e6
