"""Applying layers in tests: to a directory of one's own, as root or as somebody else."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dist_tool.api import Notice
from dist_tool.layers.apply import Applied, apply_layer
from dist_tool.layers.options import ApplyOptions
from dist_tool.spec.digest import Digest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Heard(list[Notice]):
    """A `Report` that remembers."""

    def __call__(self, notice: Notice) -> None:
        self.append(notice)

    @property
    def texts(self) -> list[str]:
        return [notice.text for notice in self]


@contextmanager
def held(path: Path | str) -> Iterator[int]:
    """A descriptor of a directory."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def apply(
    root: Path | str,
    *layers: bytes,
    options: ApplyOptions | None = None,
    diff_id: Digest | None = None,
    report: Heard | None = None,
) -> Applied:
    """Apply layers to `root`, which is made where it is not there; returns what came of the last."""
    os.makedirs(root, exist_ok=True)
    with held(root) as fd:
        for layer in layers:
            applied = apply_layer(
                io.BytesIO(layer).read, fd, options, diff_id=diff_id, report=Heard() if report is None else report
            )
    return applied
