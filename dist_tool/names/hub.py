"""Docker Hub: its names, which other tools write in several ways (behaviours A3, A5)."""

from __future__ import annotations

from dist_tool.names.host import normal_host

HUB = "docker.io"
HUB_API = "registry-1.docker.io"  # docker.io itself is no registry (behaviours A5)
HUB_HOSTS = frozenset({HUB, "index.docker.io", HUB_API})


def canonical_host(host: str) -> str:
    """The one spelling of a host, also of Docker Hub: see `normal_host`."""
    host = normal_host(host)
    return HUB if host.removesuffix(":443") in HUB_HOSTS else host
