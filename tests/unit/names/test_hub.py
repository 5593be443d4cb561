"""Docker Hub's names."""

from __future__ import annotations

import pytest

from dist_tool.names import hub


@pytest.mark.parametrize("host", ["docker.io", "Docker.IO:443", "index.docker.io", "registry-1.docker.io"])
def test_every_name_of_docker_hub_has_one_canonical_form(host: str) -> None:
    assert hub.canonical_host(host) == "docker.io"


def test_docker_hub_differs_from_other_hosts() -> None:
    assert hub.api_host("docker.io") == "registry-1.docker.io"
    assert hub.full_repository("docker.io", "redis") == "library/redis"
    assert hub.full_repository("docker.io", "a/redis") == "a/redis"
    assert hub.credential_key("docker.io") == "https://index.docker.io/v1/"
    assert hub.credential_hosts("docker.io") == ("docker.io", "index.docker.io", "registry-1.docker.io")
    assert hub.certificate_hosts("docker.io") == ("registry-1.docker.io", "docker.io")


def test_other_hosts_have_one_name() -> None:
    host = "ghcr.io:5000"
    assert hub.api_host(host) == hub.credential_key(host) == hub.canonical_host(host) == host
    assert hub.credential_hosts(host) == hub.certificate_hosts(host) == (host,)
    assert hub.full_repository(host, "redis") == "redis"
