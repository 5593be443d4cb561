"""Running credential helpers: their place, environment, time, output and children; helpers are real programs."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from dist_tool.auth import credential_helper
from dist_tool.auth.credential_file import Credentials
from dist_tool.auth.credential_helper import HelperRequest, ask, erase, store
from dist_tool.errors import DeadlineExceeded, InvalidArgument, Unauthenticated
from dist_tool.run import Run

QUESTION = HelperRequest("test", "registry.test", "config.json")
ANSWER = 'echo \'{"Username": "me", "Secret": "p"}\''
ME = Credentials("me", "p", source="docker-credential-test (config.json)")


def install(directory: Path, body: str, name: str = "test") -> dict[str, str]:
    """Put a helper into a directory; returns an environment whose PATH begins with that."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(directory)}


def soon(condition: object, timeout_s: float = 5.0) -> bool:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def is_gone(pid: int) -> bool:
    """Whether a process has ended: a child whose parent was killed may stay as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("entry", ["", ".", "bin", "./bin", ".."])
def test_an_entry_of_path_that_is_not_absolute_is_an_error(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    install(Path(entry or "."), f"touch {tmp_path}/was-run")
    environ = {"PATH": f"/nonexistent:{entry}:/usr/bin:/bin", "HOME": str(tmp_path)}
    with pytest.raises(InvalidArgument, match=r"docker-credential-test is not run: .* entry .*PATH") as caught:
        ask(QUESTION, environ)
    assert "absolute path" in caught.value.hint
    assert not (tmp_path / "was-run").exists()


def test_an_absolute_entry_before_the_working_directory_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install(tmp_path, "exit 1")
    environ = install(tmp_path / "bin", ANSWER)
    assert ask(QUESTION, {**environ, "PATH": f"{tmp_path}/bin::."}) == ME


def test_variables_of_dist_and_other_registries_credentials_are_not_inherited(tmp_path: Path) -> None:
    environ = install(tmp_path, f"env > {tmp_path}/seen; {ANSWER}")
    ask(QUESTION, {**environ, "DIST_AUTH_CONFIG": "x", "DIST_X": "x", "DOCKER_AUTH_CONFIG": "x", "AWS_PROFILE": "p"})
    names = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert {"AWS_PROFILE", "HOME", "PATH"} <= names
    assert not {name for name in names if name.startswith("DIST_") or name == "DOCKER_AUTH_CONFIG"}


def test_an_endless_answer_ends_the_helper(tmp_path: Path) -> None:
    environ = install(tmp_path, f"echo $$ > {tmp_path}/pid; exec yes")
    began = time.monotonic()
    with pytest.raises(Unauthenticated, match="returned more than 65536 bytes"):
        ask(QUESTION, environ)
    assert time.monotonic() - began < 10
    assert soon(lambda: is_gone(int((tmp_path / "pid").read_text())))


def test_a_flood_of_errors_is_cut_and_does_not_hide_the_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    environ = install(tmp_path, f"yes | head -c 1000000 >&2; {ANSWER}")
    assert ask(QUESTION, environ) == ME
    assert capfd.readouterr().err == "y\n" * 32768


def test_a_helper_that_runs_out_of_time_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_helper, "_TIMEOUT_S", 0.5)
    environ = install(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(Unauthenticated, match="timed out after"):
        ask(QUESTION, environ)
    assert soon(lambda: is_gone(int((tmp_path / "child").read_text())))


def test_a_child_that_holds_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    environ = install(tmp_path, f"sleep 20 & echo $! > {tmp_path}/child; {ANSWER}")
    began = time.monotonic()
    assert ask(QUESTION, environ) == ME
    assert time.monotonic() - began < 10
    os.kill(int((tmp_path / "child").read_text()), 9)


@pytest.mark.parametrize("action", ["get", "store", "erase"])
def test_the_deadline_of_the_command_ends_a_helper(action: str, tmp_path: Path) -> None:
    environ = install(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    deadline = time.monotonic() + 0.5
    limited = Run(deadline=deadline)
    run = {
        "get": lambda: ask(QUESTION, environ, limited),
        "store": lambda: store(QUESTION, ME, environ, limited),
        "erase": lambda: erase(QUESTION, environ, limited),
    }[action]
    with pytest.raises(DeadlineExceeded):
        run()
    assert time.monotonic() - deadline < 10
    assert soon(lambda: is_gone(int((tmp_path / "child").read_text())))


def test_an_answer_that_the_deadline_cut_off_is_asked_for_again(tmp_path: Path) -> None:
    environ = install(tmp_path, f"[ -e {tmp_path}/again ] || exec sleep 60; {ANSWER}")
    with pytest.raises(DeadlineExceeded):
        ask(QUESTION, environ, Run(deadline=time.monotonic() + 0.2))
    (tmp_path / "again").touch()
    assert ask(QUESTION, environ) == ME


def test_the_deadline_holds_while_another_thread_runs_the_helper(tmp_path: Path) -> None:
    environ = install(tmp_path, f"touch {tmp_path}/began; while [ ! -e {tmp_path}/end ]; do sleep 0.05; done; {ANSWER}")
    other = threading.Thread(target=ask, args=(QUESTION, environ))
    other.start()
    try:
        assert soon((tmp_path / "began").exists)
        with pytest.raises(DeadlineExceeded):
            ask(QUESTION, environ, Run(deadline=time.monotonic() + 0.1))
    finally:
        (tmp_path / "end").touch()
        other.join()
    assert ask(QUESTION, environ) == ME


def test_the_answer_of_a_helper_that_does_not_read_its_input_counts(tmp_path: Path) -> None:
    long = QUESTION._replace(server="x" * 200_000)
    assert ask(long, install(tmp_path, f"exec <&-; {ANSWER}")) == ME


@pytest.mark.parametrize("field", ["Username", "Secret"])
def test_a_lone_surrogate_in_an_answer_is_an_error(field: str, tmp_path: Path) -> None:
    answer = '{"Username": "me", "Secret": "p"}'.replace(f'"{field}": "', f'"{field}": "\\ud800')
    with pytest.raises(Unauthenticated, match="lone surrogate"):
        ask(QUESTION, install(tmp_path, f"printf '%s' '{answer}'"))


def test_a_password_that_is_not_utf_8_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        store(QUESTION, Credentials("me", "p\udcff"), install(tmp_path, "exit 0"))
