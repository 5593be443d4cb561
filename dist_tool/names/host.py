"""Hosts in names: a domain or an IP address, with an optional port (behaviours A2)."""

from __future__ import annotations

import re

from dist_tool.errors import InvalidArgument

_DOMAIN = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
    r"|\[[a-fA-F0-9:]+\])(?::(?P<port>[0-9]+))?"
)
# Texts that a resolver accepts as an IPv4 address: 127.1, 0x7f.1, 2130706433.
_NUMERIC = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}")
_PADDED_PORT = re.compile(r"0+([1-9][0-9]*)")
_LONGEST_PORT = 5
_HTTPS = ":443"


def check_host(host: str, text: str) -> None:
    """Raise InvalidArgument, with `text` in its message, unless `host` is a name or address, with or without a port."""
    match = _DOMAIN.fullmatch(host)
    if match is None:
        what = f"{text!r}: {host!r} is not a host" if text != host else f"{text!r} is not a host"
        raise InvalidArgument(what, hint="IPv6 addresses go in brackets" if host.count(":") > 1 else "")
    port = match["port"]
    if port is not None and not (len(port) <= _LONGEST_PORT and 1 <= int(port) <= 65535):
        raise InvalidArgument(f"{text!r}: port {port} is not between 1 and 65535")
    if host.startswith("[") and not _is_ipv6(host[1 : host.index("]")]):
        raise InvalidArgument(f"{text!r}: {host!r} is not an IPv6 address")


def normal_host(host: str) -> str:
    """The normal form of a host, with or without a port: the key for policy, tables and credentials.

    Lower case, a port without leading zeros, the shortest form of an IPv6 address, four decimal
    numbers for an IPv4 address. Text that is not a host is returned in lower case.
    """
    host = host.lower()
    bracket = host.rfind("]")
    name, colon, port = host.rpartition(":") if host.rfind(":") > bracket else (host, "", "")
    if len(port) <= _LONGEST_PORT and (padded := _PADDED_PORT.fullmatch(port)):
        port = padded[1]
    if name.startswith("[") and name.endswith("]"):
        name = f"[{_short_ipv6(name[1:-1])}]"
    elif _NUMERIC.fullmatch(name):
        name = _plain_ipv4(name)
    return f"{name}{colon}{port}"


def other_spelling(host: str) -> str:
    """The equivalent of a normal host with the https port added or removed; "" if there is none.

    Both are the same server. Loopback hosts have no equivalent, since their scheme may be http.
    """
    name = host.removesuffix(_HTTPS)
    if name in ("localhost", "[::1]") or name.endswith(".localhost") or name.startswith("127."):
        return ""
    if name != host:
        return name
    return "" if ":" in host.rpartition("]")[2] or not host else f"{host}{_HTTPS}"


def _short_ipv6(text: str) -> str:
    from ipaddress import AddressValueError, IPv6Address

    try:
        return IPv6Address(text).compressed
    except AddressValueError:
        return text


def _plain_ipv4(text: str) -> str:
    from socket import inet_aton, inet_ntoa

    try:
        return inet_ntoa(inet_aton(text))
    except OSError:
        return text


def _is_ipv6(text: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address

    try:
        return IPv6Address(text).ipv4_mapped is None
    except AddressValueError:
        return False
