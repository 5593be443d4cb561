"""Token realms: which token servers a registry may name, and which of them may receive a password.

A realm is an untrusted URL to which we send a request and possibly a password. The rules are
those that other clients adopted after security incidents (ggcr #2243, #2285, #2292, #2302;
regclient and distribution in 2026): behaviours C16, C17.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from dist_tool.errors import PolicyRefused, ProtocolError, printable
from dist_tool.names.origin import Origin, host_class, redact
from dist_tool.settings import AuthSettings

_LONGEST = 2048
# A registered name, an IPv4 address or an IPv6 address as `urlsplit` returns it: nothing
# percent-encoded, nothing that two URL parsers could read differently.
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9.])?|[0-9a-f:.]+")
# Characters allowed in a URL. Excludes the backslash, which some parsers read as a slash.
_VISIBLE = re.compile(r"[!-\[\]-~]+")


class Realm(NamedTuple):
    """An allowed token server. `password`: whether it may receive credentials."""

    url: str
    origin: Origin
    password: bool


def check_realm(text: str, registry: Origin, settings: AuthSettings, *, verified: bool = True) -> Realm:
    """Parse and check the realm `text` that `registry` names; a relative URL is resolved against it.

    `verified` is False if the registry's certificate is not checked: an impostor must not choose
    which server receives the password. Raises ProtocolError if it is not an http(s) URL,
    PolicyRefused if it breaks a rule. Applies to the realm's redirects as well.
    """
    url, origin = _parsed(text, registry)
    listed = _matches(settings.realm_hosts, origin)
    _refuse_downgrade(registry, origin)
    _refuse_internal(registry, origin, listed=_lists_exactly(settings.realm_hosts, origin))
    if settings.realm_hosts and not listed and origin != registry:
        raise PolicyRefused(
            f"{registry.netloc} names {origin.netloc} as its token server, which auth.realm_hosts does not list"
        )
    return Realm(url, origin, _may_receive_password(registry, origin, trusted=listed, verified=verified))


def _parsed(text: str, registry: Origin) -> tuple[str, Origin]:
    shown = printable(text, 200)
    if len(text) > _LONGEST or not _VISIBLE.fullmatch(text):
        raise ProtocolError(f"{registry.netloc} names a token realm that is not a URL: {shown!r}")
    try:
        url = (text if urlsplit(text).scheme else urljoin(f"{registry}/", text)).partition("#")[0]
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None:
        raise ProtocolError(f"{registry.netloc} names a token realm that is not a URL: {shown!r}")
    if "@" in parts.netloc:  # CVE-2024-47081: two parsers may find different hosts after userinfo
        raise PolicyRefused(f"{registry.netloc} names a token realm with user information: {redact(url)}")
    origin = Origin.of(url)
    if not _HOST.fullmatch(origin.host):
        raise ProtocolError(f"{registry.netloc} names a token realm without a valid host: {redact(url)}")
    return url, origin


def _refuse_downgrade(registry: Origin, realm: Origin) -> None:
    if registry.scheme == "https" and realm.scheme == "http":
        raise PolicyRefused(f"{registry.netloc} names a token realm over plain http: {realm}")


def _refuse_internal(registry: Origin, realm: Origin, *, listed: bool) -> None:
    """A registry must not make us send requests to our own network or machine (SSRF; ggcr #2243)."""
    kind = host_class(realm.host)
    same_server = (realm.host, realm.port) == (registry.host, registry.port)
    if kind == "public" or same_server or listed or host_class(registry.host) == "loopback":
        return
    raise PolicyRefused(
        f"{registry.netloc} names a token realm at a {kind} address: {realm.netloc}",
        hint=f"if this is intended, list {realm.host!r} in auth.realm_hosts for this remote",
    )


def _may_receive_password(registry: Origin, realm: Origin, *, trusted: bool, verified: bool) -> bool:
    """True for the registry's own host, and for any https realm named over verified TLS.

    Over plain http anyone on the network path could have named the realm, so only the registry's
    own host may receive the password, and https hosts that the user has listed.
    """
    if realm.scheme == "http":
        return realm.host == registry.host
    return trusted or realm.host == registry.host or (registry.scheme == "https" and verified)


def _lists_exactly(patterns: Iterable[str], origin: Origin) -> bool:
    """True if a pattern is exactly this host, with or without its port; wildcards do not count."""
    return any(pattern.lower() in _spellings(origin) for pattern in patterns)


def _matches(patterns: Iterable[str], origin: Origin) -> bool:
    """True if a pattern is this host, or `*.` and a parent domain of it."""
    return _lists_exactly(patterns, origin) or any(
        pattern.startswith("*.") and origin.host.endswith(pattern[1:].lower()) for pattern in patterns
    )


def _spellings(origin: Origin) -> tuple[str, ...]:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return origin.host, host, f"{host}:{origin.port}"
