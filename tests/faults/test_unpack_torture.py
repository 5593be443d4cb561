"""Every call of unpack to the system fails once: one error of ours, and nothing left behind.

The layers come from memory: what their source does with its files is the source's affair.
"""

from __future__ import annotations

import errno
import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from support.content import write_layout
from support.layers import OUR_THREADS, Heard, Near, image_of, opened, reader_of
from support.tars import directory, fifo, file, hard_link, opaque, symlink, tar, whiteout
from support.trees import shape

from dist_tool.errors import DistError
from dist_tool.images.unpack import UnpackOptions, unpack
from dist_tool.run import Run
from dist_tool.stream import spool

CALLS = (
    *("open", "dup", "mkdir", "mknod", "symlink", "link", "unlink", "rmdir", "rename", "write", "pwrite", "pread"),
    *("ftruncate", "fchown", "chown", "fchmod", "chmod", "utime", "setxattr", "stat", "fstat", "readlink", "listdir"),
)
LAYERS = (
    tar(
        directory("./"),
        directory("d", xattrs={"user.x": b"1"}),
        file("d/f", b"data", uid=5, xattrs={"user.x": b"1"}),
        hard_link("h", "d/f"),
        symlink("l", "d"),
        fifo("p"),
        file("l/g"),
        file("gone/a/b"),
    ),
    tar(whiteout("gone"), file("d/f", b"new"), directory("h"), opaque("d"), file("l", b"file")),
)
IMAGE = image_of(*LAYERS)
TREE = {"d": None, "d/f": b"new", "h": None, "p": "fifo", "l": b"file"}


class Once:
    """Counts calls, and lets the one of number `index` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, index: int, code: int) -> None:
        self.count = 0
        self.failed = ""
        self._index, self._code = index, code
        self._lock = threading.Lock()
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.count += 1
                failing = self.count == self._index
                if failing:
                    self.failed = name
            if failing:
                raise OSError(self._code, os.strerror(self._code))
            return real(*args, **kwargs)

        return call


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"image": IMAGE})


def run(layout: Path, here: Path, index: int, code: int, ahead: int) -> tuple[Once, DistError | None]:
    here.mkdir()
    error = None
    blobs = {layer.digest: layer.data for layer in IMAGE.layers}
    with opened(layout) as (image, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "_IN_MEMORY", 0)  # what is small goes to a file too
        once = Once(patch, index, code)
        try:
            unpack(
                image,
                Near(lambda desc: reader_of(blobs[desc.digest])),
                str(here / "target"),
                UnpackOptions(ahead=ahead, sync=False),
                Run(Heard()),
            )
        except DistError as caught:
            error = caught
        finally:
            patch.undo()
    return once, error


def sweep(layout: Path, tmp_path: Path, code: int, ahead: int) -> None:
    total = run(layout, tmp_path / "whole", 0, code, ahead)[0].count
    assert total > 100
    gc.collect()  # what other tests left to the collector must not go while we count
    descriptors = len(os.listdir("/proc/self/fd"))
    for index in range(1, total + 1):
        here = tmp_path / str(index)
        once, error = run(layout, here, index, code, ahead)
        if error is None:
            # Only what is told as a warning, or tried another way, may fail and not matter.
            assert shape(here / "target").keys() == TREE.keys(), once.failed
        else:
            assert error.exit_code in (5, 9), f"{once.failed}: {error!r}"
            assert "\n" not in str(error)
            assert os.listdir(here) == [], f"{once.failed}: {error}"
        assert len(os.listdir("/proc/self/fd")) == descriptors, once.failed
        assert [thread for thread in threading.enumerate() if thread.name in OUR_THREADS] == []


def test_without_a_failure_the_tree_is_there(layout: Path, tmp_path: Path) -> None:
    once, error = run(layout, tmp_path / "here", 0, errno.EIO, 0)
    assert (once.failed, error) == ("", None)
    assert shape(tmp_path / "here" / "target") == TREE


def test_each_call_fails_once_for_input_or_output(layout: Path, tmp_path: Path) -> None:
    sweep(layout, tmp_path, errno.EIO, 0)


@pytest.mark.torture
@pytest.mark.parametrize("code", ["ENOSPC", "EMFILE", "EINTR", "EACCES", "EPERM", "EROFS", "EDQUOT"])
@pytest.mark.parametrize("ahead", [0, 2])
def test_each_call_fails_once_in_other_ways(layout: Path, tmp_path: Path, code: str, ahead: int) -> None:
    sweep(layout, tmp_path, getattr(errno, code), ahead)
