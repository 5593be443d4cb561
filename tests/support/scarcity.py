"""A system with few threads, and a server without room for connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

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


@pytest.fixture
def full_backlog() -> Iterator[tuple[str, int]]:
    """Host and port of a listener that accepts no further connection: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        time.sleep(0.05)
        yield address
