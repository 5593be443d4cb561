"""Layouts of given layers and their exports."""

from __future__ import annotations

import io
from pathlib import Path

from dist_tool.images.export import export
from dist_tool.tar.limits import Limits
from support.content import write_layout
from support.layers import image_of, opened
from support.tars import (
    directory,
    file,
    hard_link,
    symlink,
    tar,
)


def exported(layout: Path, limits: Limits | None = None) -> bytes:
    out = io.BytesIO()

    def write(data: memoryview) -> None:
        out.write(data)

    with opened(layout) as (image, source):
        export(image, source, write, limits or Limits())
    return out.getvalue()


def layout_of(tmp_path: Path, *layers: bytes) -> Path:
    return write_layout(tmp_path / "layout", {"image": image_of(*layers)})


# GNU tar creates symlinks that may point outside at the very end, and restores the time of a directory when it leaves
# it. `d-x` sorts between `d` and `d/sub` as text.
DIRECTORY_TIMES = (
    tar(
        directory("./", mtime=10),
        directory("d", mtime=1, mode=0o555),
        directory("d/sub", mtime=2),
        directory("d/sub/empty", mtime=3),
        directory("d-x", mtime=4),
        file("d/sub/f"),
        symlink("d/up", "../up"),
        symlink("d/sub/abs", "/abs"),
        symlink("d-x/up", "../d/sub"),
        symlink("up", "d/../d"),
        directory("d.links", mtime=5),
        symlink("d.links/plain", "name"),
        hard_link("d.links/shared", "d/sub/abs"),
    ),
    tar(directory("d-x", mtime=6), file("d-x/later"), symlink("d/sub/empty/late", "../../.."), file("top", b"x")),
)
