"""URL schemes to try for a host: http, https, or both in order."""

from __future__ import annotations

from dist_tool.names.origin import is_loopback
from dist_tool.settings import Endpoint


def schemes_for(endpoint: Endpoint, host: str) -> tuple[str, ...]:
    """The schemes to try for a host, in order (behaviours B51, D10).

    For loopback http is tried first, as every registry client does, unless a certificate authority
    is configured for it. Other hosts need `plain_http` or `insecure` for http.
    """
    if endpoint.plain_http is not None:
        return ("http",) if endpoint.plain_http else ("https",)
    if is_loopback(host) and not endpoint.tls.ca:
        return ("http", "https")
    return ("https", "http") if endpoint.insecure else ("https",)
