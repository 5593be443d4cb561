"""Optional threads: they improve performance, and nothing depends on them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread


def start_thread(target: Callable[..., object], *args: object, name: str) -> Thread | None:
    """Start a daemon thread. Returns None if the system cannot create one (process or memory limits)."""
    thread = Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
