"""Hosts as they stand in names: a domain, an address, and a port where one is given (behaviours A2)."""

from __future__ import annotations

import re

from dist_tool.errors import InvalidArgument

_DOMAIN = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
    r"|\[[a-fA-F0-9:]+\])(?::(?P<port>[0-9]+))?"
)


def check_host(host: str, text: str) -> None:
    """Raise InvalidArgument, speaking of `text`, unless `host` is a name or address with or without a port."""
    match = _DOMAIN.fullmatch(host)
    if match is None:
        said = f"{text!r}: {host!r} is not a host" if text != host else f"{text!r} is not a host"
        raise InvalidArgument(said, hint="IPv6 addresses go in brackets" if host.count(":") > 1 else "")
    port = match["port"]
    if port is not None and not (len(port) <= 5 and 1 <= int(port) <= 65535):
        raise InvalidArgument(f"{text!r}: port {port} is not between 1 and 65535")
    if host.startswith("[") and not _is_ipv6(host[1 : host.index("]")]):
        raise InvalidArgument(f"{text!r}: {host!r} is not an IPv6 address")


def _is_ipv6(text: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address

    try:
        return IPv6Address(text).ipv4_mapped is None
    except AddressValueError:
        return False
