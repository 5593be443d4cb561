"""What bounds the server, and what it tells of each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class AccessLogEntry(NamedTuple):
    """One answered request. `path` is the target as it came, query included."""

    method: str
    path: str
    status: int
    has_authorization: bool


Observe = Callable[[AccessLogEntry], None]


def unobserved(entry: AccessLogEntry) -> None:
    """The `Observe` of whoever does not look."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one client may cost. Sizes in bytes, times in seconds.

    A request must have arrived whole `head_s` after its connection opened or its first byte
    came, whatever trickles in (slow loris). A body must be taken at `floor` bytes a second,
    averaged over `send_window_s`; a client that stops reading is gone after two windows. When
    all connections are in use, the slowest that takes less than `crowded_floor` ends.
    `idle_s` is how long a connection is kept between requests. Of connections there are at
    most `connections`, fewer where the process may not open as many files.
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
