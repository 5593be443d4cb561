"""`dist fetch` as it is typed: where bytes go, what is said about them, and what never happens."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from support import faults
from support.content import blob, flip, image, write_blob, write_layout
from support.faults import TokenServer, blob_path, manifest_path
from support.invoked import Invoke, said
from support.processes import dist_command, dist_environment, require_program, run_dist
from support.server import FaultServer

from dist_tool.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from dist_tool.service.http import RegistryServer

IMAGE = image("fetch")
MANIFEST = IMAGE.manifest
LARGE = blob("large", (5 << 20) + 123)
SMALL = blob("small", 3000)
TEXT = b'{"schemaVersion":2,"manifests":[]}'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a layout `img`."""
    directory = tmp_path / "here"
    write_layout(directory / "img", {"v1": IMAGE, "latest": IMAGE})
    for content in (LARGE, SMALL):
        write_blob(directory / "img", content)
    monkeypatch.chdir(directory)
    return directory


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# Names that were meant as something else.


@pytest.mark.parametrize(
    "words",
    [["fetch", "img", "v1"], ["resolve", "img:v1"], ["unpack", "img:v1", "root"]],
    ids=lambda words: words[0],
)
def test_a_name_that_cannot_be_had_and_is_a_directory_here_may_have_been_meant_as_that(
    words: list[str], here: Path
) -> None:
    (here / "config.toml").write_text('[[remote]]\nprefix = "docker.io"\nkind = "layout"\nlocation = "nowhere"\n')
    result = run_dist([*words, "--config", "config.toml"])
    assert (result.code, result.stdout) == (3, b"")
    said = f"{here}/nowhere/library/img: no such directory: to use the local file, write ./img"
    assert result.stderr == f"dist: docker.io/library/img v1: {said}\n"


# The pipe.


@pytest.fixture
def names_from_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """docker.io/library is served from this machine, as README's reader would have it."""
    with RegistryServer(here / "img", name="library/redis", token_auth=True) as server:
        (here / "config.toml").write_text(
            f'[[remote]]\nprefix = "docker.io/library"\nlocation = "{server.address}/library"\nplain_http = true\n'
        )
        monkeypatch.setenv("DIST_CONFIG", str(here / "config.toml"))
        yield


def sh(script: str) -> bytes:
    """Run a script in which `dist` is this tree's; it must succeed and say nothing on stderr."""
    for program in ("jq", "shasum", "xargs"):
        require_program(program)
    Path("bin").mkdir(exist_ok=True)
    program = Path("bin/dist")
    program.write_text("#!/bin/sh\nexec " + " ".join(dist_command()) + ' "$@"\n')
    program.chmod(0o755)
    environment = dist_environment()
    environment["PATH"] = f"{Path('bin').resolve()}:{environment['PATH']}"
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, said(done.stderr)) == (0, [])
    return done.stdout


def test_a_manifest_by_its_tag(names_from_here: None) -> None:
    assert sh("dist fetch docker.io/library/redis latest mediatype:" + OCI_MANIFEST) == MANIFEST.data


def test_the_line_with_shasum_works_as_typed_its_stray_dash_included(names_from_here: None) -> None:
    line = "dist fetch docker.io/library/redis sha256:$(dist fetch docker.io/library/redis latest | shasum -a256)"
    assert sh("echo $(printf x | shasum -a256)").rstrip().endswith(b" -")
    assert sh(line) == MANIFEST.data


def test_every_layer_by_jq_and_xargs(names_from_here: None) -> None:
    line = (
        f"dist fetch docker.io/library/redis {MANIFEST.digest} | jq -r '.layers[].digest' "
        "| xargs -n1 -P10 dist fetch docker.io/library/redis > /dev/null"
    )
    assert sh(line) == b""


def test_a_large_object_goes_through_a_pipe(invoke: Invoke) -> None:
    assert run_dist(["fetch", "./img", str(LARGE.digest)]).stdout == LARGE.data


def test_a_pipe_that_somebody_made_non_blocking_gets_everything() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    process = subprocess.Popen(
        dist_command("fetch", "./img", str(LARGE.digest)), env=dist_environment(), stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == LARGE.data
    assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 0)


def test_a_wrong_large_object_is_never_complete(invoke: Invoke, here: Path) -> None:
    write_blob(here / "img", LARGE).write_bytes(flip(LARGE.data, 1))
    result = invoke("fetch", "./img", str(LARGE.digest))
    assert result.code == 5
    assert 0 < len(result.stdout) <= len(LARGE.data) - (1 << 20)


@pytest.mark.parametrize("options", [["--verify=before"], ["--verify", "before"], ["--store"]])
def test_verified_before_nothing_of_a_wrong_object_comes_out(invoke: Invoke, here: Path, options: list[str]) -> None:
    write_blob(here / "img", LARGE).write_bytes(flip(LARGE.data, 1))
    result = invoke("fetch", "./img", str(LARGE.digest), *options)
    assert (result.code, result.stdout) == (5, b"")


def test_verified_before_the_bytes_are_the_same(invoke: Invoke) -> None:
    for object_id, data in ((LARGE.digest, LARGE.data), ("v1", MANIFEST.data)):
        assert invoke("fetch", "./img", str(object_id), "--verify=before").stdout == data


def test_options_may_stand_anywhere(invoke: Invoke) -> None:
    for words in (
        ["fetch", "-v", "./img", "v1"],
        ["fetch", "./img", "-v", "v1", f"size:{len(MANIFEST.data)}"],
        ["fetch", "./img", "v1", "-", "x:y", "-v"],
        ["fetch", "-v", "--", "./img", "v1", "-"],
    ):
        assert invoke(*words).stdout == MANIFEST.data


# Files.


def test_an_output_file_is_there_with_the_usual_mode(invoke: Invoke, here: Path) -> None:
    before = os.umask(0o027)
    try:
        result = invoke("fetch", "./img", "v1", "-o", "out")
    finally:
        os.umask(before)
    assert (result.code, result.stdout, result.stderr) == (0, b"", "")
    assert (here / "out").read_bytes() == MANIFEST.data
    assert stat.S_IMODE((here / "out").stat().st_mode) == 0o640
    assert names(here) == ["img", "out"]


def test_a_file_that_is_replaced_keeps_its_mode_and_a_link_stays_one(invoke: Invoke, here: Path) -> None:
    (here / "real").write_text("old")
    (here / "real").chmod(0o751)
    (here / "link").symlink_to("real")
    assert invoke("fetch", "./img", "v1", "--output", "link").code == 0
    assert (here / "link").is_symlink()
    assert (here / "real").read_bytes() == MANIFEST.data
    assert stat.S_IMODE((here / "real").stat().st_mode) == 0o751


@pytest.mark.parametrize("name", ["out file", "ümlaut", "-x", "x" * 255], ids=["space", "umlaut", "dash", "long"])
def test_a_file_may_have_any_name(invoke: Invoke, here: Path, name: str) -> None:
    assert invoke("fetch", "./img", "v1", f"--output={name}").code == 0
    assert (here / name).read_bytes() == MANIFEST.data


def test_a_fetch_that_fails_midway_leaves_the_old_file_and_nothing_beside(invoke: Invoke, here: Path) -> None:
    (here / "out").write_text("old")
    write_blob(here / "img", LARGE).write_bytes(flip(LARGE.data, 8 * (len(LARGE.data) - 1)))
    assert invoke("fetch", "./img", str(LARGE.digest), "-o", "out").code == 5
    write_blob(here / "img", LARGE).write_bytes(LARGE.data[:-1])
    assert invoke("fetch", "./img", str(LARGE.digest), f"size:{len(LARGE.data)}", "-o", "out").code == 5
    assert (here / "out").read_text() == "old"
    assert names(here) == ["img", "out"]


def test_a_cut_for_good_leaves_the_old_file(invoke: Invoke, here: Path, server: FaultServer) -> None:
    (here / "out").write_text("old")
    path = blob_path("a/b", SMALL.digest)
    server.script("GET", path, faults.cut(SMALL.data, 1000), faults.registry_error(403, "DENIED", "enough"))
    result = invoke("fetch", f"{server.host}/a/b", str(SMALL.digest), "-o", "out")
    assert result.code == 4
    assert (here / "out").read_text() == "old"
    assert names(here) == ["img", "out"]


def test_a_dash_is_standard_output_and_no_file(invoke: Invoke, here: Path) -> None:
    assert invoke("fetch", "./img", str(SMALL.digest), "-o", "-").stdout == SMALL.data
    assert names(here) == ["img"]


def test_what_is_no_regular_file_is_written_directly(invoke: Invoke, here: Path) -> None:
    assert invoke("fetch", "./img", "v1", "-o", "/dev/null").code == 0
    os.mkfifo(here / "pipe")
    received: list[bytes] = []
    reader = Thread(target=lambda: received.append((here / "pipe").read_bytes()))
    reader.start()
    assert invoke("fetch", "./img", "v1", "-o", "pipe").code == 0
    reader.join(30)
    assert received == [MANIFEST.data]
    assert stat.S_ISFIFO((here / "pipe").stat().st_mode)


# Terminals.


def on_a_terminal(*args: str) -> tuple[bytes, str, int]:
    """Run with a terminal as standard output: what it showed, stderr and the exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        dist_command(*args), env=dist_environment(), stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # how a terminal says that nobody writes any more
            pass
        os.close(ours)
        assert process.stderr is not None
        return shown, process.stderr.read().decode(), process.wait(60)


def test_binary_data_is_not_shown_on_a_terminal_unless_forced() -> None:
    shown, said, code = on_a_terminal("fetch", "./img", str(IMAGE.layers[0].digest))
    assert (shown, code) == (b"", 2)
    assert "binary data is not written to a terminal: pipe it, or add -o FILE (-o - forces)" in said
    shown, said, code = on_a_terminal("fetch", "./img", str(IMAGE.layers[0].digest), "-o", "-")
    assert (said, code) == ("", 0)
    assert shown


def test_text_is_shown_on_a_terminal() -> None:
    assert on_a_terminal("fetch", "./img", "v1") == (MANIFEST.data, "", 0)


# What is said.


def test_verbose_tells_requests_and_the_digest_on_stderr_and_leaves_stdout_alone(
    invoke: Invoke, server: FaultServer
) -> None:
    tokens = TokenServer(server.url("/token"), "repository:a/b:pull", prefix="very-secret")
    server.script("GET", "/token", tokens.issue)
    target = server.url("/elsewhere?signature=very-secret")
    server.always("GET", manifest_path("a/b", "v1"), tokens.protect(faults.redirect(target)))
    server.script("GET", "/elsewhere", faults.content(MANIFEST.data, OCI_MANIFEST))
    result = invoke("fetch", f"{server.host}/a/b", "v1", "-v")
    assert result.stdout == MANIFEST.data
    assert f"> GET {server.url('/v2/a/b/manifests/v1')}\n" in result.stderr
    assert "signature=…" in result.stderr
    assert f"v1 is {MANIFEST.digest}, {len(MANIFEST.data)} bytes, {OCI_MANIFEST}\n" in result.stderr
    assert all(line.startswith("dist: ") for line in result.stderr.splitlines())
    assert "very-secret" not in result.stderr


def test_verbose_says_a_digest_once(invoke: Invoke) -> None:
    result = invoke("fetch", "./img", str(SMALL.digest), "-v")
    assert result.stdout == SMALL.data
    assert result.stderr == f"dist: {SMALL.digest}, {len(SMALL.data)} bytes, application/octet-stream\n"


def test_without_it_nothing_is_said_and_quiet_says_less_than_nothing(invoke: Invoke) -> None:
    assert invoke("fetch", "./img", "v1").stderr == ""
    wrong = f"mediatype:{OCI_INDEX}"
    assert invoke("fetch", "./img", "v1", wrong).stderr == (
        f"dist: warning: the media type is {OCI_MANIFEST}, but the hint is {OCI_INDEX}\n"
    )
    assert invoke("fetch", "./img", "v1", wrong, "-q").stderr == ""
    assert invoke("fetch", "./img", "v2", "-q").stderr.startswith("dist: ./img v2: no image")


def test_a_retry_is_told_while_it_waits(invoke: Invoke, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = faults.content(MANIFEST.data, OCI_MANIFEST)
    server.script("GET", manifest_path("a/b", "v1"), faults.registry_error(503, "UNAVAILABLE", "one moment"), answer)
    configured(monkeypatch, server.host, 'retry.base = "1ms"')
    result = invoke("fetch", f"{server.host}/a/b", "v1")
    assert result.stdout == MANIFEST.data
    assert "UNAVAILABLE: one moment" in result.stderr
    assert "trying again in 0.0 s (1/5)" in result.stderr


def configured(monkeypatch: pytest.MonkeyPatch, host: str, *lines: str) -> None:
    Path("config.toml").write_text("\n".join(["[[remote]]", f'prefix = "{host}"', *lines]))
    monkeypatch.setenv("DIST_CONFIG", "config.toml")


KEYS = ["code", "exit", "message", "hint", "locator", "object", "host", "status", "registry_errors", "attempts"]


@pytest.mark.parametrize("option", [["--error-format=json"], ["--error-format", "json"]])
def test_an_error_may_be_one_object_of_json(invoke: Invoke, server: FaultServer, option: list[str]) -> None:
    server.script("GET", manifest_path("a/b", "v1"), faults.registry_error(404, "MANIFEST_UNKNOWN", "no\x1b[31m"))
    result = invoke("fetch", f"{server.host}/a/b", "v1", *option)
    assert (result.code, result.stdout, result.stderr.count("\n")) == (3, b"", 1)
    error = json.loads(result.stderr)
    assert list(error) == KEYS
    assert error == {
        "code": "NotFound",
        "exit": 3,
        "message": error["message"],
        "hint": "",
        "locator": f"{server.host}/a/b",
        "object": "v1",
        "host": server.host,
        "status": 404,
        "registry_errors": [{"code": "MANIFEST_UNKNOWN", "message": "no\\x1b[31m"}],
        "attempts": error["attempts"],
    }
    assert "MANIFEST_UNKNOWN" in error["message"]
    assert len(error["attempts"]) == 1


@pytest.mark.parametrize(
    "words", [["fetch"], ["fetch", "./img", "v1", "size:x"], ["fetch", "./missing", "v1"], ["nosuch"]]
)
def test_every_error_has_the_same_keys_in_json(invoke: Invoke, words: list[str]) -> None:
    result = invoke(*words, "--error-format=json")
    error = json.loads(result.stderr)
    assert list(error) == KEYS
    assert error["exit"] == result.code
    assert (error["status"], error["registry_errors"]) == (None, [])


@pytest.mark.parametrize("variable", ["DIST_TIMEOUT", "CONTAINERD_FETCH_TIMEOUT", None])
def test_the_time_that_the_user_gives_is_the_limit_of_everything(
    server: FaultServer, variable: str | None, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = faults.cut(SMALL.data, 1000, ending="hang")
    server.script("GET", blob_path("a/b", SMALL.digest), half)
    words = ["fetch", f"{server.host}/a/b", str(SMALL.digest)]
    if variable is None:
        words += ["--timeout", "300ms"]
    else:
        monkeypatch.setenv(variable, "300ms")
    result = invoke(*words)
    assert (result.code, result.stdout) == (6, b"")
    assert "the time limit set by --timeout, DIST_TIMEOUT or the configuration was reached" in result.stderr


def test_the_option_beats_the_variable(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIST_TIMEOUT", "nonsense")
    assert invoke("fetch", "./img", "v1").code == 2
    monkeypatch.setenv("DIST_TIMEOUT", "1ms")
    assert invoke("fetch", "./img", "v1", "--timeout", "1h").stdout == MANIFEST.data
    assert invoke("fetch", "./img", "v1", "--timeout", "0").stdout == MANIFEST.data


@pytest.mark.parametrize("limit", [len(MANIFEST.data), 0])
def test_a_size_within_the_limit_is_fine(invoke: Invoke, limit: int) -> None:
    assert invoke("fetch", "./img", "v1", "--max-size", str(limit)).stdout == MANIFEST.data


def test_lenient_only_warns_of_a_header_that_lies(invoke: Invoke, server: FaultServer) -> None:
    lie = faults.content(MANIFEST.data, OCI_MANIFEST, digest=SMALL.digest)
    server.always("GET", manifest_path("a/b", "v1"), lie)
    assert invoke("fetch", f"{server.host}/a/b", "v1").code == 5
    result = invoke("fetch", f"{server.host}/a/b", "v1", "--lenient")
    assert (result.code, result.stdout) == (0, MANIFEST.data)
    assert result.stderr.startswith("dist: warning: ")


def test_names_beyond_ascii_survive_a_plain_locale(here: Path) -> None:
    (here / "img").rename(here / "ümg")
    for words, code in ((["fetch", "./ümg", "v1"], 0), (["fetch", "./ümg", "v2"], 3)):
        result = run_dist(words, {"LC_ALL": "C"})
        assert result.code == code, result.stderr
        assert "Traceback" not in result.stderr
