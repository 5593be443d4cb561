"""Operations of several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def run_in_threads(count: int, run: Callable[[int], object]) -> None:
    """Call `run` with 0, 1, ... in `count` threads, and wait for all of them."""
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def repeating(look: Callable[[], object]) -> Iterator[None]:
    """Call `look` again and again in another thread."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            look()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
