"""Name prefixes: matching locators against tables and rules (behaviours D9)."""

from __future__ import annotations

from dist_tool.names.host import other_spelling
from dist_tool.names.hub import canonical_host
from dist_tool.names.locator import Locator


def is_below(locator: Locator, prefix: str) -> bool:
    """True if a locator's name begins with a canonical prefix.

    Prefixes match whole components: `docker.io/lib` does not match `docker.io/library`. A port is
    part of its host. `*.example.com` matches any host below example.com, `*` any name.
    """
    return prefix == "*" or _fits(canonical_host(locator.host), locator.path, prefix)


def is_same_server_below(locator: Locator, prefix: str) -> bool:
    """`is_below`, also if only one of the two has the https port."""
    if is_below(locator, prefix):
        return True
    other = other_spelling(canonical_host(locator.host))
    return bool(other) and _fits(other, locator.path, prefix)


def with_other_port(locator: Locator) -> Locator | None:
    """The locator with the https port added or removed: the same server. None if there is no such name."""
    other = other_spelling(locator.host)
    return locator._replace(rest=f"{other}/{locator.path}") if other else None


def _fits(host: str, name: str, prefix: str) -> bool:
    wanted, _, path = prefix.partition("/")
    if not (host.endswith(wanted[1:]) if wanted.startswith("*.") else host == wanted):
        return False
    return f"{name}/".startswith(f"{path}/") or not path
