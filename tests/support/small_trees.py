"""A small tree that replaces, or is to replace, an old one."""

from __future__ import annotations

import os
from pathlib import Path

from dist_tool.rootfs.staging import staged
from dist_tool.run import Run
from support.layers import Heard

NEW = {"d": None, "d/new": b""}


def build(target: Path | str, *, force: bool = False, whole: bool = False, report: Heard | None = None) -> None:
    """Put a small tree at `target`."""
    heard = Heard() if report is None else report
    with staged(str(target), force=force, whole=whole, sync=False, run=Run(heard)) as stage:
        os.mkdir("d", dir_fd=stage.root)
        os.close(os.open("d/new", os.O_CREAT | os.O_WRONLY, dir_fd=stage.root))


def old_tree(target: Path) -> None:
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "old").write_text("old")
