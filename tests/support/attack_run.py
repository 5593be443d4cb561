"""Running the attacks: in this process, or in one that gave up being root."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dist_tool.errors import DistError
from dist_tool.layers.options import ApplyOptions
from support.attacks import ATTACKS, Attack, Outside
from support.layers import apply
from support.processes import dist_environment
from support.trees import Node, differences, shape, snapshot
from support.user import NOBODY, become_nobody


class Verdict(NamedTuple):
    """What came of an attack: `outcome` is `applied` or the error's class; `harm` what changed outside."""

    outcome: str
    message: str
    exit_code: int
    inside: dict[str, Any]
    harm: list[str]


def run_attack(attack: Attack, here: Path, options: ApplyOptions | None = None) -> Verdict:
    """Run one attack in the empty directory `here`."""
    place = Outside(here)
    place.build()
    before = _around(here)
    outcome, message, exit_code = "applied", "", 0
    try:
        apply(place.root, *attack.layers(str(place.outside)), options=options)
    except DistError as error:
        outcome, message, exit_code = type(error).__name__, str(error), error.exit_code
    harm = differences(before, _around(here))
    return Verdict(outcome, message, exit_code, _shape(place.root), harm)


def _around(here: Path) -> dict[str, Node]:
    """Everything but the root."""
    return snapshot(here, without="root")


def _shape(root: Path) -> dict[str, Any]:
    os.chmod(root, 0o755)
    with contextlib.suppress(OSError):  # names over PATH_MAX cannot be walked to from here
        return {
            path: value.decode("latin-1") if isinstance(value, bytes) else value for path, value in shape(root).items()
        }
    return {}


@contextlib.contextmanager
def place_for(owner: int) -> Iterator[Path]:
    """A directory that `owner` can reach: pytest's own is closed to others."""
    here = Path(tempfile.mkdtemp(prefix="dist-attack-"))
    try:
        if owner != os.geteuid():
            os.chown(here, owner, owner)
        yield here
    finally:
        if os.geteuid() != 0:
            _open_directories(here)
        shutil.rmtree(here)


def _open_directories(top: Path) -> None:
    """Give the owner all permissions: only root can remove what is in a directory without them."""
    for _, names, _, descriptor in os.fwalk(top):
        for name in names:
            if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=descriptor)


def run_all_as_user() -> dict[str, Verdict]:
    """Every attack in a process of an ordinary user's."""
    with place_for(NOBODY if os.geteuid() == 0 else os.geteuid()) as here:
        done = subprocess.run(
            [sys.executable, "-m", "support.attack_run", str(here)],
            env={**dist_environment(), "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"},
            capture_output=True,
            timeout=120,
            check=True,
        )
        return {name: Verdict(*verdict) for name, verdict in json.loads(done.stdout).items()}


def main(here: Path) -> None:
    """Run all attacks below `here` as nobody; the verdicts go to stdout."""
    become_nobody()
    assert os.geteuid() != 0
    verdicts = {}
    for number, attack in enumerate(ATTACKS):
        directory = here / str(number)
        directory.mkdir()
        verdicts[attack.name] = run_attack(attack, directory)
    json.dump(verdicts, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
