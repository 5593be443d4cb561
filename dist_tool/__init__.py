"""Move container content: fetch, ingest, unpack. See docs/python.md for use as a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dist_tool.session import Session, open_session

__version__ = "0.1.0"
__all__ = ["Session", "open_session"]


def __getattr__(name: str) -> Any:
    """Import the front door when it is used: commands start without it."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("dist_tool.session"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
