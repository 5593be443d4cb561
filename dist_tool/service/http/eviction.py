"""Choice of the connection to close when a new client connects and the limit is reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from ipaddress import IPv6Address, ip_address

from dist_tool.service.http.connection import Connection, Phase
from dist_tool.service.http.settings import ServerLimits

# Part of a send window for which a waiting connection is spared: a new one cannot have sent its request yet.
_SETTLED = 1 / 20


def client_of(host: str) -> str:
    """The key of a client: its IPv4 address, or the /64 of its IPv6 address, all of which one client may control."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or (int(address) >> 64))
    return str(address)


def choose(
    connections: Collection[Connection], waiting: Iterable[Connection], now: float, limits: ServerLimits
) -> Connection | None:
    """The connection to close; None if all are receiving responses fast enough.

    In order: a connection that has waited for its client for some time; the slowest of those that
    receive less than `crowded_floor`; any connection that waits. In each group those of the client
    with the most connections go first, and of waiting ones the longest waiting. `waiting` is
    ordered by the start of the wait.
    """
    held = Counter(connection.client for connection in connections)
    idle = list(waiting)
    settled = [each for each in idle if now - each.since >= limits.send_window_s * _SETTLED]
    if settled:
        return max(settled, key=lambda each: held[each.client])  # `max` returns the first of equals
    rates = [(each, each.rate(now)) for each in connections if each.phase is Phase.SEND]
    slow = [(each, rate) for each, rate in rates if rate is not None and rate < limits.crowded_floor]
    if slow:
        return min(slow, key=lambda pair: (-held[pair[0].client], pair[1]))[0]
    return max(idle, key=lambda each: held[each.client], default=None)
