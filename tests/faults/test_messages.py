"""Every fault ends in one line that names object and reason, the right exit code, and nothing complete on stdout.

Over every kind that speaks HTTP, as far as the server is at fault; what is done with the output is the same for all.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from support import catalogue, faults
from support.content import blob
from support.faults import blob_path
from support.kinds import REGISTRY, REPOSITORY, Kind
from support.server import FaultServer

from dist_tool import cli

BLOB = blob("messages", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
NAMES = list(catalogue.failing(BLOB.data, ""))

Run = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Run]:
    """`dist` in this process: exit code, stdout and stderr."""

    def leave(code: int) -> NoReturn:
        raise SystemExit(code)

    def run(*words: str) -> tuple[int, bytes, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err.decode()

    monkeypatch.setattr(os, "_exit", leave)
    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def configure(server: FaultServer, tmp_path: Path) -> Callable[[Kind, int], str]:
    """Writes a configuration with short limits for the server as a place of a kind."""

    def write(kind: Kind, attempts: int) -> str:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[[remote]]\nprefix = "{server.host}"\nkind = "{kind.name}"\n'
            f'retry = {{ attempts = {attempts}, base = "1ms" }}\n'
            'timeout = { connect = "2s", headers = "250ms", idle = "250ms", floor_window = "250ms" }\n'
        )
        return str(config)

    return write


@pytest.fixture
def dist(server: FaultServer, configure: Callable[[Kind, int], str], command: Run) -> Run:
    """`dist fetch` of the blob from a registry, with short limits and two attempts."""
    words = ["fetch", REGISTRY.at(server), str(BLOB.digest), "--config", configure(REGISTRY, 2)]
    return lambda *options: command(*words, *options)


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_one_line_and_an_exit_code(
    kind: Kind, server: FaultServer, configure: Callable[[Kind, int], str], command: Run, name: str
) -> None:
    fault = catalogue.failing(BLOB.data, server.host)[name]
    server.always("GET", PATH, fault.step)
    _lead_to_nothing(server)
    place = kind.at(server)
    code, out, err = command("fetch", "-q", place, str(BLOB.digest), "--config", configure(kind, fault.attempts))
    assert code in fault.codes
    assert out == b""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert err.startswith(f"dist: {place} {BLOB.digest}: ")
    reason = err.removeprefix(f"dist: {place} {BLOB.digest}: ")
    assert len(reason) > 10
    assert "internal error" not in reason
    assert "Traceback" not in reason


def _lead_to_nothing(server: FaultServer) -> None:
    """What a client may ask for on its way: manifests with that digest, a challenge at the root."""
    for method, path in (("GET", f"/v2/{REPOSITORY}/manifests/{BLOB.digest}"), ("GET", "/v2/")):
        server.always(method, path, faults.status(404))


def test_there_are_as_many_faults_as_promised() -> None:
    """docs/security.md 5: at least 60."""
    assert len(NAMES) >= 60


def test_the_same_command_succeeds_where_there_is_no_fault(server: FaultServer, dist: Run) -> None:
    server.script("GET", PATH, faults.content(BLOB.data))
    assert dist("-q") == (0, BLOB.data, "")


@pytest.mark.parametrize("name", ["a flipped bit", "status 404", "silence", "DENIED", "a redirect to link-local"])
def test_an_error_as_json_is_one_object_with_the_same_code(server: FaultServer, dist: Run, name: str) -> None:
    fault = catalogue.failing(BLOB.data, server.host)[name]
    server.always("GET", PATH, fault.step)
    _lead_to_nothing(server)
    code, out, err = dist("-q", "--error-format", "json")
    value = json.loads(err)
    assert (value["exit"], out) == (code, b"")
    assert code in fault.codes
    assert (value["locator"], value["object"]) == (f"{server.host}/{REPOSITORY}", str(BLOB.digest))
    assert value["message"]


@pytest.mark.parametrize("name", ["a flipped bit", "a cut at 2500, length", "another object"])
def test_a_file_does_not_appear_where_the_object_is_wrong(
    server: FaultServer, dist: Run, tmp_path: Path, name: str
) -> None:
    server.always("GET", PATH, catalogue.failing(BLOB.data, server.host)[name].step)
    directory = tmp_path / "out"
    directory.mkdir()
    code, out, _ = dist("-q", "-o", str(directory / "file"))
    assert code in (5, 6)
    assert out == b""
    assert list(directory.iterdir()) == []


def test_a_file_that_was_there_stays_as_it_was(server: FaultServer, dist: Run, tmp_path: Path) -> None:
    server.always("GET", PATH, catalogue.failing(BLOB.data, server.host)["a flipped bit"].step)
    file = tmp_path / "file"
    file.write_bytes(b"before")
    assert dist("-q", "-o", str(file))[0] == 5
    assert file.read_bytes() == b"before"


@pytest.mark.parametrize(("mode", "least"), [("stream", 4 << 20), ("before", 0)])
def test_a_large_wrong_object_is_incomplete_and_with_verify_before_not_begun(
    server: FaultServer, command: Run, mode: str, least: int
) -> None:
    large = blob("large", 6 << 20)
    server.always("GET", blob_path(REPOSITORY, large.digest), faults.flipped(large.data, 1))
    place = f"{server.host}/{REPOSITORY}"
    code, out, _ = command("fetch", "-q", place, str(large.digest), "--verify", mode)
    assert code == 5
    assert least <= len(out) <= (5 << 20 if least else 0)
