"""Prefixes of names: which locators a table or a rule is about (behaviours D9)."""

from __future__ import annotations

from dist_tool.names.host import other_spelling
from dist_tool.names.hub import canonical_host
from dist_tool.names.locator import Locator


def is_below(locator: Locator, prefix: str) -> bool:
    """True when a locator's name begins with a canonical prefix.

    Whole components count: `docker.io/lib` is not the beginning of `docker.io/library`, and a
    port belongs to its host. `*.example.com` is any host below example.com, `*` any name at all.
    """
    return prefix == "*" or _fits(canonical_host(locator.host), locator.path, prefix)


def is_same_server_below(locator: Locator, prefix: str) -> bool:
    """`is_below`, also when one of the two names the https port and the other leaves it out."""
    if is_below(locator, prefix):
        return True
    other = other_spelling(canonical_host(locator.host))
    return bool(other) and _fits(other, locator.path, prefix)


def with_other_port(locator: Locator) -> Locator | None:
    """A registry's name with the https port added or left out: the same server. None for no such name."""
    other = other_spelling(locator.host)
    return locator._replace(rest=f"{other}/{locator.path}") if other else None


def _fits(host: str, name: str, prefix: str) -> bool:
    wanted, _, path = prefix.partition("/")
    if not (host.endswith(wanted[1:]) if wanted.startswith("*.") else host == wanted):
        return False
    return f"{name}/".startswith(f"{path}/") or not path
