"""Origins, URL parsing and host classes: the basis of decisions on credentials and redirects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from dist_tool.errors import ProtocolError, one_line, printable

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_LONG_SEGMENT = 20  # characters
_HEX = re.compile(r"(?:sha[0-9]+[:-])?[0-9a-f]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# An ASCII name or an address, then visible ASCII: no URL that two parsers could interpret differently.
_URL = re.compile(
    r"(https?)://(?:\[([0-9a-f:.]+)\]|([a-z0-9_](?:[a-z0-9._-]*[a-z0-9_.])?))(?::([0-9]{0,5}))?"
    r"((?:[/?][!-\"$-~]*)?)(?:#[!-~]*)?",
    re.ASCII | re.IGNORECASE,
)
_UNSENT = re.compile(r"[^\0-\x1f!-\x7f]+")  # spaces and everything outside ASCII
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_USERINFO = re.compile(r"(?<=//)[^/?#\\]*@")
# Cloud metadata services outside 169.254.0.0/16 and fe80::/10: Alibaba, Azure, Amazon, Google, Oracle.
_METADATA = frozenset({"100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe"})
_NAT64 = 0x64_FF9B << 96 >> 32  # 64:ff9b::/96
# Texts that inet_aton accepts as an IPv4 address although they do not look like one: 127.1, 0x7f.1, 2130706433.
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]+|[0-9]+)){0,3}\.?")


class Origin(NamedTuple):
    """Scheme, host and port: the scope of credentials, headers, cookies and certificates."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL. Raises ProtocolError for anything else."""
        return split_url(url)[0]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}")

    @property
    def netloc(self) -> str:
        """Host, and port if it is not the default port of the scheme."""
        return str(self).partition("://")[2]


def split_url(url: str) -> tuple[Origin, str]:
    """Origin and request target of an absolute http(s) URL.

    Requests are sent to the two joined, so that the host that was checked is the host that is
    contacted. The target is the text of the URL, with spaces and text outside ASCII percent-encoded.
    Raises ProtocolError for anything else, such as userinfo, control characters or a backslash in
    the host.
    """
    match = _URL.fullmatch(_encoded(url, "utf-8"))
    if match is None:
        raise ProtocolError(f"{printable(redact(url), 200)!r} is not an http(s) URL")
    scheme, address, name, port, target = match.groups()
    scheme, number = scheme.lower(), int(port) if port else _DEFAULT_PORTS[scheme.lower()]
    if not 0 < number < 65536:
        raise ProtocolError(f"{printable(redact(url), 200)!r} has no valid port")
    origin = Origin(scheme, (address or name).lower(), number)
    return origin, target if target.startswith("/") else f"/{target}"


def resolve_location(base: str, location: str) -> str:
    """The absolute URL for a Location or Link header in the response to `base`, without its fragment.

    The URL is not rewritten, since it may be signed: only bytes that cannot be sent are
    percent-encoded. Userinfo is removed; dot segments of a relative reference are resolved.
    Raises ProtocolError if the two cannot be joined.
    """
    text = _encoded(location.strip(), "latin-1").partition("#")[0]
    if text.startswith("//"):
        text = f"{urlsplit(base).scheme}:{text}"
    if _SCHEME.match(text):
        return _USERINFO.sub("", text, count=1)
    if text.startswith("/") and "/." not in text:
        return f"{split_url(base)[0]}{text}"
    try:
        return urljoin(base, text)
    except ValueError as error:
        raise ProtocolError(f"{redact(base)}: the redirect target is not a valid URL") from error


def _encoded(text: str, charset: str) -> str:
    return _UNSENT.sub(lambda match: quote(match[0].encode(charset, "backslashreplace"), safe=""), text)


def redact(url: str, *, moved: bool = False) -> str:
    """A URL for display: without userinfo, and with the values of query and path parameters hidden.

    For the target of a redirect (`moved`), path segments that may be signatures are hidden, too.
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
    """True if a path segment of a redirect target may be a secret: long, and not a digest."""
    return len(part) >= _LONG_SEGMENT and not _HEX.fullmatch(part)


def _without_value(pair: str) -> str:
    return f"{pair.partition('=')[0]}=…" if "=" in pair else "…"


def _without_parameters(segment: str) -> str:
    name, *parameters = segment.split(";")
    return ";".join([name, *(_without_value(pair) for pair in parameters if pair)])


def host_class(host: str) -> str:
    """The class of a host by its text: `loopback`, `link-local`, `private` or `public`.

    Cloud metadata services are link-local, carrier-grade NAT (100.64.0.0/10) is private.

    Names other than localhost are public: they are not resolved, so a name that resolves
    to loopback is not detected (docs/security.md, "Not promised").
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "loopback"
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(_plain_ipv4(name) or name.partition("%")[0])
    except ValueError:
        return "public"
    if isinstance(address, IPv6Address):
        address = _embedded(address) or address
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local or str(address) in _METADATA:
        return "link-local"
    return "public" if address.is_global else "private"


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address embeds: mapped, 6to4 or NAT64. None if it embeds none."""
    from ipaddress import IPv4Address

    if int(address) >> 32 == _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


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
