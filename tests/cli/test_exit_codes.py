"""Every exit code by a situation that is real, in a process of its own (docs/exit-codes.md)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import faults
from support.content import blob, flip, image, write_blob, write_layout
from support.plugins import install
from support.processes import Result, dist_command, dist_environment, run_dist
from support.server import FaultServer, closed_port

from dist_tool.service.http import RegistryServer

IMAGE = image("exit codes")
BIG = blob("big", 1 << 20)
ROTTEN = blob("rotten", 5000)
ONCE = "retry.attempts = 1\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a layout `img`, one of whose blobs is rotten."""
    directory = tmp_path / "here"
    write_layout(directory / "img", {"v1": IMAGE})
    write_blob(directory / "img", BIG)
    write_blob(directory / "img", ROTTEN).write_bytes(flip(ROTTEN.data, 100))
    monkeypatch.chdir(directory)
    return directory


def configured(monkeypatch: pytest.MonkeyPatch, host: str, *lines: str) -> None:
    """A configuration of this one remote."""
    Path("config.toml").write_text("\n".join(["[[remote]]", f'prefix = "{host}"', *lines]))
    monkeypatch.setenv("DIST_CONFIG", "config.toml")


def fails(result: Result, code: int, said: str) -> None:
    assert (result.code, result.stdout) == (code, b""), result.stderr
    assert said in result.stderr
    assert result.stderr.startswith("dist: ")
    assert result.stderr.count("\n") == 1


def test_0_the_bytes_are_what_was_asked_for() -> None:
    assert run_dist(["fetch", "./img", str(BIG.digest)]) == Result(BIG.data, "", 0)


def test_0_also_for_nothing_at_all(here: Path) -> None:
    empty = blob("empty", 0)
    write_blob(here / "img", empty)
    assert run_dist(["fetch", "./img", str(empty.digest)]) == Result(b"", "", 0)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind `buggy`."""
    module = "def fetch(object_id, hints):\n    raise ValueError('a bug\\nof the plugin')\n"
    install(tmp_path / "site", "buggy_plugin", module, {"buggy": "fetch"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def _environment() -> dict[str, str]:
    """PYTHONPATH as the test has it, with this tree behind."""
    environment = dist_environment()
    return {**environment, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{environment['PYTHONPATH']}"}


def test_1_a_bug_is_one_line_and_a_traceback_only_where_it_is_asked_for(plugin: None) -> None:
    environment = {"PYTHONPATH": _environment()["PYTHONPATH"]}
    result = run_dist(["fetch", "buggy::x", str(BIG.digest)], environment)
    fails(result, 1, "internal error: ValueError: a bug\\nof the plugin: run again with --debug")
    result = run_dist(["fetch", "buggy::x", str(BIG.digest), "--debug"], environment)
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "buggy_plugin.py" in result.stderr


def test_2_usage() -> None:
    fails(run_dist(["fetch", "./img", "v1", "size:x"]), 2, "hint size:")


def test_3_not_found() -> None:
    fails(run_dist(["fetch", "./img", "v2"]), 3, "no image is named 'v2'")


def test_3_not_found_at_a_registry(here: Path) -> None:
    with RegistryServer(here / "img", name="a/b") as server:
        fails(run_dist(["fetch", f"{server.address}/a/b", "v2"]), 3, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("token_auth", [False, True])
def test_4_authentication(here: Path, token_auth: bool) -> None:
    with RegistryServer(here / "img", name="a/b", user="me", password="secret", token_auth=token_auth) as server:
        result = run_dist(["fetch", f"{server.address}/a/b", "v1"])
        fails(result, 4, "no credentials" if token_auth else "user and password are required")
        assert "secret" not in result.stderr


def test_5_verification_failed() -> None:
    fails(run_dist(["fetch", "./img", str(ROTTEN.digest)]), 5, f"expected {ROTTEN.digest}, got sha256:")


def test_6_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    host = f"127.0.0.1:{closed_port()}"
    configured(monkeypatch, host, ONCE)
    fails(run_dist(["fetch", f"{host}/a/b", "v1"]), 6, f"{host}: connection refused")


def test_6_the_time_is_over(server: FaultServer) -> None:
    server.script("GET", "/v2/a/b/manifests/v1", faults.silent)
    result = run_dist(["fetch", f"{server.host}/a/b", "v1", "--timeout", "3s"])
    fails(result, 6, "the time limit set by --timeout, DIST_TIMEOUT or the configuration was reached")


def test_7_the_remote_failed(server: FaultServer) -> None:
    server.script("GET", "/v2/a/b/manifests/v1", faults.registry_error(501, "UNKNOWN", "not today"))
    fails(run_dist(["fetch", f"{server.host}/a/b", "v1"]), 7, "UNKNOWN: not today")


def test_8_unsupported() -> None:
    fails(run_dist(["fetch", "nosuch::x", "v1"]), 8, "there is no remote of kind 'nosuch'")


def test_10_refused_by_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, "registry.invalid", "blocked = true")
    fails(run_dist(["fetch", "registry.invalid/a/b", "v1"]), 10, "is blocked: by config.toml:1")


def test_a_traceback_with_debug_and_the_same_code() -> None:
    result = run_dist(["fetch", "./img", "v2", "--debug"])
    assert result.code == 3
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("dist: ./img v2: no image is named")


# Output that fails.


def shell(script: str, **environ: str) -> Result:
    """Run `sh -c SCRIPT`, where `dist` is this tree's."""
    function = f'dist() {{ {" ".join(dist_command())} "$@"; }}; '
    done = subprocess.run(
        ["sh", "-c", function + script],
        env=dist_environment(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Result(done.stdout, done.stderr.decode(), done.returncode)


@pytest.mark.parametrize(
    "command",
    ["fetch ./img v1", f"fetch ./img {BIG.digest}", "fetch ./img v1 -o /dev/full", "resolve ./img:v1", "remotes"],
)
def test_9_a_full_disk(command: str) -> None:
    fails(shell(f"dist {command} > /dev/full"), 9, "No space left on device")


@pytest.mark.parametrize("option", ["--help", "--version", "fetch --help"])
def test_9_a_full_disk_for_what_click_prints(option: str) -> None:
    fails(shell(f"dist {option} > /dev/full"), 9, "No space left on device")


@pytest.mark.parametrize("command", ["fetch ./img v1", "resolve ./img:v1", "--version"])
def test_9_standard_output_that_is_closed(command: str) -> None:
    result = shell(f"dist {command} >&-")
    assert (result.code, result.stdout) == (9, b"")
    assert result.stderr.startswith("dist: ")


@pytest.mark.parametrize(
    "command",
    [
        "fetch ./img --stdin",
        "apply target",
        "content ingest nothing",
        "content rm -",
        "content ls -",
        "login registry.invalid -u me --password-stdin",
    ],
)
def test_9_standard_input_that_is_closed_is_not_an_empty_one(command: str) -> None:
    fails(shell(f"dist {command} <&-"), 9, "standard input: Bad file descriptor")


@pytest.mark.parametrize("command", ["fetch ./img v1 2>&-", "fetch ./img v1 <&-", "fetch ./img v1 2>/dev/full"])
def test_0_other_streams_may_be_closed(command: str) -> None:
    assert shell(f"dist {command}") == Result(IMAGE.manifest.data, "", 0)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_an_error_that_nobody_can_read_keeps_its_code(redirection: str) -> None:
    assert shell(f"dist fetch ./img v2 {redirection}") == Result(b"", "", 3)


@pytest.mark.parametrize("option", ["", "--verify=before", "--store"])
def test_141_a_reader_that_left_in_a_pipeline_and_not_a_word_about_it(option: str) -> None:
    script = f"{{ dist fetch ./img {BIG.digest} {option} 2> errors; echo $? > code; }} | head -c1; cat code errors"
    assert shell(script) == Result(BIG.data[:1] + b"141\n", "", 0)


@pytest.mark.parametrize("command", ["fetch ./img v1", "resolve ./img:v1", "remotes", "--help", "fetch --help"])
def test_141_a_reader_that_was_never_there(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        dist_command(*command.split()), env=dist_environment(), stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == -signal.SIGPIPE  # what a shell tells as 141


# Signals.


@pytest.fixture
def waiting(server: FaultServer) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `dist fetch` on a server that sends half of an object and then nothing."""
    processes: list[subprocess.Popen[bytes]] = []
    half = faults.cut(BIG.data, len(BIG.data) // 2, ending="hang")

    def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
        server.script("GET", f"/v2/a/b/blobs/{BIG.digest}", half)
        process = subprocess.Popen(
            dist_command("fetch", f"{server.host}/a/b", str(BIG.digest), *words),
            env=dist_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        processes.append(process)
        deadline = time.monotonic() + 30
        while server.body_bytes < len(BIG.data) // 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.body_bytes
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_129_130_and_143_a_signal_ends_it_as_a_signal_does(
    waiting: Callable[..., subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    process = waiting()
    process.send_signal(number)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == -number  # what a shell tells as 128 + number


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_temporary_file_and_the_old_one(
    waiting: Callable[..., subprocess.Popen[bytes]], number: signal.Signals, here: Path
) -> None:
    (here / "out").write_text("old")
    process = waiting("-o", "out")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert sorted(path.name for path in here.iterdir()) == ["img", "out"]
    assert (here / "out").read_text() == "old"


def test_5_a_limit_names_who_went_over_it() -> None:
    with RegistryServer("img", name="app") as server:
        result = run_dist(["fetch", f"{server.address}/app", "v1", "--max-size", "10"])
    fails(result, 5, "app v1: the remote: more than the limit of 10 bytes: see --max-size")


def test_what_nohup_ignores_stays_ignored(waiting: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = waiting(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    (ignored,) = re.findall(r"^SigIgn:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert int(ignored, 16) & 1 << signal.SIGHUP - 1


def test_a_shell_sees_128_and_the_signals_number() -> None:
    kills_itself = f"{' '.join(dist_command())} serve ./img --listen 127.0.0.1:0 > ready & pid=$!; "
    waits = "while [ ! -s ready ]; do sleep 0.05; done; "
    assert shell(f"{kills_itself}{waits}kill -TERM $pid; wait $pid").code == 143


def test_255_is_never_used_xargs_would_stop_on_it(here: Path) -> None:
    (here / "objects").write_text(f"nosuch\n{ROTTEN.digest}\nv1\n")
    result = shell("xargs -n1 " + " ".join(dist_command("fetch", "./img")) + " < objects")
    assert result.code == 123
    assert result.stdout == IMAGE.manifest.data
    assert len(result.stderr.splitlines()) == 2
