"""A containerd content root, read beside its owner: nothing is touched (behaviours F10, F11)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.content import blob, write_blob

from dist_tool.context import Context
from dist_tool.errors import InvalidArgument, LocalFailure, NotFound, UnsafePath, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.layout.containerd import ContainerdRemote

BLOB = blob("containerd", 5000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    content = tmp_path / "io.containerd.content.v1.content"
    write_blob(content, BLOB)
    (content / "ingest" / "x").mkdir(parents=True)
    return tmp_path


def remote(root: object) -> ContainerdRemote:
    return ContainerdRemote(Locator("containerd", str(root)), Context())


@pytest.mark.parametrize("below", ["", "io.containerd.content.v1.content"])
def test_the_root_or_the_content_directory_may_be_named(root: Path, below: str) -> None:
    assert remote(root / below).resolve(str(BLOB.digest), Hints()) == BLOB.descriptor


def test_without_a_path_the_default_root_is_used() -> None:
    assert parse_locator("containerd::") == Locator("containerd", "")
    with pytest.raises((NotFound, LocalFailure), match="/var/lib/containerd"):
        remote("").open(Descriptor(Digest.of(b"nobody has this")))


@pytest.mark.parametrize("name", ["docker.io/library/redis:7", "latest", "default", "../x", ""])
def test_names_are_in_a_database_that_is_not_read(root: Path, name: str) -> None:
    with pytest.raises(NotFound, match="has digests only: `ctr images list` shows them"):
        remote(root).resolve(name, Hints())


@pytest.mark.parametrize("text", ["sha256:../../../metadata.db", "sha256:short", "@sha256:x"])
def test_a_malformed_digest_is_never_a_path(root: Path, text: str) -> None:
    with pytest.raises(InvalidArgument):
        remote(root).resolve(text, Hints())


def test_an_algorithm_that_cannot_be_verified_is_refused(root: Path) -> None:
    with pytest.raises(Unsupported):
        remote(root).resolve(f"blake3:{'0' * 64}", Hints())


def test_links_and_pipes_are_no_blobs(root: Path) -> None:
    file = root / "io.containerd.content.v1.content" / "blobs" / "sha256" / BLOB.digest.encoded
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(UnsafePath):
        remote(root).open(BLOB.descriptor)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UnsafePath):
        remote(root).open(BLOB.descriptor)


def test_nothing_is_written(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    remote(root).open(BLOB.descriptor).close()
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
