"""index.json: names, platforms, and what other tools write there."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from dist_tool.errors import BadManifest, InvalidArgument, InvalidContent, LocalFailure, NotFound
from dist_tool.names.hints import Hints
from dist_tool.store import files

REF_NAME = "org.opencontainers.image.ref.name"
LONE_SURROGATE = "\udc00"


def platforms_under_one_name(filled: Any) -> dict[str, Any]:
    """Two entries of the name `app`, for two platforms; returns their descriptors."""
    descs = {}
    entries = []
    for architecture in ("amd64", "arm64"):
        desc = descs[architecture] = filled.put(architecture.encode())
        platform = {"os": "linux", "architecture": architecture}
        entries.append({**desc.to_json(), "platform": platform, "annotations": {REF_NAME: "app"}})
    (filled.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return descs


def test_half_of_a_surrogate_pair_in_anothers_entry_stays(filled: Any) -> None:
    desc = filled.put(b"x")
    entry = {**desc.to_json(), "annotations": {REF_NAME: "other", "comment": LONE_SURROGATE}}
    (filled.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    filled.store.tag("name", desc)
    written = json.loads((filled.root / "index.json").read_bytes())
    assert written["manifests"][0] == entry
    assert list(filled.store.tags()) == ["other", "name"]


def test_names_of_other_scripts_are_written_as_they_are(filled: Any) -> None:
    filled.store.tag("café", filled.put(b"x"))
    assert "café".encode() in (filled.root / "index.json").read_bytes()


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_platform_chooses_between_entries_of_one_name(filled: Any, architecture: str) -> None:
    descs = platforms_under_one_name(filled)
    hints = Hints(other=(("platform", f"linux/{architecture}"),))
    assert filled.store.resolve("app", hints).digest == descs[architecture].digest


def test_platform_that_no_entry_has_is_not_found(filled: Any) -> None:
    platforms_under_one_name(filled)
    with pytest.raises(NotFound, match=r"linux/s390x: available: linux/arm64, linux/amd64"):
        filled.store.resolve("app", Hints(other=(("platform", "linux/s390x"),)))


def test_name_with_several_entries_lists_them(filled: Any) -> None:
    descs = platforms_under_one_name(filled)
    with pytest.raises(InvalidContent) as caught:
        filled.store.find("app")
    for architecture, desc in descs.items():
        assert f"{desc.digest} (linux/{architecture})" in caught.value.hint


def test_check_finds_what_would_fail_later(filled: Any) -> None:
    filled.put(b"x")
    filled.store.index.check("name")
    with pytest.raises(InvalidArgument):
        filled.store.index.check("\udcff")
    (filled.root / "index.json").write_text('{"manifests": 1}')
    with pytest.raises(BadManifest):
        filled.store.index.check("name")


def test_full_disk_hint_of_a_name_is_what_needs_no_space(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.store.tag("name", filled.put(b"x"))

    def refuse(fd: int, view: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_all", refuse)
    with pytest.raises(LocalFailure, match="No space left") as caught:
        filled.store.untag("name")
    assert "dist content rm DIGEST" in caught.value.hint
    assert "is kept" not in caught.value.hint
