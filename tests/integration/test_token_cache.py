"""`xargs -P10` over a registry that wants tokens: ten processes, one token exchange (behaviours C20, C21, W6)."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.content import image, random_bytes, write_layout
from support.fetching import docker_config
from support.invoked import said
from support.processes import dist_command, dist_environment, run_dist

from dist_tool.service.http import AccessLogEntry, RegistryServer

IMAGE = image("parallel", layers=[{f"file-{n}": random_bytes(f"parallel {n}", 2000)} for n in range(10)])
NAME = "team/app"


@pytest.fixture
def entries() -> list[AccessLogEntry]:
    """What the registry was asked."""
    return []


@pytest.fixture
def locator(tmp_path: Path, entries: list[AccessLogEntry]) -> Iterator[str]:
    layout = write_layout(tmp_path / "img", {"latest": IMAGE})
    with RegistryServer(layout, name=NAME, token_auth=True, observe=entries.append) as server:
        yield f"{server.address}/{NAME}"


def exchanges(entries: list[AccessLogEntry]) -> int:
    return sum(entry.path.startswith("/token") for entry in entries)


def fetch_in_parallel(locator: str, *options: str) -> None:
    """A process a layer, all started before any is waited for."""
    environment = dist_environment()
    processes = [
        subprocess.Popen(
            dist_command("fetch", locator, str(layer.digest), *options),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for layer in IMAGE.layers
    ]
    results = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(out, said(err), code) for (out, err), code in results] == [(layer.data, [], 0) for layer in IMAGE.layers]


def test_ten_cold_processes_make_one_exchange_and_ten_warm_ones_none(
    locator: str, entries: list[AccessLogEntry]
) -> None:
    fetch_in_parallel(locator)
    assert exchanges(entries) == 1
    entries.clear()
    fetch_in_parallel(locator)
    assert exchanges(entries) == 0
    assert sorted(entry.path for entry in entries) == sorted(f"/v2/{NAME}/blobs/{b.digest}" for b in IMAGE.layers)
    assert {entry.status for entry in entries} == {200}


def test_the_cache_is_private_and_holds_no_password(isolation: Path, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "img", {"latest": IMAGE})
    with RegistryServer(layout, name=NAME, token_auth=True, user="tester", password="correct horse") as server:
        (isolation / ".docker").mkdir()
        (isolation / ".docker" / "config.json").write_text(docker_config({server.address: "tester:correct horse"}))
        assert run_dist(["fetch", f"{server.address}/{NAME}", "latest"]).code == 0
    cache = isolation / ".cache" / "dist"
    kept = list(cache.rglob("*"))
    files = [path for path in kept if path.is_file()]
    assert files
    assert [path for path in (cache, *kept) if path.stat().st_mode & 0o077] == []
    for secret in (b"correct horse", b64encode(b"tester:correct horse")):
        assert [path for path in files if secret in path.read_bytes()] == []


@pytest.mark.parametrize("environ", [{"DIST_NO_TOKEN_CACHE": "1"}, {"HOME": "relative", "XDG_CACHE_HOME": "relative"}])
def test_without_a_cache_each_process_asks_for_itself(
    locator: str, entries: list[AccessLogEntry], isolation: Path, environ: dict[str, str]
) -> None:
    for count in (1, 2):
        assert run_dist(["fetch", locator, "latest"], environ).code == 0
        assert exchanges(entries) == count
    assert not (isolation / ".cache").exists()


def test_a_cache_that_cannot_be_written_costs_an_exchange_and_no_more(
    locator: str, entries: list[AccessLogEntry], isolation: Path
) -> None:
    (isolation / ".cache").write_text("not a directory")
    result = run_dist(["fetch", locator, "latest"])
    assert (result.code, result.stdout) == (0, IMAGE.manifest.data)
    assert exchanges(entries) == 1


def test_a_token_that_the_registry_no_longer_knows_is_renewed(tmp_path: Path, entries: list[AccessLogEntry]) -> None:
    """A registry that was restarted has another key."""
    layout = write_layout(tmp_path / "img", {"latest": IMAGE})
    with RegistryServer(layout, name=NAME, token_auth=True, observe=entries.append) as server:
        port = int(server.address.rpartition(":")[2])
        assert run_dist(["fetch", f"{server.address}/{NAME}", "latest"]).code == 0
    with RegistryServer(layout, port=port, name=NAME, token_auth=True, observe=entries.append) as server:
        for _ in range(2):
            result = run_dist(["fetch", f"{server.address}/{NAME}", "latest"])
            assert (result.code, result.stdout, result.stderr) == (0, IMAGE.manifest.data, "")
    assert exchanges(entries) == 2
