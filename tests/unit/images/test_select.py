"""Choosing a platform out of nested indexes, and out of entries of one name, of every kind of local remote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.archives import tar_layout
from support.content import REF_NAME, Image, Index, image, index, to_json, write_blob, write_layout
from support.repositories import cached, over
from support.repositories import opened as open_remote

from dist_tool.api import Remote
from dist_tool.images.image import open_image
from dist_tool.oci.platform import Platform
from dist_tool.settings import Settings
from dist_tool.store import open_store
from dist_tool.transfer.opening import FetchOptions

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
OPTIONS = FetchOptions()


def images(*, docker: bool = False) -> tuple[Image, Image]:
    return image("amd64", platform=AMD64, docker=docker), image("arm64", platform=ARM64, docker=docker)


@contextmanager
def layout(directory: Path) -> Iterator[Remote]:
    with open_remote(str(directory), Settings()) as remote:
        yield remote


@contextmanager
def store(directory: Path) -> Iterator[Remote]:
    with open_remote(f"store::{directory}", Settings()) as remote:
        yield remote


@contextmanager
def archive(directory: Path) -> Iterator[Remote]:
    with open_remote(str(tar_layout(directory.parent / "images.tar", directory)), Settings()) as remote:
        yield remote


@contextmanager
def kept(directory: Path) -> Iterator[Remote]:
    with layout(directory) as remote:
        yield cached(remote, open_store(str(directory.parent / "kept")), OPTIONS)


KINDS = [layout, store, archive, kept]


def nested(content: Index, times: int, *, docker: bool) -> Index:
    for _ in range(times):
        content = index(content, docker=docker)
    return content


@pytest.mark.parametrize("opened", KINDS)
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("by_digest", [False, True], ids=["name", "digest"])
def test_platform_is_found_in_nested_indexes(
    tmp_path: Path, opened: object, docker: bool, times: int, by_digest: bool
) -> None:
    one, two = images(docker=docker)
    content = nested(index(one, two, docker=docker), times, docker=docker)
    path = write_layout(tmp_path / "layout", {"v1": content})
    object_id = str(content.manifest.digest) if by_digest else "v1"
    with opened(path) as remote:  # type: ignore[operator]
        for _ in range(2):  # the second time a store has everything
            assert open_image(over(remote, OPTIONS), object_id, ARM64).desc.digest == two.manifest.digest
            assert open_image(over(remote, OPTIONS), object_id, AMD64).desc.digest == one.manifest.digest


@pytest.mark.parametrize("opened", [layout, store, kept])
def test_index_that_only_another_index_names_can_be_given_by_digest(tmp_path: Path, opened: object) -> None:
    one, two = images(docker=True)
    inner = index(one, two, docker=True)
    path = write_layout(tmp_path / "layout", {"v1": index(inner)})
    with opened(path) as remote:  # type: ignore[operator]
        for _ in range(2):
            assert (
                open_image(over(remote, OPTIONS), str(inner.manifest.digest), ARM64).desc.digest == two.manifest.digest
            )


@pytest.mark.parametrize("opened", [layout, store, archive, kept])
@pytest.mark.parametrize("order", [1, -1])
def test_platform_is_found_among_entries_of_one_name(tmp_path: Path, opened: object, order: int) -> None:
    path = write_layout(tmp_path / "layout")
    entries = []
    for each in images()[::order]:
        for content in each.blobs():
            write_blob(path, content)
        entry = {**each.manifest.descriptor.to_json(), "platform": each.platform.to_json()}
        entries.append({**entry, "annotations": {REF_NAME: "v1"}})
    (path / "index.json").write_bytes(to_json({"schemaVersion": 2, "manifests": entries}))
    one, two = images()
    with opened(path) as remote:  # type: ignore[operator]
        assert open_image(over(remote, OPTIONS), "v1", ARM64).desc.digest == two.manifest.digest
        assert open_image(over(remote, OPTIONS), "v1", AMD64).desc.digest == one.manifest.digest
