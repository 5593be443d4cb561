"""`dist fetch --store` between processes: nothing twice, nothing lost, nothing half."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.content import blob, image, random_bytes, write_blob, write_layout
from support.faults import content, cut
from support.processes import dist_command, dist_environment, require_program, run_dist
from support.server import FaultServer

from dist_tool.service.http import AccessLogEntry, RegistryServer
from dist_tool.store.disk import DiskStore

TAGS = {f"v{n}": image(f"store {n}", layers=[{f"f{n}": random_bytes(f"store {n}", 2000)}]) for n in range(10)}
IMAGE = image("pipeline", layers=[{f"f{n}": random_bytes(f"pipeline {n}", 2000)} for n in range(10)])
LARGE = blob("store large", 3 << 20)


@pytest.fixture
def entries() -> list[AccessLogEntry]:
    """What the registry was asked."""
    return []


@pytest.fixture
def locator(tmp_path: Path, entries: list[AccessLogEntry]) -> Iterator[str]:
    layout = write_layout(tmp_path / "img", {**TAGS, "latest": IMAGE})
    write_blob(layout, LARGE)
    with RegistryServer(layout, name="library/redis", observe=entries.append) as server:
        yield f"{server.address}/library/redis"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskStore:
    monkeypatch.setenv("DIST_STORE", str(tmp_path / "store"))
    return DiskStore(str(tmp_path / "store"))


def test_the_second_run_of_the_same_pipeline_downloads_nothing(
    locator: str, entries: list[AccessLogEntry], store: DiskStore, tmp_path: Path
) -> None:
    require_program("jq")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "dist"
    script.write_text(f'#!/bin/sh\nexec {" ".join(dist_command())} "$@"\n')
    script.chmod(0o755)
    pipeline = (
        f"dist fetch {locator} {IMAGE.manifest.digest} --store | jq -r '.layers[].digest'"
        f" | xargs -n1 -P10 dist fetch {locator} --store > /dev/null"
    )
    environment = dist_environment({"PATH": f"{script.parent}:{os.environ['PATH']}"})
    for expected in (len(IMAGE.layers) + 1, 0):
        entries.clear()
        subprocess.run(["sh", "-c", pipeline], env=environment, check=True)
        assert sum(entry.status == 200 for entry in entries) == expected
        assert expected or entries == []
    assert {info.digest for info in store.walk()} >= {layer.digest for layer in IMAGE.layers}


def test_a_tag_is_recorded_under_its_full_reference_and_costs_one_question_later(
    locator: str, entries: list[AccessLogEntry], store: DiskStore
) -> None:
    assert run_dist(["fetch", locator, "latest", "--store"]).stdout == IMAGE.manifest.data
    assert list(store.tags()) == [f"{locator}:latest"]
    entries.clear()
    assert run_dist(["fetch", locator, "latest", "--store"]).stdout == IMAGE.manifest.data
    assert [(entry.method, entry.status) for entry in entries] == [("HEAD", 200)]


def test_the_configuration_can_turn_the_store_on_and_a_flag_off_again(
    locator: str, store: DiskStore, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[fetch]\nstore = true\n")
    layer = IMAGE.layers[0]
    assert run_dist(["fetch", locator, str(layer.digest), "--config", str(config), "--no-store"]).stdout == layer.data
    assert store.size(layer.digest) is None
    assert run_dist(["fetch", locator, str(layer.digest), "--config", str(config)]).stdout == layer.data
    assert store.size(layer.digest) == len(layer.data)


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.torture)])
def test_ten_processes_that_fetch_ten_tags_leave_ten_references(
    locator: str, store: DiskStore, tmp_path: Path, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(rounds):
        place = tmp_path / f"store-{number}"
        monkeypatch.setenv("DIST_STORE", str(place))
        environment = dist_environment()
        processes = [
            subprocess.Popen(dist_command("fetch", locator, tag, "--store"), env=environment, stdout=subprocess.DEVNULL)
            for tag in TAGS
        ]
        assert [process.wait(timeout=60) for process in processes] == [0] * len(TAGS)
        index = json.loads((place / "index.json").read_text())
        names = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]}
        assert names == {f"{locator}:{tag}" for tag in TAGS}


def test_of_ten_processes_that_want_one_digest_one_downloads(
    locator: str, entries: list[AccessLogEntry], store: DiskStore
) -> None:
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda _: run_dist(["fetch", locator, str(LARGE.digest), "--store", "-q"]), range(10)))
    assert [result.stdout == LARGE.data and result.code == 0 for result in results] == [True] * 10
    assert sum("/blobs/" in entry.path for entry in entries) == 1


def test_a_killed_fetch_is_continued_by_the_next(server: FaultServer, store: DiskStore) -> None:
    path = f"/v2/app/blobs/{LARGE.digest}"
    half = 2 << 20

    def stall(exchange: object) -> None:
        exchange.head("200 OK", [("Content-Length", len(LARGE.data))])  # type: ignore[attr-defined]
        exchange.send(LARGE.data[:half])  # type: ignore[attr-defined]
        exchange.hang()  # type: ignore[attr-defined]

    server.script("GET", path, stall, content(LARGE.data))
    process = subprocess.Popen(
        dist_command("fetch", f"{server.host}/app", str(LARGE.digest), "--store"),
        env=dist_environment(),
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and sum(status.offset for status in store.statuses()) < half - (1 << 20):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = sum(status.offset for status in store.statuses())
    assert left > 0
    done = run_dist(["fetch", f"{server.host}/app", str(LARGE.digest), "--store"])
    assert done.stdout == LARGE.data
    assert server.requests()[-1].header("Range") == f"bytes={left}-"


def test_a_cut_fetch_is_exit_6_writes_nothing_and_is_continued(server: FaultServer, store: DiskStore) -> None:
    path = f"/v2/app/blobs/{LARGE.digest}"
    config = Path(os.environ["HOME"]) / "config.toml"
    config.write_text(f'[[remote]]\nprefix = "{server.host}"\nretry = {{ attempts = 1 }}\n')
    server.script("GET", path, cut(LARGE.data, 1_500_000), content(LARGE.data))
    args = ["fetch", f"{server.host}/app", str(LARGE.digest), "--store", "--config", str(config)]
    first = run_dist(args)
    assert (first.stdout, first.code) == (b"", 6)
    assert [status.offset for status in store.statuses()] == [1_500_000]
    assert run_dist(args).stdout == LARGE.data
    assert server.requests()[-1].header("Range") == "bytes=1500000-"
    assert list(store.statuses()) == []


@pytest.mark.parametrize("name", ["redis:7", "docker.io/library/redis:7", "v7"])
def test_name_of_a_layout_is_recorded_even_with_the_form_of_a_digest(
    name: str, store: DiskStore, tmp_path: Path
) -> None:
    layout = write_layout(tmp_path / "layout", {name: IMAGE})
    assert run_dist(["fetch", str(layout), name, "--store"]).stdout == IMAGE.manifest.data
    assert list(store.tags()) == [name]
    assert run_dist(["fetch", "store::", name]).stdout == IMAGE.manifest.data


def test_name_with_the_form_of_a_digest_is_fetched_from_a_layout_that_serves_a_name(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"redis:7": IMAGE})
    config = tmp_path / "config.toml"
    config.write_text(f'[[remote]]\nprefix = "x.test/a"\nkind = "layout"\nlocation = "{layout}"\n')
    fetched = run_dist(["fetch", "x.test/a", "redis:7", "--config", str(config)])
    assert (fetched.stdout, fetched.stderr) == (IMAGE.manifest.data, "")


def test_name_with_the_form_of_a_digest_does_not_pass_for_a_required_digest(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"redis:7": IMAGE})
    config = tmp_path / "config.toml"
    config.write_text(
        '[policy]\nrequire_digest = ["x.test"]\n'
        f'[[remote]]\nprefix = "x.test/a"\nkind = "layout"\nlocation = "{layout}"\n'
    )
    refused = run_dist(["fetch", "x.test/a", "redis:7", "--config", str(config)])
    assert (refused.stdout, refused.code) == (b"", 10)
    assert "requires a digest, not the tag 'redis:7'" in refused.stderr


def test_name_with_the_form_of_a_digest_is_fetched_from_a_mirror_that_is_a_layout(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"redis:7": IMAGE})
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[remote]]\nprefix = "x.test/a"\nkind = "layout"\nlocation = "{layout}"\n'
        '[[remote.mirror]]\nkind = "layout"\nlocation = "/nowhere"\n'
    )
    fetched = run_dist(["fetch", "x.test/a", "redis:7", "--config", str(config)])
    assert fetched.stdout == IMAGE.manifest.data, fetched.stderr
