"""`dist serve` as a process: its one line, its exit codes, its signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.processes import ROOT, dist_command, dist_environment, run_dist, running, stop
from support.serving import Sample, ask, connect

from dist_tool.cli.serve import command, parse_listen
from dist_tool.errors import InvalidArgument
from dist_tool.service.http import RegistryServer, ServerLimits

ADDRESS = re.compile(rb"127\.0\.0\.1:[0-9]+\n")


@contextmanager
def served(*args: str, env: dict[str, str] | None = None, interrupts: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """Run `dist serve ARGS` on a free port; `interrupts` False: as a shell's background job, deaf to SIGINT."""
    argv = dist_command("serve", *args, "--listen", "127.0.0.1:0")
    if not interrupts:
        argv = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *argv]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dist_environment(env))
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process
    finally:
        stop(process)
        process.stdout.close()
        process.stderr.close()


def address_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert ADDRESS.fullmatch(line), line
    return line.decode().strip()


def end(process: subprocess.Popen[bytes], number: int) -> tuple[int, bytes, str]:
    """Signal a server; its exit code as a shell shows it, and what it wrote."""
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    code = process.returncode
    return (128 - code if code < 0 else code), stdout, stderr.decode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_prints_its_address_serves_and_ends_with_the_signal(sample: Sample, number: int, code: int) -> None:
    with served(str(sample.path), "--name", "demo") as process:
        answer = ask(address_of(process), "/v2/demo/manifests/v1")
        assert answer.body == sample.plain.root.data
        assert end(process, number) == (code, b"", "")


def test_the_default_name_is_the_directorys(sample: Sample) -> None:
    with served(str(sample.path) + "/") as process:
        assert ask(address_of(process), "/v2/sample/tags/list").json() == {"name": "sample", "tags": ["v1"]}


def test_a_background_job_of_a_shell_is_not_interrupted(sample: Sample) -> None:
    with served(str(sample.path), interrupts=False) as process:
        address = address_of(process)
        process.send_signal(signal.SIGINT)
        assert ask(address, "/v2/").status == 200
        assert end(process, signal.SIGTERM) == (143, b"", "")


def test_requests_are_logged_on_standard_error_when_wanted_and_harmlessly(sample: Sample) -> None:
    with served(str(sample.path), "--name", "demo", "-v") as process:
        address = address_of(process)
        ask(address, "/v2/demo/manifests/v1", headers={"Authorization": "Basic c2VjcmV0OnNlY3JldA=="})
        ask(address, "/v2/demo/manifests/x%1b%5b31m")
        code, stdout, stderr = end(process, signal.SIGTERM)
    assert (code, stdout) == (143, b"")
    assert stderr.splitlines() == ["dist: GET /v2/demo/manifests/v1 200", "dist: - - 400"]


def test_it_can_demand_tokens_and_a_password(sample: Sample) -> None:
    env = {"DIST_SERVE_PASSWORD": "hunter2"}
    with served(
        str(sample.path), "--name", "demo", "--token-auth", "--token-ttl", "7", "--user", "me", env=env
    ) as process:
        address = address_of(process)
        assert ask(address, "/v2/").headers["WWW-Authenticate"].startswith(f'Bearer realm="http://{address}/token"')
        assert ask(address, "/token").status == 401
        answer = ask(address, "/token", headers={"Authorization": "Basic bWU6aHVudGVyMg=="})
        assert answer.json()["expires_in"] == 7


def test_a_broken_index_is_told_while_it_serves_on(sample: Sample) -> None:
    with served(str(sample.path), "--name", "demo") as process:
        address = address_of(process)
        (sample.path / "index.json").write_text("{")
        assert ask(address, "/v2/demo/manifests/v1").status == 200
        _, _, stderr = end(process, signal.SIGTERM)
    assert stderr.startswith("dist: warning: cannot read index.json, serving its last valid content: ")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["{absent}"], 3),
        (["{file}"], 2),
        (["{empty}"], 2),
        (["{sample}", "--listen", "127.0.0.1"], 2),
        (["{sample}", "--listen", "nonsense:port"], 2),
        (["{sample}", "--listen", "no.such.host.invalid:0"], 2),
        (["{sample}", "--listen", "127.0.0.1:{busy}"], 9),
        (["{sample}", "--listen", "192.0.2.1:0"], 9),
        (["{sample}", "--name", "Upper"], 2),
        (["{sample}", "--token-ttl", "0"], 2),
        (["{sample}", "--user", "me"], 2),
        (["{sample}", "--tls-cert", "{file}"], 2),
        (["{sample}", "--tls-cert", "{file}", "--tls-key", "{file}"], 2),
        ([], 2),
    ],
)
def test_what_cannot_be_served_is_one_line_and_an_exit_code(
    sample: Sample, tmp_path: Path, address: str, args: list[str], code: int
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    places = {
        "absent": str(tmp_path / "absent"),
        "file": str(tmp_path / "file"),
        "empty": str(tmp_path / "empty"),
        "sample": str(sample.path),
        "busy": address.rpartition(":")[2],
    }
    result = run_dist(["serve", *(arg.format(**places) for arg in args)])
    assert (result.code, result.stdout) == (code, b"")
    assert result.stderr.startswith("dist: ")
    assert result.stderr.count("\n") == 1


def test_errors_can_be_json(tmp_path: Path) -> None:
    result = run_dist(["serve", str(tmp_path / "absent"), "--error-format", "json"])
    assert (result.code, json.loads(result.stderr)["code"]) == (3, "NotFound")


@pytest.mark.parametrize(
    ("args", "warned"),
    [([], "all clients that can reach 0.0.0.0:"), (["--user", "me"], "the password is sent to 0.0.0.0:")],
)
def test_serving_more_than_this_machine_is_warned_of(sample: Sample, args: list[str], warned: str) -> None:
    argv = dist_command("serve", str(sample.path), "--listen", "0.0.0.0:0", *args)
    env = dist_environment({"DIST_SERVE_PASSWORD": "x"})
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"0.0.0.0:")
        code, _, stderr = end(process, signal.SIGTERM)
    finally:
        stop(process)
    assert code == 143
    assert stderr.startswith(f"dist: warning: {warned}")
    assert stderr.count("\n") == 1


def test_with_few_files_left_the_longest_waiting_make_room(sample: Sample, tmp_path: Path) -> None:
    argv = [
        "sh",
        "-c",
        'ulimit -n 14; exec "$@"',
        "sh",
        *dist_command("serve", str(sample.path), "--listen", "127.0.0.1:0"),
    ]
    with running(argv, tmp_path / "out", lambda text: text.endswith("\n"), dist_environment()), ExitStack() as stack:
        address = (tmp_path / "out").read_text().strip()
        for _ in range(12):
            stack.enter_context(connect(address))
        assert [ask(address, "/v2/").status for _ in range(20)] == [200] * 20
    assert (tmp_path / "out").read_text() == f"{address}\n"


def test_a_full_disk_for_its_one_line_is_an_error(sample: Sample) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            dist_command("serve", str(sample.path), "--listen", "127.0.0.1:0"),
            stdout=full,
            stderr=subprocess.PIPE,
            env=dist_environment(),
            timeout=60,
            check=False,
        )
    assert done.returncode == 9
    assert done.stderr.count(b"\n") == 1


def test_the_password_is_not_among_the_arguments(sample: Sample) -> None:
    with served(str(sample.path), "--user", "me", env={"DIST_SERVE_PASSWORD": "hunter2"}) as process:
        address_of(process)
        assert b"hunter2" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_to_listen_on_is_read(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "5000", ":5000", "h", "h:", "h:x", "h:-1", "h:65536", "h:٣", "::1:80", "[]:1"]
)
def test_what_is_no_address_to_listen_on_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_listen(text)


def test_ipv6_addresses_are_served_in_brackets(sample: Sample) -> None:
    if not os.path.exists("/proc/net/if_inet6") or "lo" not in Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6 loopback")
    with RegistryServer(sample.path, host="::1") as server:
        assert server.address.startswith("[::1]:")
        assert server.is_local
        assert ask(server.address, "/v2/").status == 200


def test_the_documentation_has_every_option_and_the_limits_in_force() -> None:
    page = " ".join((ROOT / "docs" / "serve.md").read_text().split())
    for option in command.params:
        assert all(name in page for name in option.opts if name.startswith("-")), option.name
    limits = ServerLimits()
    for text in (
        f"must arrive within {limits.head_s:.0f} seconds, and its body within another {limits.head_s:.0f}",
        f"less than {limits.floor >> 10} KiB/s of a response over {limits.send_window_s:.0f} seconds",
        f"receives less than {limits.crowded_floor >> 10} KiB/s",
        f"closed after {limits.idle_s:.0f} seconds",
        f"at most {limits.connections} connections",
        f"limited to {limits.head_bytes >> 10} KiB, the body to {limits.body_bytes >> 10} KiB",
        f"pages of `n` (at most {limits.page})",
    ):
        assert text in page, text
