"""A plugin that is really installed, by pip, and used by a process that knows nothing of it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.content import blob
from support.plugins import install
from support.processes import ROOT, Result, run_dist

CONTENT = blob("plugin", 5000)
GATEWAY = """
import io
from dist_tool.errors import NotFound

CONTENT = bytes.fromhex("{content}")

def fetch(object_id, hints):
    if object_id == "{digest}":
        return io.BytesIO(CONTENT)
    if object_id == "some/name":
        return io.BytesIO(repr(hints.other).encode())
    raise NotFound("the gateway has no " + object_id)
"""


def wheel(directory: Path) -> Path:
    """A wheel as a build tool would make it: a module, metadata and an entry point."""
    module = GATEWAY.format(content=CONTENT.data.hex(), digest=CONTENT.digest)
    info = "gateway_remote-3.1.dist-info"
    files = {
        "gateway_remote.py": module,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: gateway-remote\nVersion: 3.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[dist_tool.remotes]\ngateway = gateway_remote:fetch\n",
    }
    rows = [f"{name},sha256={_record(text)},{len(text.encode())}" for name, text in files.items()]
    path = directory / "gateway_remote-3.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,", ""])}.items():
            archive.writestr(name, text)
    return path


def _record(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that pip has installed the wheel into."""
    directory = tmp_path_factory.mktemp("plugin")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--isolated",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-cache-dir",
    ]
    subprocess.run(
        [*pip, "--no-index", "--no-deps", "--target", str(directory / "site"), str(wheel(directory))], check=True
    )
    return directory / "site"


def dist(site: Path, *args: str) -> Result:
    return run_dist(args, {"PYTHONPATH": f"{site}:{ROOT}"})


def test_an_installed_function_serves_its_kind_verified(site: Path) -> None:
    assert dist(site, "fetch", "gateway::any", str(CONTENT.digest)) == Result(CONTENT.data, "", 0)
    absent = dist(site, "fetch", "gateway::any", f"sha256:{'0' * 64}")
    assert (absent.code, absent.stdout) == (3, b"")
    assert absent.stderr == (f"dist: gateway::any sha256:{'0' * 64}: the gateway has no sha256:{'0' * 64}\n")


def test_a_name_is_delivered_with_a_warning_and_hints_arrive(site: Path) -> None:
    result = dist(site, "fetch", "gateway::any", "some/name", "x-key:a:b")
    assert (result.code, result.stdout) == (0, b"(('x-key', 'a:b'),)")
    assert result.stderr == "dist: warning: some/name: no digest is known, the bytes are not verified\n"


def test_a_configured_name_may_be_the_plugins(site: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[[remote]]\nprefix = "docker.io"\nkind = "gateway"\n')
    result = dist(site, "fetch", "redis", str(CONTENT.digest), "--config", str(tmp_path / "config.toml"))
    assert result == Result(CONTENT.data, "", 0)


def test_the_list_of_kinds_has_it_with_its_version(site: Path) -> None:
    lines = [json.loads(line) for line in dist(site, "remotes", "--json").stdout.splitlines()]
    assert {"kind": "gateway", "origin": "gateway-remote 3.1", "target": "gateway_remote:fetch", "summary": ""} in lines
    assert "gateway" in dist(site, "remotes").stdout.decode()


def test_a_broken_plugin_beside_it_fails_its_own_locators_only(site: Path, tmp_path: Path) -> None:
    install(tmp_path / "broken", "broken_plugin", "raise RuntimeError('boom')", {"broken": "fetch"})
    both = Path(f"{site}:{tmp_path / 'broken'}")
    result = dist(both, "fetch", "broken::x", str(CONTENT.digest))
    assert (result.code, result.stdout) == (8, b"")
    assert "remote kind 'broken': broken_plugin:fetch does not load: RuntimeError('boom')" in result.stderr
    assert result.stderr.count("\n") == 1
    assert dist(both, "fetch", "gateway::any", str(CONTENT.digest)).code == 0
    assert dist(both, "remotes").code == 0


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        ("PermissionError(13, 'Permission denied', '/shelf/lock')", 9, "/shelf/lock: Permission denied: run again"),
        ("BrokenPipeError(32, 'Broken pipe')", 9, "Broken pipe: run again with --debug"),
        ("OSError('of a kind of its own')", 1, "internal error: OSError: of a kind of its own: run again with --debug"),
        ("ValueError('oh')", 1, "internal error: ValueError: oh: run again with --debug"),
    ],
)
def test_what_a_remote_should_not_raise_is_not_laid_to_standard_output(
    tmp_path: Path, raised: str, code: int, told: str
) -> None:
    install(tmp_path, "odd_plugin", f"def open_remote(locator, context): raise {raised}", {"odd": "open_remote"})
    result = dist(tmp_path, "fetch", "odd::x", str(CONTENT.digest))
    assert (result.code, result.stdout) == (code, b"")
    assert result.stderr.startswith(f"dist: {told}")
    assert result.stderr.count("\n") == 1


def test_without_it_the_kind_is_unknown() -> None:
    result = run_dist(["fetch", "gateway::any", str(CONTENT.digest)])
    assert result.code == 8
    assert "there is no remote of kind 'gateway'" in result.stderr
