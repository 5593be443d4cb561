"""Routes for tests, written like the `[[remote]]` table that they stand for."""

from __future__ import annotations

from typing import Any

from dist_tool.settings import Endpoint, Route


def route(
    prefix: str = "", *, mirrors: tuple[Endpoint, ...] = (), blocked: bool = False, where: str = "", **own: Any
) -> Route:
    """The route of a prefix: its mirrors, then an endpoint with the other values."""
    return Route(prefix, (*mirrors, Endpoint(where=where, **own)), blocked, where)
