"""Docker Hub: host names, credential keys and the `library/` rule (behaviours A3-A5, C23)."""

from __future__ import annotations

from dist_tool.names.host import normal_host

HUB = "docker.io"
_INDEX = "index.docker.io"
_API = "registry-1.docker.io"
_HOSTS = frozenset({HUB, _INDEX, _API})
_OFFICIAL = "library/"
# Docker's key for Docker Hub in its credential file, also passed to credential helpers.
_CREDENTIAL_KEY = "https://index.docker.io/v1/"


def canonical_host(host: str) -> str:
    """The canonical form of a host: `normal_host`, with all hosts of Docker Hub as `docker.io`."""
    host = normal_host(host)
    return HUB if host.removesuffix(":443") in _HOSTS else host


def api_host(host: str) -> str:
    """The host that serves the API of a canonical host: docker.io itself is not a registry (behaviours A5)."""
    return _API if host == HUB else host


def is_registry_of_hub(host: str) -> bool:
    """True for the hosts that containerd's hosts.toml uses for Docker Hub's own registry."""
    return host in (HUB, _API)


def full_repository(host: str, path: str) -> str:
    """The repository of a path: on Docker Hub, a single component is an official image in `library/`."""
    return f"{_OFFICIAL}{path}" if host == HUB and "/" not in path else path


def short_repository(path: str) -> str:
    """The repository without `library/`."""
    return path.removeprefix(_OFFICIAL)


def credential_key(host: str) -> str:
    """Docker's key for the credentials of a canonical host."""
    return _CREDENTIAL_KEY if host == HUB else host


def credential_hosts(host: str) -> tuple[str, ...]:
    """The keys that tools use for the credentials of a canonical host, in the order of lookup."""
    return (HUB, _INDEX, _API) if host == HUB else (host,)


def certificate_hosts(host: str) -> tuple[str, ...]:
    """The names of a canonical host's directory in `certs.d`, in the order of lookup (behaviours D6)."""
    return (_API, HUB) if host == HUB else (host,)
