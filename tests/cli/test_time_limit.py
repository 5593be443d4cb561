"""`--timeout` is the limit of a whole command, whatever it is blocked in."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.content import Blob, blob, image, write_blob, write_layout
from support.processes import dist_command, dist_environment, run_dist

IMAGE = image("time limit")
LARGE = blob("time limit large", 6 << 20)
OVER = "the time limit set by --timeout, DIST_TIMEOUT or the configuration was reached"


class Blocked(NamedTuple):
    """Arguments of `dist` in a directory with `img` and `fifo`, and what it is to have for its environment."""

    args: tuple[str, ...]
    environ: dict[str, str] = {}


BLOCKED = {
    "a silent standard input": Blocked(("fetch", "./img", "--stdin", "--timeout", "300ms")),
    "a silent standard input, by a variable": Blocked(("fetch", "./img", "--stdin"), {"DIST_TIMEOUT": "300ms"}),
    "a layer from a silent standard input": Blocked(("apply", "rootfs", "--timeout", "300ms")),
    "a reader that stands still": Blocked(("fetch", "./img", str(LARGE.digest), "--timeout", "300ms")),
    "an output FIFO without a reader": Blocked(("fetch", "./img", "v1", "-o", "fifo", "--timeout", "300ms")),
    "a configuration FIFO without a writer": Blocked(
        ("fetch", "./img", "v1", "--config", "fifo", "--timeout", "300ms")
    ),
    "a configuration FIFO in a variable": Blocked(("resolve", "./img", "--timeout", "300ms"), {"DIST_CONFIG": "fifo"}),
}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_blob(write_layout(tmp_path / "img", {"v1": IMAGE}), LARGE)
    (tmp_path / "rootfs").mkdir()
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("case", BLOCKED.values(), ids=BLOCKED)
def test_a_command_that_is_blocked_ends_with_its_time_limit(case: Blocked) -> None:
    started = time.monotonic()
    with subprocess.Popen(
        dist_command(*case.args),
        env=dist_environment(case.environ),
        stdin=subprocess.PIPE,  # nothing is ever written to it
        stdout=subprocess.PIPE,  # and nothing read
        stderr=subprocess.PIPE,
    ) as process:
        try:
            code = process.wait(timeout=30)
        finally:
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert (code, said.count("\n")) == (6, 1)
    assert OVER in said
    assert time.monotonic() - started < 20


def code_on_silent_stdin(*args: str) -> int:
    """The exit code of `dist` whose standard input stays open without data."""
    with subprocess.Popen(
        dist_command(*args),
        env=dist_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            return process.wait(timeout=30)
        finally:
            process.kill()


def test_the_time_limit_of_the_configuration_ends_a_blocked_command_too(directory: Path) -> None:
    (directory / "config.toml").write_text('[fetch]\ntimeout = "300ms"\n')
    assert code_on_silent_stdin("fetch", "./img", "-", "--config", "config.toml") == 6


def test_an_output_file_does_not_appear_when_the_time_is_over(directory: Path) -> None:
    assert code_on_silent_stdin("fetch", "./img", "-", "-o", "out", "--timeout", "300ms") == 6
    assert [path.name for path in directory.iterdir() if "out" in path.name] == []


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, _device, Path.mkdir])
def test_what_is_no_file_under_the_name_of_a_digest_is_an_error_at_once(
    directory: Path, make: Callable[[Path], None]
) -> None:
    small: Blob = IMAGE.config
    (directory / "into").mkdir()
    make(directory / "into" / str(small.digest).replace(":", "-"))
    result = run_dist(["fetch", "./img", "-", "--into", "into"], stdin=f"{small.digest}\n".encode(), timeout_s=20)
    assert result.code == 9
    assert "is not a regular file: remove it, or give another directory" in result.stderr
