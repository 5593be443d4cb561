"""Export and cat: what is in an image, without unpacking it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.exporting import DIRECTORY_TIMES, exported, layout_of
from support.layers import held, needs_root
from support.trees import snapshot


@pytest.mark.parametrize("options", [[], ["-P"], ["--delay-directory-restore"]], ids=" ".join)
@pytest.mark.parametrize("as_root", [pytest.param(True, marks=needs_root), False], ids=["root", "user"])
def test_tar_extracts_an_export_with_the_times_of_directories(
    tmp_path: Path, options: list[str], as_root: bool
) -> None:
    if not shutil.which("tar"):
        pytest.skip("needs tar")
    extracted = tmp_path / "extracted"
    extracted.mkdir()
    owner: dict[str, Any] = {}
    if os.geteuid() == 0 and not as_root:
        os.chown(extracted, 65534, 65534)
        owner = {"user": 65534, "group": 65534, "extra_groups": ()}
    # tar opens the directory by its descriptor: those above it are closed to others
    with held(extracted) as fd:
        subprocess.run(
            ["tar", "-xp", *options, "-C", f"/proc/self/fd/{fd}"],
            input=exported(layout_of(tmp_path, *DIRECTORY_TIMES)),
            check=True,
            pass_fds=[fd],
            **owner,
        )
    found = snapshot(extracted)
    times = {path: node.mtime // 10**9 for path, node in found.items() if node.kind == "directory"}
    expected = {".": 10, "d": 1, "d/sub": 2, "d/sub/empty": 3, "d-x": 6, "d.links": 5}
    assert times == expected
    assert found["d"].mode == 0o555
    assert found["d.links/shared"].links == ("d.links/shared", "d/sub/abs")
    assert found["d/sub/empty/late"].content == "../../.."
