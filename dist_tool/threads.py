"""Threads that speed things up and that everything works without."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread


def start_thread(target: Callable[..., object], *args: object, name: str) -> Thread | None:
    """Start a daemon thread; None if the system has none to give (limits of processes or of memory)."""
    thread = Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
