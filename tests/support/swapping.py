"""Another process that acts in between two calls to the system, at each point in turn."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dist_tool.rootfs import openat2

# Everything by which the code changes or looks at the file system.
CALLS = (
    *("open", "mkdir", "mknod", "symlink", "link", "unlink", "rmdir", "rename", "stat", "lstat", "fstat", "readlink"),
    *("fchown", "chown", "lchown", "fchmod", "chmod", "utime", "setxattr", "removexattr", "write", "close", "scandir"),
)


class Between:
    """Runs `act` once, before call number `index` to the system from now on; counts the calls."""

    def __init__(self, patch: pytest.MonkeyPatch, index: int, act: Callable[[], None]) -> None:
        self.count = 0
        self._index, self._act = index, act
        self._acting = False
        self._lock = threading.RLock()
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(getattr(os, name)))
        patch.setattr(openat2, "open_directory", self._wrapped(openat2.open_directory))

    def _wrapped(self, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                if not self._acting:
                    self.count += 1
                    if self.count == self._index:
                        self._acting = True
                        try:
                            self._act()
                        finally:
                            self._acting = False
            return real(*args, **kwargs)

        return call


def at_each_call(
    prepare: Callable[[], None], work: Callable[[], None], act: Callable[[], None], check: Callable[[], None]
) -> int:
    """Run `work` once for each of its calls to the system, with `act` before that call; returns how many."""
    index = 0
    while True:
        index += 1
        prepare()
        with pytest.MonkeyPatch.context() as patch:
            between = Between(patch, index, act)
            try:
                work()
            finally:
                patch.undo()
        check()
        if between.count < index:
            return index - 1
