"""Each fault ends in one line that names object and reason, an exit code, no output and no secret (docs/security.md 5).

Over each kind that speaks HTTP, with the credentials of that kind. Tests of the output file use a registry only.
"""

from __future__ import annotations

import json
import os
import signal
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from support import catalogue, faults
from support.content import blob
from support.faults import blob_path
from support.kinds import PASSWORD, REGISTRY, REPOSITORY, TOKEN, Kind, login
from support.server import FaultServer, Step

from dist_tool import cli
from dist_tool.cli._errors import write_error
from dist_tool.errors import DistError

BLOB = blob("messages", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
NAMES = list(catalogue.failing(BLOB.data, ""))
HEADER = "tenant-s3cret"
SECRETS = (PASSWORD, TOKEN, HEADER, b64encode(f"me:{PASSWORD}".encode()).decode())

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
def errors(monkeypatch: pytest.MonkeyPatch) -> list[DistError]:
    """The errors that the command writes."""
    written: list[DistError] = []

    def write(error: DistError, *, as_json: bool) -> None:
        written.append(error)
        write_error(error, as_json=as_json)

    monkeypatch.setattr(cli, "write_error", write)
    return written


@pytest.fixture
def configure(server: FaultServer, tmp_path: Path) -> Callable[[Kind, int], str]:
    """Writes a configuration with short limits for the server as a place of a kind."""

    def write(kind: Kind, attempts: int) -> str:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[[remote]]\nprefix = "{server.host}"\nkind = "{kind.name}"\nheader = {{ x-tenant = "{HEADER}" }}\n'
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
def test_a_fault_ends_in_one_line_and_an_exit_code_without_secrets(
    kind: Kind,
    server: FaultServer,
    configure: Callable[[Kind, int], str],
    command: Run,
    errors: list[DistError],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """With --verbose, so that the notices of all requests are checked for secrets too."""
    for variable, value in login(server.host).environ.items():
        monkeypatch.setenv(variable, value)
    fault = catalogue.failing(BLOB.data, server.host)[name]
    server.always("GET", PATH, _after_a_proof(kind, server, fault.step))
    _lead_to_nothing(server)
    place = kind.at(server)
    code, out, err = command("fetch", "-v", place, str(BLOB.digest), "--config", configure(kind, fault.attempts))
    assert code in fault.codes
    assert out == b""
    *notices, line = err.removesuffix("\n").split("\n")
    assert line.isprintable()
    assert line.startswith(f"dist: {place} {BLOB.digest}: ")
    reason = line.removeprefix(f"dist: {place} {BLOB.digest}: ")
    assert len(reason) > 10
    assert "internal error" not in reason
    assert "Traceback" not in reason
    assert [notice for notice in notices if not notice.startswith("dist: ") or not notice.isprintable()] == []
    assert _proven(server)
    (error,) = errors
    shown = "\n".join([err, repr(error), *error.attempts, *map(str, error.registry_errors)])
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.parametrize(
    "name", ["a flipped bit", "status 404", "silence", "DENIED", "429 for a day", "an endless error"]
)
def test_a_quiet_fault_is_exactly_one_line(server: FaultServer, dist: Run, name: str) -> None:
    server.always("GET", PATH, catalogue.failing(BLOB.data, server.host)[name].step)
    _lead_to_nothing(server)
    _, _, err = dist("-q")
    assert err.startswith(f"dist: {REGISTRY.at(server)} {BLOB.digest}: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1


def _proven(server: FaultServer) -> bool:
    """Whether the client has sent its credentials."""
    return any(request.header("authorization") for request in server.requests("GET", PATH))


def _after_a_proof(kind: Kind, server: FaultServer, step: Step) -> Step:
    """`step` from the first request with credentials on. A redirect of S3 is followed without them, in a circle too."""
    locked = kind.lock(server, step)
    return lambda exchange: (step if _proven(server) else locked)(exchange)


def _lead_to_nothing(server: FaultServer) -> None:
    """What a client may ask for on its way: manifests with that digest, a challenge at the root."""
    for method, path in (("GET", f"/v2/{REPOSITORY}/manifests/{BLOB.digest}"), ("GET", "/v2/")):
        server.always(method, path, faults.status(404))


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
