"""Token realms: who may be the token server of a registry, and who may see a password.

A realm is an address that a stranger dictates, so that we send it a request and, worse, a
password. The rules are those that peers arrived at one incident after the other (ggcr #2243,
#2285, #2292, #2302; regclient and distribution in 2026): behaviours C16, C17.
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
# A registered name, an IPv4 address or an IPv6 one as `urlsplit` gives it: nothing percent-encoded,
# nothing that two URL parsers could read differently.
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9.])?|[0-9a-f:.]+")
# What may stand in a URL, without the backslash that some parsers take for a slash.
_VISIBLE = re.compile(r"[!-\[\]-~]+")


class Realm(NamedTuple):
    """A token server that may be asked. `password`: whether it may see credentials."""

    url: str
    origin: Origin
    password: bool


def check_realm(text: str, registry: Origin, settings: AuthSettings, *, verified: bool = True) -> Realm:
    """The realm that `registry` names, relative ones resolved against it.

    `verified` is False where the registry's certificate is not checked: whoever speaks for
    it then must not choose who gets the password. Raises ProtocolError for what is no http(s)
    URL, PolicyRefused for one that breaks a rule. Meant for the realm's redirects as well.
    """
    url, origin = _parsed(text, registry)
    listed = _matches(settings.realm_hosts, origin)
    _refuse_downgrade(registry, origin)
    _refuse_internal(registry, origin, listed=_names(settings.realm_hosts, origin))
    if settings.realm_hosts and not listed and origin != registry:
        raise PolicyRefused(
            f"{registry.netloc} names {origin.netloc} as its token server, which auth.realm_hosts does not list"
        )
    return Realm(url, origin, _may_see_password(registry, origin, trusted=listed, verified=verified))


def _parsed(text: str, registry: Origin) -> tuple[str, Origin]:
    shown = printable(text, 200)
    if len(text) > _LONGEST or not _VISIBLE.fullmatch(text):
        raise ProtocolError(f"{registry.netloc} names a token realm that is no URL: {shown!r}")
    try:
        url = (text if urlsplit(text).scheme else urljoin(f"{registry}/", text)).partition("#")[0]
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None:
        raise ProtocolError(f"{registry.netloc} names a token realm that is no URL: {shown!r}")
    if "@" in parts.netloc:  # CVE-2024-47081: two readers of userinfo may see two hosts
        raise PolicyRefused(f"{registry.netloc} names a token realm with user information: {redact(url)}")
    origin = Origin.of(url)
    if not _HOST.fullmatch(origin.host):
        raise ProtocolError(f"{registry.netloc} names a token realm without a valid host: {redact(url)}")
    return url, origin


def _refuse_downgrade(registry: Origin, realm: Origin) -> None:
    if registry.scheme == "https" and realm.scheme == "http":
        raise PolicyRefused(f"{registry.netloc} names a token realm over plain http: {realm}")


def _refuse_internal(registry: Origin, realm: Origin, *, listed: bool) -> None:
    """A registry must not make us call services of our own network or machine (ggcr #2243)."""
    kind = host_class(realm.host)
    same_place = (realm.host, realm.port) == (registry.host, registry.port)
    if kind == "public" or same_place or listed or host_class(registry.host) == "loopback":
        return
    raise PolicyRefused(
        f"{registry.netloc} names a token realm at a {kind} address: {realm.netloc}",
        hint=f"if it is meant, list {realm.host!r} in auth.realm_hosts for this remote",
    )


def _may_see_password(registry: Origin, realm: Origin, *, trusted: bool, verified: bool) -> bool:
    """The design's rule: the registry's own host, or the realm that it names over verified TLS.

    Over plain http anybody on the way could have named the realm, so only the same host will
    do, unless the user has listed another one that is reached by TLS.
    """
    if realm.scheme == "http":
        return realm.host == registry.host
    return trusted or realm.host == registry.host or (registry.scheme == "https" and verified)


def _names(patterns: Iterable[str], origin: Origin) -> bool:
    """True where a pattern is this very host, with or without its port: no wildcard."""
    return any(pattern.lower() in _spellings(origin) for pattern in patterns)


def _matches(patterns: Iterable[str], origin: Origin) -> bool:
    """True where a pattern is this host, or `*.` and a domain above it."""
    return _names(patterns, origin) or any(
        pattern.startswith("*.") and origin.host.endswith(pattern[1:].lower()) for pattern in patterns
    )


def _spellings(origin: Origin) -> tuple[str, ...]:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return origin.host, host, f"{host}:{origin.port}"
