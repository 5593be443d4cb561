"""Which directories become a store."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.content import image, write_layout

from dist_tool.errors import InvalidArgument
from dist_tool.store import open_store

IMAGE = image("layout")


@pytest.mark.parametrize("missing", ["blobs", "blobs/sha256"])
def test_layout_without_directories_for_blobs_can_be_written(tmp_path: Path, missing: str) -> None:
    """git keeps no empty directories."""
    root = write_layout(tmp_path / "layout")
    shutil.rmtree(root / "blobs")
    if missing != "blobs":
        (root / "blobs").mkdir()
    store = open_store(str(root))
    with store.writer("ref") as writer:
        writer.write(b"x")
        desc = writer.commit()
    assert store.read(desc, 10) == b"x"


def test_directories_for_blobs_are_durable_before_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_layout(tmp_path / "layout")
    shutil.rmtree(root / "blobs")
    synced: list[str] = []
    monkeypatch.setattr("dist_tool.store.files.sync_directory", synced.append)
    open_store(str(root)).prepare()
    assert {str(root), str(root / "blobs")} <= set(synced)


def test_fresh_file_system_can_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "mount" / "lost+found").mkdir(mode=0o700, parents=True)
    store = open_store(str(tmp_path / "mount"))
    store.prepare()
    assert json.loads((tmp_path / "mount" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert list(store.walk()) == []


def test_directory_with_files_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mount" / "lost+found").mkdir(parents=True)
    (tmp_path / "mount" / "thesis.tex").touch()
    with pytest.raises(InvalidArgument, match=r"thesis\.tex"):
        open_store(str(tmp_path / "mount")).prepare()
    assert sorted(os.listdir(tmp_path / "mount")) == ["lost+found", "thesis.tex"]


def test_leftover_of_a_killed_process_of_another_user_does_not_block(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desc = filled.put(b"x")
    beside = filled.root / ".index.json.new"
    beside.write_text("left")
    real = os.open

    def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == str(beside) and beside.exists() and beside.read_text() == "left":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    filled.store.tag("name", desc)
    assert list(filled.store.tags()) == ["name"]
