"""Choosing a platform out of nested indexes of a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.content import Image, Index, image, index, write_layout
from support.repositories import opened as open_remote
from support.repositories import over

from dist_tool.api import Remote
from dist_tool.images.image import open_image
from dist_tool.oci.platform import Platform
from dist_tool.service.http import RegistryServer
from dist_tool.settings import Settings
from dist_tool.transfer.opening import FetchOptions

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
OPTIONS = FetchOptions()


def images(*, docker: bool = False) -> tuple[Image, Image]:
    return image("amd64", platform=AMD64, docker=docker), image("arm64", platform=ARM64, docker=docker)


@contextmanager
def registry(directory: Path) -> Iterator[Remote]:
    with (
        RegistryServer(directory, name="team/app") as server,
        open_remote(f"{server.address}/team/app", Settings()) as remote,
    ):
        yield remote


def nested(content: Index, times: int, *, docker: bool) -> Index:
    for _ in range(times):
        content = index(content, docker=docker)
    return content


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("by_digest", [False, True], ids=["name", "digest"])
def test_platform_is_found_in_nested_indexes(tmp_path: Path, docker: bool, times: int, by_digest: bool) -> None:
    one, two = images(docker=docker)
    content = nested(index(one, two, docker=docker), times, docker=docker)
    path = write_layout(tmp_path / "layout", {"v1": content})
    object_id = str(content.manifest.digest) if by_digest else "v1"
    with registry(path) as remote:
        for _ in range(2):
            assert open_image(over(remote, OPTIONS), object_id, ARM64).desc.digest == two.manifest.digest
            assert open_image(over(remote, OPTIONS), object_id, AMD64).desc.digest == one.manifest.digest
