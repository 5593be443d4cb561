"""A layout with one of everything, and a registry over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.content import blob, image, index, write_blob, write_layout
from support.serving import Sample

from dist_tool.oci.platform import Platform
from dist_tool.service.http import AccessLogEntry, RegistryServer


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "sample"
    plain = image("plain")
    redis = index(image("redis-amd64"), image("redis-arm64", platform=Platform("linux", "arm64")))
    large = blob("large", 300_000)
    write_layout(path, {"v1": plain, "docker.io/library/redis:7": redis})
    write_blob(path, large)
    return Sample(path, plain, redis, large)


@pytest.fixture
def log() -> list[AccessLogEntry]:
    return []


@pytest.fixture
def registry_server(sample: Sample, log: list[AccessLogEntry]) -> Iterator[RegistryServer]:
    with RegistryServer(sample.path, name="demo", observe=log.append) as server:
        yield server


@pytest.fixture
def address(registry_server: RegistryServer) -> str:
    return registry_server.address
