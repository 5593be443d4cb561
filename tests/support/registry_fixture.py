"""Fixtures: fault servers and the kinds that ask them, the authority of the tests, real registries for a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.kinds import kind, tree
from support.processes import Authority, Registry, docker_registry
from support.server import server, servers

__all__ = ["authority", "kind", "locked_registry", "registry", "server", "servers", "tls_registry", "tree"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority; needs openssl."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """docker-registry over plain http. Use a repository of your own in each test."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """docker-registry that wants a password, over plain http."""
    with docker_registry(tmp_path_factory.mktemp("locked"), credentials=("tester", "correct horse")) as running:
        yield running


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Registry]:
    """docker-registry with TLS and a password."""
    directory = tmp_path_factory.mktemp("tls")
    with docker_registry(directory, credentials=("tester", "correct horse"), authority=authority) as running:
        yield running
