"""Shell completion is click's own; `dist` need only be asked (docs/completion.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.processes import require_program, run_dist

from dist_tool.cli import COMMANDS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shells_script_is_printed(shell: str) -> None:
    result = run_dist([], {"_DIST_COMPLETE": f"{shell}_source"})
    assert (result.code, result.stderr) == (0, "")
    assert f"_DIST_COMPLETE={shell}_complete" in result.stdout.decode()
    assert b"dist" in result.stdout


def test_bashs_script_is_one_that_bash_can_read(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(run_dist([], {"_DIST_COMPLETE": "bash_source"}).stdout)
    subprocess.run([require_program("bash"), "-n", str(script)], check=True)


def complete(words: str, index: int) -> list[str]:
    """What bash is offered for word `index` of `words`."""
    environ = {"_DIST_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    result = run_dist([], environ)
    assert (result.code, result.stderr) == (0, "")
    return [line.partition(",")[2] for line in result.stdout.decode().split()]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dist fetch v1 -o im", "file,im"),
        ("dist fetch --stdin --into im", "dir,im"),
        ("dist fetch --config /etc/d", "file,/etc/d"),
        ("dist fetch ./im", "file,./im"),
        ("dist fetch docker.io/im", ""),
        ("dist unpack ~/im", "file,~/im"),
        ("dist unpack redis im", "dir,im"),
        ("dist content ls --root im", "dir,im"),
    ],
)
def test_the_shell_completes_what_is_of_the_file_system(words: str, offered: str) -> None:
    environ = {"_DIST_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = run_dist([], environ)
    assert (result.code, result.stderr, result.stdout.decode().strip()) == (0, "", offered)


def test_commands_complete() -> None:
    assert complete("dist ", 1) == list(COMMANDS)
    assert complete("dist fe", 1) == ["fetch"]
    assert complete("dist x", 1) == []


def test_options_complete() -> None:
    assert "--verify" in complete("dist fetch --", 2)
    assert complete("dist fetch --verif", 2) == ["--verify"]
    assert complete("dist resolve --pl", 2) == ["--platform"]


def test_values_of_options_complete() -> None:
    assert complete("dist fetch --verify ", 3) == ["stream", "before"]
    assert complete("dist fetch --error-format j", 3) == ["json"]
