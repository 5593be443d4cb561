"""Doing things as an ordinary user, in a process that gave up being root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from support.processes import dist_environment

NOBODY = 65534
_PRELUDE = """
import io, json, os, sys
from support.layers import *
from support.tars import *
from support.trees import *
from support.user import become_nobody
from dist_tool.errors import *
from dist_tool.layers.options import *
import dist_tool.rootfs.staging, pwd, dist_tool.rootfs.accounts, encodings.idna, hashlib
try:
    import isal.isal_zlib
except ImportError:
    pass
become_nobody()
here = sys.argv[1]
root = here + "/root"
result = None
"""


def become_nobody() -> None:
    """Give up being root, for good."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def run_as_user(code: str, here: Path) -> Any:
    """Run `code` as the user nobody, or unchanged without root; returns the value of `result`.

    It sees the tar and tree helpers of the tests, `here` and `root`, a name below it.
    """
    program = _PRELUDE + textwrap.dedent(code) + "\njson.dump(result, sys.stdout)\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(here)],
        env={**dist_environment(), "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
