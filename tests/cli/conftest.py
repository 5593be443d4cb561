from __future__ import annotations

from support.invoked import invoke

__all__ = ["invoke"]
