"""Replacing a small file whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


APPEND = """
import sys
from dist_tool.files import replace_file
for _ in range(20):
    replace_file(sys.argv[1], lambda data: data + sys.argv[2].encode())
"""


def test_changes_of_several_processes_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "f"
    running = [subprocess.Popen([sys.executable, "-c", APPEND, str(file), sign], cwd=ROOT) for sign in "abc"]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert sorted(file.read_text()) == sorted("abc" * 20)
    assert sorted(os.listdir(tmp_path)) == ["f", "home"], "no temporary file is left"
