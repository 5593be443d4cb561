"""Which connection ends when there is no room for another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from ipaddress import IPv6Address, ip_address

from dist_tool.service.http.connection import Connection, Phase
from dist_tool.service.http.settings import ServerLimits

# A connection that was opened a moment ago has had no chance to send its request.
_SETTLED = 1 / 20  # of a send window


def client_of(host: str) -> str:
    """The client that an address belongs to: itself, of IPv6 the /64, which one client can have whole."""
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
    """The connection to end, None if each is being sent to at a fair speed.

    First one that waits for its client for longer than a moment; then the slowest of those that
    are sent to at less than `crowded_floor`; then any that waits. Each time the client with the
    most connections loses before the others; among its waiting ones the longest waiting.
    `waiting` is in the order in which they began to wait.
    """
    held = Counter(connection.client for connection in connections)
    idle = list(waiting)
    settled = [each for each in idle if now - each.since >= limits.send_window_s * _SETTLED]
    if settled:
        return max(settled, key=lambda each: held[each.client])  # the first of equals
    rates = [(each, each.rate(now)) for each in connections if each.phase is Phase.SEND]
    slow = [(each, rate) for each, rate in rates if rate is not None and rate < limits.crowded_floor]
    if slow:
        return min(slow, key=lambda pair: (-held[pair[0].client], pair[1]))[0]
    return max(idle, key=lambda each: held[each.client], default=None)
