from __future__ import annotations

from support.mocked import mocked_registry

__all__ = ["mocked_registry"]
