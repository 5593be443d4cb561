"""What a program costs: seconds of wall and CPU time, peak resident size.

Measured from a small process of its own, `rusage.py FILE PROGRAM ...`: a child's peak begins with
the size of the process that forked it, so a large test process would measure itself.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Cost(NamedTuple):
    """`wall` and `cpu` in seconds, `memory` in MiB; `code` as subprocess has it."""

    wall: float
    cpu: float
    memory: float
    code: int


def cost_of(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: bytes | str = b"", stderr: int | None = None
) -> Cost:
    """Run a program, its output thrown away. `stdin` is its input, or the path of a file with it."""
    import subprocess

    with tempfile.NamedTemporaryFile() as report, tempfile.TemporaryFile() as given:
        if isinstance(stdin, bytes):
            given.write(stdin)
            given.seek(0)
        with open(stdin, "rb") if isinstance(stdin, str) else given as source:
            subprocess.run(
                [sys.executable, "-S", "-E", __file__, report.name, *argv],
                env=env,
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                check=True,
            )
        return Cost(**json.loads(report.read()))


def main(report: str, argv: list[str]) -> None:
    began = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, usage = os.wait4(pid, 0)
    cost = Cost(
        time.perf_counter() - began,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        os.waitstatus_to_exitcode(status),
    )
    with open(report, "w") as file:
        json.dump(cost._asdict(), file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
