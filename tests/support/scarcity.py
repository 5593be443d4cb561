"""A system that has no thread to give, or only a few."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

FewThreads = Callable[[int], None]


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> FewThreads:
    """Call it with the number of threads that can still be started; further ones fail as they do in Python."""

    def limit(count: int) -> None:
        start, left, lock = threading.Thread.start, count, threading.Lock()

        def limited(thread: threading.Thread) -> None:
            nonlocal left
            if thread.name.startswith("dist-"):
                with lock:
                    left -= 1
                    if left < 0:
                        raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)

    return limit
