"""Which files are read, and what wins: flags, then the environment, then files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.config_files import write_settings

from dist_tool import config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that stands for /etc/dist. It does not exist yet."""
    directory = tmp_path / "etc" / "dist"
    monkeypatch.setattr(config, "SYSTEM_DIRECTORY", str(directory))
    return directory


def run(code: str, argument: Path) -> str:
    """What `code` prints in a process of its own; `before` holds the modules that Python brings along."""
    command = [sys.executable, "-c", f"import sys; before = set(sys.modules); {code}", str(argument)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_without_a_file_nothing_that_reads_files_is_imported(tmp_path: Path) -> None:
    code = (
        "from dist_tool import config; config.SYSTEM_DIRECTORY = sys.argv[1]; "
        "config.load({'HOME': sys.argv[1], 'DIST_TIMEOUT': '10s'}); "
        "print({'tomllib', 'difflib', 'urllib.parse', 'dist_tool.config.tables'} & (set(sys.modules) - before))"
    )
    assert run(code, tmp_path) == "set()\n"


def test_a_good_file_needs_no_spelling_help(tmp_path: Path) -> None:
    file = write_settings(tmp_path / "config.toml", remotes={"a.example": "b.example"})
    code = (
        "from dist_tool import config; config.load({}, file=sys.argv[1]); "
        "print({'tomllib', 'difflib'} & (set(sys.modules) - before))"
    )
    assert run(code, file) == "{'tomllib'}\n"
