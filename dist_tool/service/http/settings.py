"""Limits of the server, and the access log entry of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class AccessLogEntry(NamedTuple):
    """One answered request. `path` is the request target as received, query included.

    For input that is not a request, `method` and `path` are empty.
    """

    method: str
    path: str
    status: int
    has_authorization: bool


Observe = Callable[[AccessLogEntry], None]


def no_observer(entry: AccessLogEntry) -> None:
    """No-op `Observe`."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits per client and of the server. Sizes are in bytes, times in seconds, rates in bytes per second.

    The header section must be complete `head_s` after the connection was opened or its first byte
    arrived, and the body within another `head_s`, however slowly bytes trickle in (slow loris).
    Clients must receive a response at `floor` or faster, averaged over `send_window_s`; a client
    that stops reading is disconnected after at most two windows. When all connections are in use,
    the slowest client below `crowded_floor` is disconnected. `idle_s` is the time limit between
    requests. `connections` is the maximum number of connections; it is lower if the process may not
    open enough files. `page` is the maximum number of names per page of a list.
    """

    connections: int = 1024
    target_bytes: int = 8 << 10
    head_bytes: int = 16 << 10
    header_fields: int = 64
    body_bytes: int = 64 << 10
    page: int = 1000
    head_s: float = 20.0
    idle_s: float = 30.0
    send_window_s: float = 20.0
    floor: int = 1024
    crowded_floor: int = 32 << 10
    linger_s: float = 2.0
