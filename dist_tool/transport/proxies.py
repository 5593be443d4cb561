"""Proxy selection (behaviours D14). Loopback is never reached through a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from dist_tool.errors import InvalidArgument, Unsupported
from dist_tool.names.origin import Origin, is_loopback


def proxies_for(origin: Origin, configured: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies argument of requests for one origin; {} for a direct connection.

    A remote's own `proxy` takes precedence over the environment ("" means no proxy). NO_PROXY
    applies only to proxies from the environment, by the rules of requests: suffixes, CIDR and ports.

    Raises Unsupported for a SOCKS proxy, InvalidArgument for an invalid proxy URL; the messages
    name the variable but not its value, which may contain a password.
    """
    if is_loopback(origin.host):
        return {}
    if configured is not None:
        return {origin.scheme: _checked(configured, "the configured proxy")} if configured else {}
    # In sorted order lower case is last and takes precedence, as in curl.
    names = {name.lower(): name for name in sorted(environ) if name.lower().endswith("_proxy")}
    lowered = {lower: environ[name] for lower, name in names.items()}
    # A CGI server turns a client's "Proxy:" header into HTTP_PROXY; only the lower-case name is safe there.
    if "REQUEST_METHOD" in environ and "http_proxy" not in environ:
        lowered.pop("http_proxy", None)
    chosen = next((name for name in (f"{origin.scheme}_proxy", "all_proxy") if lowered.get(name)), "")
    if not chosen:
        return {}
    from requests.utils import should_bypass_proxies

    # Always pass a value for no_proxy: with None, requests reads the process's environment.
    if should_bypass_proxies(str(origin), lowered.get("no_proxy", "")):
        return {}
    return {origin.scheme: _checked(lowered[chosen], names[chosen])}


def _checked(proxy: str, name: str) -> str:
    """Return `proxy` if it is valid: an http or https URL, or HOST:PORT."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = bool(parts.hostname) and parts.port != 0 and proxy.isprintable() and " " not in proxy
    except ValueError:  # such as a port that is not a number
        usable = False
        parts = urlsplit("")
    if parts.scheme.startswith("socks"):
        hint = "use an http proxy; list hosts that need no proxy in NO_PROXY"
        raise Unsupported(f"{name}: SOCKS proxies are not supported", hint=hint)
    if not usable or parts.scheme not in ("http", "https"):
        raise InvalidArgument(f"{name} is not the URL of an http proxy", hint="use one like http://proxy.example:3128")
    return proxy
