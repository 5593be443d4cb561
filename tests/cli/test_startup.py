"""Start-up is a feature: what a run imports, and what it must not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.content import image, write_layout
from support.processes import dist_environment

from dist_tool.cli import COMMANDS

IMAGE = image("start-up")
LAYER = str(IMAGE.layers[0].digest)
HEAVY = {"requests", "urllib3", "rich", "importlib.metadata", "grpc", "tomllib", "sqlite3", "email", "asyncio", "http"}

# Python imports this by itself at start, as it would a site's own: the product is not touched. It writes the names
# of all modules when the process ends, and dist ends by os._exit.
RECORDER = """
import os, sys

def record(code, end=os._exit):
    with open(os.environ["MODULES"], "w") as file:
        file.write("\\n".join(sys.modules))
    end(code)

os._exit = record
"""


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    directory = tmp_path / "recorder"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(RECORDER)
    return directory


def modules_of(recorder: Path, *args: str, cwd: Path | None = None, code: int = 0) -> set[str]:
    """The modules that were loaded when `dist ARGS` ended."""
    environment = dist_environment()
    environment |= {"PYTHONPATH": f"{recorder}:{environment['PYTHONPATH']}", "MODULES": str(recorder / "modules")}
    done = subprocess.run(
        [sys.executable, "-m", "dist_tool", *args], env=environment, cwd=cwd, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr
    return set((recorder / "modules").read_text().splitlines())


def test_the_recorder_sees_what_is_imported(recorder: Path) -> None:
    """A test that looks for what is absent must be able to see what is there."""
    modules = modules_of(recorder, "fetch", "registry.invalid/x", "v1", "--timeout", "1ms", code=6)
    assert {"dist_tool.cli", "dist_tool.remotes.registry.client", "requests", "urllib3"} <= modules
    assert "importlib.metadata" in modules_of(recorder, "remotes")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_no_command_and_nothing_heavy(recorder: Path, option: str) -> None:
    modules = modules_of(recorder, option)
    assert modules & HEAVY == set()
    assert modules & {info.target.partition(":")[0] for info in COMMANDS.values()} == set()
    ours = {name for name in modules if name.startswith("dist_tool")}
    assert ours <= {
        "dist_tool",
        "dist_tool.__main__",
        "dist_tool.cli",
        "dist_tool.cli._alarm",
        "dist_tool.cli._errors",
        "dist_tool.cli._output",
        "dist_tool.errors",
        "dist_tool.files",
        "dist_tool.redaction",
        "dist_tool.api",
        "dist_tool.stream.retry",
        "dist_tool.stream.pump",
        "dist_tool.stream.verify",
        "dist_tool.oci",
        *(f"dist_tool.oci.{name}" for name in ("digest", "descriptor", "mediatypes", "platform", "reference")),
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_loads_nothing_heavy(recorder: Path, command: str) -> None:
    assert modules_of(recorder, command, "--help") & HEAVY == set()


@pytest.mark.parametrize(
    "words",
    [["v1"], [LAYER], ["v1", "-o", "out"], ["v1", "-v"], [LAYER, "--progress", "json"]],
    ids=["tag", "digest", "output", "verbose", "progress"],
)
def test_fetching_from_a_layout_loads_no_network_and_nothing_heavy(
    recorder: Path, tmp_path: Path, words: list[str]
) -> None:
    write_layout(tmp_path / "layout", {"v1": IMAGE})
    modules = modules_of(recorder, "fetch", "./layout", *words, cwd=tmp_path)
    assert modules & HEAVY == set()
    assert "dist_tool.transport" not in modules
    assert {name for name in modules if name.startswith("dist_tool.store")} == set()
    assert "dist_tool.remotes.registry" not in modules


def test_resolving_in_a_layout_loads_no_network(recorder: Path, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"v1": IMAGE})
    assert modules_of(recorder, "resolve", "./layout:v1", cwd=tmp_path) & HEAVY == set()


def test_a_registry_loads_the_network_and_no_bars(recorder: Path) -> None:
    modules = modules_of(recorder, "fetch", "registry.invalid/x", "v1", "--timeout", "1ms", code=6)
    assert modules & {"rich", "grpc", "tomllib", "sqlite3"} == set()


def test_a_configuration_file_is_what_loads_tomllib(recorder: Path, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"v1": IMAGE})
    (tmp_path / "config.toml").write_text("[fetch]\nlenient = true\n")
    assert "tomllib" in modules_of(recorder, "fetch", "./layout", "v1", "--config", "config.toml", cwd=tmp_path)
