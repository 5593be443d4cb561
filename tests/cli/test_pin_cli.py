"""`dist pin`: what a tag means, written down and held to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.config_files import write
from support.content import image, write_layout
from support.invoked import Invoke

from dist_tool.service.http import RegistryServer

ONE, TWO = image("pin one"), image("pin two")
SHA = "sha256:" + "a" * 64


@pytest.fixture
def file(isolation: Path) -> Path:
    """The user's configuration file, which does not exist yet."""
    return isolation / ".config" / "dist" / "config.toml"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """What the registry serves: v1 and v2."""
    return write_layout(tmp_path / "layout", {"v1": ONE, "v2": TWO})


@pytest.fixture
def name(layout: Path) -> Iterator[str]:
    """A repository of a running registry."""
    with RegistryServer(layout, name="app") as server:
        yield f"{server.address}/app"


def test_a_pin_is_written_and_printed(name: str, file: Path, invoke: Invoke) -> None:
    done = invoke("pin", f"{name}:v1", f"{name}:v2")
    assert (done.code, done.stderr) == (0, "")
    one, two = f"{name}:v1 {ONE.manifest.digest}", f"{name}:v2 {TWO.manifest.digest}"
    assert done.stdout.decode() == f"{one}\n{two}\n"
    assert file.read_text().splitlines() == [
        "[pin]",
        *(f'"{line.partition(" ")[0]}" = "{line.partition(" ")[2]}"' for line in (one, two)),
    ]


def test_the_rest_of_the_file_stays(name: str, file: Path, invoke: Invoke) -> None:
    before = "# mine\n[fetch]   # too\ntimeout = '1m'\n"
    write(file, before)
    assert invoke("pin", f"{name}:v1").code == 0
    assert file.read_text() == f'{before}\n[pin]\n"{name}:v1" = "{ONE.manifest.digest}"\n'


def test_a_pin_may_be_given_and_must_be_there(name: str, file: Path, invoke: Invoke) -> None:
    assert invoke("pin", f"{name}:mine@{TWO.manifest.digest}").code == 0
    assert f'"{name}:mine" = "{TWO.manifest.digest}"' in file.read_text()
    done = invoke("pin", f"{name}:v1@{SHA}")
    assert (done.code, done.stdout) == (3, b"")
    assert "no such blob or manifest in app: 404 Not Found" in done.stderr
    assert SHA not in file.read_text()


def test_a_pin_costs_one_request_for_it_is_a_manifest(layout: Path, file: Path, invoke: Invoke) -> None:
    seen: list[tuple[str, str]] = []
    with RegistryServer(layout, name="app", observe=lambda exchange: seen.append((exchange[0], exchange[1]))) as server:
        write(file, f'[pin]\n"{server.address}/app:v1" = "{TWO.manifest.digest}"\n')
        done = invoke("fetch", f"{server.address}/app", "v1")
    assert (done.code, done.stdout) == (0, TWO.manifest.data)
    assert seen == [("GET", f"/v2/app/manifests/{TWO.manifest.digest}")]


def test_a_pin_is_looked_up_anew_whatever_it_says(name: str, file: Path, invoke: Invoke) -> None:
    write(file, f'[pin]\n"{name}:v1" = "{SHA}" # old\n')
    done = invoke("pin", f"{name}:v1")
    assert (done.code, done.stderr) == (0, f"dist: {name}:v1 was {SHA}\n")
    assert file.read_text() == f'[pin]\n"{name}:v1" = "{ONE.manifest.digest}" # old\n'


def test_check_tells_which_pins_do_not_hold(name: str, file: Path, invoke: Invoke) -> None:
    text = f'[pin]\n"{name}:v1" = "{ONE.manifest.digest}"\n"{name}:v2" = "{SHA}"\n'
    write(file, text)
    assert invoke("pin", "--check", f"{name}:v1").code == 0
    done = invoke("pin", "--check")
    assert (done.code, done.stdout.decode()) == (5, f"{name}:v2 {SHA} {TWO.manifest.digest}\n")
    assert "1 of 2 tags moved: run dist pin" in done.stderr
    assert file.read_text() == text
    assert invoke("pin", "--check", f"{name}:other").code == 3
    write(file)
    assert invoke("pin", "--check", f"{name}:v1").code == 2
    assert invoke("pin", "--check").code == 0


def test_a_policy_for_digests_lets_tags_be_pinned(name: str, file: Path, invoke: Invoke) -> None:
    write(file, '[policy]\nrequire_digest = ["*"]\n')
    assert invoke("pin", f"{name}:v1").code == 0
    write(file, '[policy]\nalgorithms = ["sha512"]\n')
    assert invoke("pin", f"{name}:v1").code == 10


def test_another_file_may_be_named_and_one_that_is_not_read_is_a_warning(
    name: str, file: Path, tmp_path: Path, invoke: Invoke
) -> None:
    other = tmp_path / "images.toml"
    done = invoke("pin", "--file", str(other), f"{name}:v1")
    assert (done.code, file.exists()) == (0, False)
    assert f"warning: {other} is not read as configuration" in done.stderr
    assert invoke("pin", "--check", "--config", str(other)).code == 0
    done = invoke("pin", "--config", str(other), f"{name}:v2")
    assert (done.code, done.stderr) == (0, "")
    assert len(other.read_text().splitlines()) == 3


def test_a_file_that_overrides_the_pin_is_a_warning(name: str, file: Path, invoke: Invoke) -> None:
    drop_in = write(file.parent / "config.d" / "a.toml", f'[pin]\n"{name}:v1" = "{SHA}"\n')
    done = invoke("pin", f"{name}:v1")
    assert f"warning: {drop_in}:2 takes precedence, and pins {name}:v1 to sha256:" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "REFERENCE is missing"),
        (["./images:v1"], "./images is not in a registry"),
        ([f"a.example/x@{SHA}"], "has no tag to pin"),
        (["http::a.example/x"], "http::a.example/x is not in a registry"),
    ],
)
def test_what_cannot_be_pinned_is_exit_2(
    words: list[str], said: str, name: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = invoke("pin", *[word.replace("redis:7", f"{name}:v1") for word in words])
    assert (done.code, done.stdout) == (2, b"")
    assert said in done.stderr


def test_without_a_configuration_file_there_is_nowhere_to_write_a_pin(
    name: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIST_CONFIG", "")
    done = invoke("pin", f"{name}:v1")
    assert (done.code, done.stdout) == (2, b"")
    assert "there is no configuration file to write to" in done.stderr


def test_a_broken_file_is_left_alone(name: str, file: Path, tmp_path: Path, invoke: Invoke) -> None:
    other = write(tmp_path / "x.toml", "[pin\n")
    assert invoke("pin", "--file", str(other), f"{name}:v1").code == 2
    assert other.read_text() == "[pin\n"
