"""Resolving names with many symlinks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.layers import held

from dist_tool.errors import LocalFailure, UnsafePath
from dist_tool.rootfs import openat2
from dist_tool.rootfs.resolve import Hooks, PathResolver

LINKS = 39


def chain(root: Path, depth: int) -> str:
    """Links that each lead down `depth` directories and up again to the next; returns the real directory."""
    deep = "/".join(["d"] * depth)
    (root / deep).mkdir(parents=True)
    for number in range(LINKS - 1):
        (root / f"l{number}").symlink_to(f"/{deep}{'/..' * depth}/l{number + 1}")
    (root / f"l{LINKS - 1}").symlink_to(f"/{deep}")
    return deep


def missing(*_: object) -> None:
    raise FileNotFoundError


def resolve(root: Path, name: bytes, **options: bool) -> str:
    with held(root) as descriptor:
        place = PathResolver(descriptor, Hooks(missing, lambda _: None), **options).open(name)
        os.close(place.descriptor)
        return place.path.decode()


def calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Opened directories of one resolution."""
    count = 0

    def counted(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", counted(os.open))
        patch.setattr(openat2, "open_directory", counted(openat2.open_directory))
        resolve(root, b"l0")
    return count


@pytest.mark.skipif(not openat2.is_available(), reason="needs openat2")
def test_links_times_depth_does_not_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for depth in (8, 100):
        root = tmp_path / str(depth)
        deep = chain(root, depth)
        assert resolve(root, b"l0") == deep
        counts.append(calls(root, monkeypatch))
    assert counts[1] <= counts[0] + 10 < 20 * LINKS


@pytest.mark.parametrize("use_openat2", [True, False])
def test_both_ways_to_resolve_agree(tmp_path: Path, use_openat2: bool) -> None:
    deep = chain(tmp_path / "root", 12)
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "a").mkdir()
    (tmp_path / "root" / "a" / "up").symlink_to("../../../../outside")
    (tmp_path / "root" / "outside" / "x").mkdir(parents=True)
    (tmp_path / "root" / "loop").symlink_to("a/../loop")
    (tmp_path / "root" / "file").write_text("")

    def found(name: bytes) -> str:
        return resolve(tmp_path / "root", name, use_openat2=use_openat2)

    assert found(b"l0") == deep
    assert found(b"a/up/x") == "outside/x"
    with pytest.raises(UnsafePath, match="more than 40 symlinks"):
        found(b"loop")
    with pytest.raises(NotADirectoryError):
        found(b"a/up/../file/x")
    with pytest.raises(FileNotFoundError):
        found(b"a/up/none/x")


@pytest.mark.parametrize("use_openat2", [True, False])
def test_link_is_an_error_where_none_may_be(tmp_path: Path, use_openat2: bool) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    with held(tmp_path) as descriptor:
        resolver = PathResolver(descriptor, Hooks(missing, lambda _: None), use_openat2=use_openat2)
        with pytest.raises(LocalFailure, match="replaced by another process"):
            resolver.open(b"l", follow=False)
        os.close(resolver.open(b"d", follow=False).descriptor)
