"""Which proxy, if any (behaviours D14): never for loopback."""

from __future__ import annotations

from collections.abc import Mapping

from dist_tool.names.origin import Origin, is_loopback


def proxies_for(origin: Origin, configured: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies argument of requests for one origin; {} for a direct connection.

    A remote's own `proxy` beats the environment ("" means none); NO_PROXY holds for both the
    environment's proxies and follows the rules of requests: suffixes, CIDR and ports.
    """
    if is_loopback(origin.host):
        return {}
    if configured is not None:
        return {origin.scheme: configured} if configured else {}
    # Sorted, lower case comes last and wins, as with curl.
    lowered = {name.lower(): value for name, value in sorted(environ.items()) if name.lower().endswith("_proxy")}
    # A CGI server turns a client's "Proxy:" header into HTTP_PROXY; only the lower-case name is safe there.
    if "REQUEST_METHOD" in environ and "http_proxy" not in environ:
        lowered.pop("http_proxy", None)
    proxy = lowered.get(f"{origin.scheme}_proxy") or lowered.get("all_proxy")
    if not proxy:
        return {}
    from requests.utils import should_bypass_proxies

    # A value for no_proxy is passed in any case: None would make requests look at the process's environment.
    return {} if should_bypass_proxies(str(origin), lowered.get("no_proxy", "")) else {origin.scheme: proxy}
