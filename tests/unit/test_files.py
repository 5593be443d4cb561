"""Replacing a small file whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dist_tool.errors import LocalFailure
from dist_tool.files import replace_file

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


@pytest.mark.parametrize(
    ("before", "private", "after"), [(0o644, True, 0o600), (0o640, False, 0o640), (0o700, True, 0o700)]
)
def test_the_mode_stays_less_what_others_may(before: int, private: bool, after: int, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    file.chmod(before)
    replace_file(str(file), lambda _: b"x", private=private)
    assert file.stat().st_mode & 0o777 == after


def test_a_private_file_is_made_for_its_user_alone(tmp_path: Path) -> None:
    replace_file(str(tmp_path / "d" / "f"), lambda data: data + b"x", private=True)
    assert ((tmp_path / "d").stat().st_mode & 0o777, (tmp_path / "d" / "f").stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_change_that_fails_leaves_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(ZeroDivisionError):
        replace_file(str(tmp_path / "f"), lambda _: bytes(1 // 0))
    assert (tmp_path / "f").read_text() == "x"
    assert sorted(os.listdir(tmp_path)) == ["f", "home"], "no temporary file is left"


def test_a_place_that_cannot_be_written_is_a_local_failure(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(LocalFailure, match="f: cannot be written"):
        replace_file(str(tmp_path / "f" / "g"), lambda _: b"x")
    (tmp_path / "d").mkdir()
    with pytest.raises(LocalFailure, match="d: cannot be written: is a directory"):
        replace_file(str(tmp_path / "d"), lambda _: b"x")
