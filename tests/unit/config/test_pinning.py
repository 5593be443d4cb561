"""Writing a pin: one line of a file changes, and nothing else."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from support.config_files import write

from dist_tool import config
from dist_tool.config.pinning import write_pin
from dist_tool.errors import InvalidArgument
from dist_tool.oci.digest import Digest

NAME = "docker.io/library/redis:7"
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ENTRY = f'"{NAME}" = "{NEW}"'

CASES = {
    "no file content": ("", f"[pin]\n{ENTRY}\n"),
    "no pins": ("[fetch]\nlenient = true\n", f"[fetch]\nlenient = true\n\n[pin]\n{ENTRY}\n"),
    "no line end at the end": ("[fetch]\nlenient = true", f"[fetch]\nlenient = true\n\n[pin]\n{ENTRY}\n"),
    "an empty table": ("[pin]\n# none yet\n[fetch]\n", f"[pin]\n{ENTRY}\n# none yet\n[fetch]\n"),
    "after the last pin": (
        f'[pin]\n"a.example/x:1" = "{OLD}" # why\n\n[fetch]\n',
        f'[pin]\n"a.example/x:1" = "{OLD}" # why\n{ENTRY}\n\n[fetch]\n',
    ),
    "after the last pin, which ends the file": (
        f'[pin]\n"a.example/x:1" = "{OLD}"',
        f'[pin]\n"a.example/x:1" = "{OLD}"\n{ENTRY}',
    ),
    "in place": (
        f'# {OLD}\n[pin]\n  "{NAME}"   =  "{OLD}"   # "old" one\n"b.example/x:1" = "{OLD}"\n',
        f'# {OLD}\n[pin]\n  "{NAME}"   =  "{NEW}"   # "old" one\n"b.example/x:1" = "{OLD}"\n',
    ),
    "in place, spelled in short": (f"[pin]\n'redis:7' = '{OLD}'\n", f"[pin]\n'redis:7' = \"{NEW}\"\n"),
    "windows line ends": (
        f'# a\r\n[pin]\r\n"b.example/x:1" = "{OLD}"\r\n',
        f'# a\r\n[pin]\r\n"b.example/x:1" = "{OLD}"\r\n{ENTRY}\r\n',
    ),
    "windows line ends, no pins": ("[fetch]\r\n", f"[fetch]\r\n\r\n[pin]\r\n{ENTRY}\r\n"),
    "a header that is spaced": (
        f'[ pin ]\n"b.example/x:1" = "{OLD}"\n',
        f'[ pin ]\n"b.example/x:1" = "{OLD}"\n{ENTRY}\n',
    ),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES)
def test_only_the_pin_changes(before: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(before.encode())
    write_pin(str(file), NAME, Digest.parse(NEW), {})
    assert file.read_bytes() == after.encode()
    assert str(config.load({}, file=str(file)).pins[NAME].digest) == NEW
    tomllib.loads(after)


def test_an_unchanged_pin_does_not_rewrite_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", f'[pin]\n"redis:7" = "{NEW}"\n')
    before = file.stat()
    write_pin(str(file), NAME, Digest.parse(NEW), {})
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "text",
    [
        f'pin = {{ "a.example/x:1" = "{OLD}" }}\n',
        f'[pin]\n"redis:7" = """\\\n{OLD}"""\n',
        f'pin."a.example/x:1" = "{OLD}"\n[fetch]\n',
    ],
)
def test_a_file_with_pins_in_another_notation_is_not_changed(text: str, tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", text)
    with pytest.raises(InvalidArgument, match="dist cannot edit: write them as a table"):
        write_pin(str(file), NAME, Digest.parse(NEW), {})
    assert file.read_text() == text


def test_a_broken_file_is_not_written_to(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "[fetch]\ntimeout = 'x'\n")
    with pytest.raises(InvalidArgument, match=r"c\.toml:2: fetch\.timeout"):
        write_pin(str(file), NAME, Digest.parse(NEW), {})
    assert file.read_text() == "[fetch]\ntimeout = 'x'\n"


def test_a_file_is_made_with_its_directory_and_a_link_stays(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "config.toml"
    link = tmp_path / "links" / "config.toml"
    link.parent.mkdir()
    link.symlink_to(real)
    write_pin(str(link), NAME, Digest.parse(NEW), {})
    assert link.is_symlink()
    assert real.read_text() == f"[pin]\n{ENTRY}\n"
    os.chmod(real, 0o640)
    write_pin(str(link), NAME, Digest.parse(OLD), {})
    assert real.stat().st_mode & 0o777 == 0o640
    assert os.listdir(real.parent) == ["config.toml"]
