"""Timing whole commands, each pair in one run, alternating, so that both meet the same machine."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from support.rusage import Cost, cost_of


class Command(NamedTuple):
    """A command line to measure; a string goes through `sh -c`. `prepare` runs before each, unmeasured."""

    name: str
    argv: Sequence[str] | str
    env: Mapping[str, str] = {}
    prepare: Callable[[], None] | None = None


def run(command: Command) -> Cost:
    """Run once. A failure ends the benchmark: a wrong result has no speed."""
    if command.prepare is not None:
        command.prepare()
    argv = ["sh", "-c", command.argv] if isinstance(command.argv, str) else list(command.argv)
    env = {**os.environ, **command.env}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed dist has its bytecode
    with tempfile.TemporaryFile() as complaint:
        cost = cost_of(argv, env=env, stderr=complaint.fileno())
        if cost.code:
            complaint.seek(0)
            raise SystemExit(f"{command.name}: ended with {cost.code}: {complaint.read().decode(errors='replace')}")
    return cost


def compare(title: str, commands: Sequence[Command], rounds: int = 5) -> None:
    """Run the commands in turn, `rounds` times, and print the best of each as ratios to the first."""
    samples: dict[str, list[Cost]] = {command.name: [] for command in commands}
    for _ in range(rounds):
        for command in commands:
            samples[command.name].append(run(command))
    best = {name: Cost(*(min(column) for column in zip(*runs, strict=True))) for name, runs in samples.items()}
    ours = best[commands[0].name]
    print(f"\n{title} (best of {rounds}, in turn)")
    for name, sample in best.items():
        print(
            f"  {name:<44} wall {sample.wall:7.3f} s  cpu {sample.cpu:7.3f} s  {sample.memory:6.0f} MiB"
            f"   dist/this: wall {ours.wall / sample.wall:5.2f}  cpu {ours.cpu / max(sample.cpu, 0.001):6.2f}"
        )


def machine() -> str:
    """What was measured on, in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()}, Python {platform.python_version()}"
