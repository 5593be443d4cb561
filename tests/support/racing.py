"""A hostile user in a process of its own, that swaps the names of a directory at random until it is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.user import NOBODY

# Moves whatever has `match` in its name away, puts a link under the name, and sometimes moves things back.
_ATTACKER = """
import os, random, sys
user, directory, match, *targets = sys.argv[1:]
os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
os.chdir(directory)
print("ready", flush=True)
swaps = 0
moved = []
while True:
    try:
        names = [name for name in os.listdir(".") if match in name and not name.startswith("away-")]
    except OSError:
        continue
    for name in names:
        try:
            if os.path.islink(name):
                if random.random() < 0.5:
                    os.unlink(name)
                    if moved and random.random() < 0.5:
                        os.rename(moved.pop(), name)
                continue
            away = f"away-{swaps}"
            os.rename(name, away)
            os.symlink(random.choice(targets), name)
            moved.append(away)
            swaps += 1
        except OSError:
            pass
    if len(moved) > 50:
        moved.clear()
"""


def require_root() -> None:
    """Skip without root; in continuous integration that is a failure, because nothing was tested."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("the race tests need root")
        pytest.skip("needs root")


@contextmanager
def racing(directory: Path, targets: Sequence[str], seconds: float, *, match: str) -> Iterator[Callable[[], bool]]:
    """Give `directory` to a user who swaps names in it that contain `match` for links to `targets`.

    The block gets a function that is true until `seconds` have passed, and raises if the user's
    process has ended.
    """
    require_root()
    os.chown(directory, NOBODY, NOBODY)
    for parent in directory.parents:  # pytest's own directories are closed to others
        if parent.stat().st_uid == 0 and str(parent).startswith(("/tmp/", "/var/tmp/")):
            parent.chmod(parent.stat().st_mode | 0o011)
    attacker = subprocess.Popen(
        [sys.executable, "-c", _ATTACKER, str(NOBODY), str(directory), match, *targets],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"ready\n", attacker.communicate()[1]
        deadline = time.monotonic() + seconds

        def running() -> bool:
            assert attacker.poll() is None
            return time.monotonic() < deadline

        yield running
    finally:
        attacker.kill()
        attacker.communicate()
