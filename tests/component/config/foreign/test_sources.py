"""Other programs' files: when they are read, and what that costs where there are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.config_files import write

ROOT = Path(__file__).resolve().parents[3]


LOOK = """
import sys
from dist_tool import config
from dist_tool.config.foreign import sources as others
from dist_tool.names.locator import parse_locator
others.ETC = sys.argv[1]
settings = config.load({"HOME": "/nonexistent"}, file="")
remote = settings.route_for(parse_locator("a.example/x"))
print(bool(remote), *sorted({"tomllib", "dist_tool.config.tables"} & set(sys.modules)))
"""


def look(etc: Path) -> str:
    argv = [sys.executable, "-c", LOOK, str(etc)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_no_parser_is_loaded_where_no_file_speaks_of_the_name(tmp_path: Path) -> None:
    assert look(tmp_path) == "False"
    write(tmp_path / "containerd/certs.d/b.example/hosts.toml", 'server = "c.example"')
    write(tmp_path / "containers/certs.d/b.example/ca.crt")
    assert look(tmp_path) == "False"
    write(tmp_path / "containerd/certs.d/_default/hosts.toml", 'server = "c.example"')
    assert look(tmp_path) == "True dist_tool.config.tables tomllib"
