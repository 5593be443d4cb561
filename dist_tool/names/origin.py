"""Origins, and which hosts are where: what credentials and redirects are decided by."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from dist_tool.errors import ProtocolError, one_line, printable

_LONG_SEGMENT = 20  # characters
_HEX = re.compile(r"(?:sha[0-9]+[:-])?[0-9a-f]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A name in ASCII or an address, nothing that two readers could read differently.
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_.])?|[0-9a-f:.]+")
# What inet_aton reads as an address and a reader may not: 127.1, 0x7f.1, 2130706433.
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]+|[0-9]+)){0,3}\.?")


class Origin(NamedTuple):
    """Scheme, host and port. Credentials, headers, cookies and certificates belong to one."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL. Raises ProtocolError for anything else."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ProtocolError(f"{printable(redact(url), 200)!r} is not a URL") from error
        host = (parts.hostname or "").lower()
        if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host):
            raise ProtocolError(f"{printable(redact(url), 200)!r} is not an http(s) URL")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}")

    @property
    def netloc(self) -> str:
        """Host and, where it is not the scheme's own, port."""
        return str(self).partition("://")[2]


def redact(url: str, *, moved: bool = False) -> str:
    """A URL that may be shown: no userinfo, and values of its query and path parameters hidden.

    In one that a redirect named (`moved`), parts of the path that may be signatures are hidden, too.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(_without_value(pair) for pair in parts.query.split("&") if pair)
    path = "/".join(map(_without_parameters, parts.path.split("/")))
    if moved:
        path = "/".join("…" if may_be_signature(part) else part for part in path.split("/"))
    return one_line(f"{parts.scheme}://{host}{path}" + (f"?{query}" if query else ""))


def may_be_signature(part: str) -> bool:
    """Whether a part of the path of a redirect's target may be a secret: long, and no digest."""
    return len(part) >= _LONG_SEGMENT and not _HEX.fullmatch(part)


def _without_value(pair: str) -> str:
    return f"{pair.partition('=')[0]}=…" if "=" in pair else "…"


def _without_parameters(segment: str) -> str:
    name, *parameters = segment.split(";")
    return ";".join([name, *(_without_value(pair) for pair in parameters if pair)])


def host_class(host: str) -> str:
    """`loopback`, `link-local`, `private` or `public`, by the host's text alone.

    Names other than localhost count as public: nothing is looked up, and a name that resolves
    to loopback is not found out (docs/security.md, "Not promised").
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "loopback"
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(_plain_ipv4(name) or name.partition("%")[0])
    except ValueError:
        return "public"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "private" if address.is_private else "public"


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1, with or without a port (behaviours A18)."""
    if host.startswith("["):
        name = host.partition("]")[0]
    else:
        name = host.partition(":")[0] if host.count(":") == 1 else host
    return host_class(name) == "loopback"


def _plain_ipv4(name: str) -> str:
    if not _NUMERIC.fullmatch(name):
        return ""
    from socket import inet_aton, inet_ntoa

    try:
        return inet_ntoa(inet_aton(name.rstrip(".")))
    except OSError:
        return ""
