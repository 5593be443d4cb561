"""Other programs' files: when they are read, and what that costs where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.config_files import write

from dist_tool import config
from dist_tool.config.foreign import sources as others
from dist_tool.names.locator import parse_locator


@pytest.mark.parametrize("place", ["containerd/certs.d", "containers/registries.conf.d", "containers/certs.d"])
def test_a_directory_without_files_configures_nothing(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "ETC", str(tmp_path))
    (tmp_path / place).mkdir(parents=True)
    assert config.load({}, file="").route_for(parse_locator("a.example/x")) is None


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "ETC", str(tmp_path))
    hosts = write(tmp_path / "containerd/certs.d/a.example/hosts.toml", 'server = "m.example"')
    conf = write(tmp_path / "containers/registries.conf", '[[registry]]\nlocation = "b.example"\nblocked = true\n')
    settings = config.load({}, file="")
    first = [settings.route_for(parse_locator(name)) for name in ("a.example/x", "b.example/x")]
    hosts.write_text("broken")
    conf.write_text("broken")
    assert [settings.route_for(parse_locator(name)) for name in ("a.example/x", "b.example/x")] == first
