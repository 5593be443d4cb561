"""`dist fetch --stdin`: deliveries, failures, a coprocess, and as many objects as wanted in bounded memory."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.content import blob, image, random_bytes, write_blob, write_layout
from support.faults import content, cut
from support.processes import dist_command, dist_environment, run_dist
from support.rusage import cost_of
from support.server import FaultServer

from dist_tool.service.http import AccessLogEntry, RegistryServer

IMAGE = image("many", layers=[{f"f{n}": random_bytes(f"many {n}", 3000 + n)} for n in range(12)])
LARGE = blob("many large", 6 << 20)
LINES = "".join(f"{layer.digest}\n" for layer in IMAGE.layers).encode()
ALL = b"".join(layer.data for layer in IMAGE.layers)
ABSENT = "sha256:" + "0" * 64


@pytest.fixture
def entries() -> list[AccessLogEntry]:
    """What the registry was asked."""
    return []


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = write_layout(tmp_path / "img", {"latest": IMAGE})
    write_blob(path, LARGE)
    return path


@pytest.fixture
def locator(layout: Path, entries: list[AccessLogEntry]) -> Iterator[str]:
    with RegistryServer(layout, name="app", token_auth=True, observe=entries.append) as server:
        yield f"{server.address}/app"


def test_objects_are_concatenated_in_the_order_of_the_lines(locator: str) -> None:
    done = run_dist(["fetch", locator, "--stdin", "-j8"], stdin=LINES)
    assert (done.stdout, done.stderr, done.code) == (ALL, "", 0)


def test_a_dash_for_the_object_and_hints_on_the_lines_work_too(locator: str) -> None:
    lines = "".join(f"{layer.digest} size:{len(layer.data)} type:layer -\n\n" for layer in IMAGE.layers)
    assert run_dist(["fetch", locator, "-"], stdin=lines.encode()).stdout == ALL


def test_lines_may_end_with_nul_and_the_last_need_not_end(locator: str) -> None:
    assert run_dist(["fetch", locator, "-", "-0"], stdin=LINES.replace(b"\n", b"\0")[:-1]).stdout == ALL


@pytest.mark.parametrize(
    ("args", "separator", "said"),
    [
        ([], " ", "is a second object, not a hint: give one OBJECT"),
        (["-0"], " ", "is a second object, not a hint: give one OBJECT"),
        (["-0"], "\n", "the NUL-terminated record holds several lines: omit -0 to read lines"),
        (["-0"], "\nsize:", "the NUL-terminated record holds several lines"),
    ],
    ids=["on one line", "in one record", "in one record, as lines", "in one record, as a hint"],
)
def test_a_second_object_in_a_line_is_an_error_and_not_dropped(
    locator: str, args: list[str], separator: str, said: str
) -> None:
    first, second = IMAGE.layers[:2]
    line = f"{first.digest}{separator}{second.digest}".encode()
    done = run_dist(["fetch", locator, "--stdin", *args], stdin=line)
    assert (done.stdout, done.code) == (b"", 2)
    assert f"{first.digest} (line 1)" in done.stderr
    assert said in done.stderr


def test_one_process_makes_one_token_exchange_and_one_request_an_object(
    locator: str, entries: list[AccessLogEntry]
) -> None:
    run_dist(["fetch", locator, "-", "-j8"], stdin=LINES)
    paths = [entry.path for entry in entries]
    assert sum(path.startswith("/token") for path in paths) == 1
    assert sum(entry.status == 200 and "/blobs/" in entry.path for entry in entries) == len(IMAGE.layers)


def test_frames_name_digest_type_and_size_and_a_failure_is_a_line(locator: str) -> None:
    layer = IMAGE.layers[0]
    lines = f"{layer.digest}\n{ABSENT}\nlatest\n"
    done = run_dist(["fetch", locator, "-", "--frame"], stdin=lines.encode())
    manifest = IMAGE.manifest
    assert done.stdout == (
        f"{layer.digest} application/octet-stream {len(layer.data)}\n".encode()
        + layer.data
        + f"\n{ABSENT} error 3\n{manifest.digest} {manifest.media_type} {len(manifest.data)}\n".encode()
        + manifest.data
        + b"\n"
    )
    assert done.code == 3


@pytest.mark.parametrize(
    "declared",
    ["text/plain 4 x", "text/plain\t4", "text/plain\r\n 4", "error", "text/pl\u00e4in", "", "a/" + "b" * 200],
)
def test_a_content_type_cannot_forge_a_frame_header(server: FaultServer, declared: str) -> None:
    object_a = blob("frame", 40)
    server.always("GET", f"/v2/app/blobs/{object_a.digest}", content(object_a.data, declared))
    done = run_dist(["fetch", f"{server.host}/app", "-", "--frame"], stdin=f"{object_a.digest}\n".encode())
    header = f"{object_a.digest} application/octet-stream {len(object_a.data)}\n".encode()
    assert (done.stdout, done.code) == (header + object_a.data + b"\n", 0)


def test_a_failed_object_is_reported_with_its_line_and_stops_nobody(locator: str) -> None:
    lines = f"{IMAGE.layers[0].digest}\n\n{ABSENT}\n{IMAGE.layers[1].digest}\n"
    done = run_dist(["fetch", locator, "-"], stdin=lines.encode())
    assert done.stdout == IMAGE.layers[0].data + IMAGE.layers[1].data
    assert done.stderr.count("\n") == 1
    assert f"{ABSENT} (line 3)" in done.stderr
    assert done.code == 3


def test_failures_of_different_kinds_end_in_1(locator: str) -> None:
    done = run_dist(["fetch", locator, "-", "--error-format", "json"], stdin=f"{ABSENT}\nsha256:zz\n".encode())
    assert [json.loads(line)["exit"] for line in done.stderr.splitlines()] == [3, 2]
    assert (done.stdout, done.code) == (b"", 1)


def test_no_lines_are_no_objects(locator: str) -> None:
    done = run_dist(["fetch", locator, "-"], stdin=b"\n \n")
    assert (done.stdout, done.stderr, done.code) == (b"", "", 0)


def test_into_writes_a_file_a_digest_and_skips_what_is_there_and_right(
    locator: str, entries: list[AccessLogEntry], tmp_path: Path
) -> None:
    into = tmp_path / "into"
    done = run_dist(["fetch", locator, "-", "--into", str(into)], stdin=LINES)
    paths = [into / f"sha256-{layer.digest.encoded}" for layer in IMAGE.layers]
    assert done.stdout.decode().split() == [str(path) for path in paths]
    assert [path.read_bytes() for path in paths] == [layer.data for layer in IMAGE.layers]
    assert sorted(into.iterdir()) == sorted(paths)

    paths[3].write_bytes(b"damaged")
    entries.clear()
    assert run_dist(["fetch", locator, "-", "--into", str(into)], stdin=LINES).stdout == done.stdout
    assert [entry.path.rpartition("/")[2] for entry in entries] == [str(IMAGE.layers[3].digest)]
    assert paths[3].read_bytes() == IMAGE.layers[3].data


def test_an_output_file_does_not_appear_where_an_object_failed(locator: str, tmp_path: Path) -> None:
    target = tmp_path / "all"
    done = run_dist(["fetch", locator, "-", "-o", str(target)], stdin=LINES + ABSENT.encode())
    assert done.code == 3
    assert not target.exists()
    assert run_dist(["fetch", locator, "-", "-o", str(target)], stdin=LINES).code == 0
    assert target.read_bytes() == ALL


def test_a_corrupt_object_is_withheld_whole_whatever_its_size(locator: str, layout: Path) -> None:
    path = layout / "blobs" / "sha256" / LARGE.digest.encoded
    path.write_bytes(b"x" + LARGE.data[1:])
    done = run_dist(["fetch", locator, "-"], stdin=f"{LARGE.digest}\n{IMAGE.layers[0].digest}\n".encode())
    assert (done.stdout, done.code) == (IMAGE.layers[0].data, 5)


def test_it_works_as_a_coprocess(locator: str) -> None:
    with subprocess.Popen(
        dist_command("fetch", locator, "-", "--frame"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dist_environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for layer in IMAGE.layers[:3]:
            process.stdin.write(f"{layer.digest}\n".encode())
            process.stdin.flush()
            header = process.stdout.readline().split()
            assert header[0].decode() == str(layer.digest)
            assert process.stdout.read(int(header[2]) + 1) == layer.data + b"\n"
        process.stdin.close()
    assert process.returncode == 0


def test_memory_is_bounded_with_many_large_objects_at_once(locator: str, layout: Path) -> None:
    large = [blob(f"large {n}", 6 << 20) for n in range(24)]
    for each in large:
        write_blob(layout, each)
    lines = "".join(f"{each.digest}\n" for each in large).encode()
    cost = cost_of(dist_command("fetch", locator, "-", "-j32"), env=dist_environment(), stdin=lines)
    assert cost.code == 0
    assert cost.memory < 24 * 6  # less than the objects together


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_no_temporary_file(server: FaultServer, tmp_path: Path, number: int) -> None:
    server.script("GET", f"/v2/app/blobs/{LARGE.digest}", cut(LARGE.data, 5 << 20, ending="hang"))
    into = tmp_path / "into"
    into.mkdir()
    with subprocess.Popen(
        dist_command("fetch", f"{server.host}/app", "-", "--into", str(into)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dist_environment(),
    ) as process:
        assert process.stdin is not None
        process.stdin.write(f"{LARGE.digest}\n".encode())
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while server.body_bytes < 5 << 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(into.iterdir())
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == -number
    assert list(into.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["latest", "--stdin"], "give none as arguments"),
        (["-", "size:5"], "give none as arguments"),
        ([], "OBJECT is missing"),
        (["latest", "--frame"], "need --stdin"),
        (["latest", "-0"], "need --stdin"),
        (["latest", "--into", "d"], "need --stdin"),
        (["-", "--into", "d", "--frame"], "cannot be combined with"),
        (["-", "--into", "d", "-o", "f"], "cannot be combined with"),
        (["-", "--into", ""], "empty"),
        (["-", "-j0"], "-j"),
        (["-", "-j65"], "-j"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_done(args: list[str], message: str) -> None:
    done = run_dist(["fetch", "127.0.0.1:1/app", *args], stdin=LINES)
    assert (done.stdout, done.code) == (b"", 2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("ending", [[], ["-0"]])
def test_a_line_without_end_is_a_usage_error(locator: str, ending: list[str]) -> None:
    done = run_dist(["fetch", locator, "-", *ending], stdin=b"x" * 200_000)
    assert (done.stdout, done.code) == (b"", 2)
    assert "standard input: a line of more than 65536 bytes" in done.stderr


def test_progress_as_json_counts_every_object(locator: str) -> None:
    done = run_dist(["fetch", locator, "-", "--progress", "json"], stdin=LINES)
    events = [json.loads(line)["progress"] for line in done.stderr.splitlines()]
    finished = {event["ref"]: event for event in events if event["state"] == "done"}
    assert set(finished) == {str(layer.digest) for layer in IMAGE.layers}
    assert all(event["offset"] == event["total"] for event in finished.values())
    assert done.stdout == ALL


def test_quiet_shows_no_progress_and_no_retries_but_errors(locator: str) -> None:
    done = run_dist(["fetch", locator, "-", "-q"], stdin=ABSENT.encode())
    assert done.stderr.count("\n") == 1
