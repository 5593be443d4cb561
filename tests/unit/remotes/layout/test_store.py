"""The local store as a remote."""

from __future__ import annotations

from pathlib import Path

from support.content import blob

from dist_tool.context import Context
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.remotes.layout.store import StoreRemote
from dist_tool.settings import Settings
from dist_tool.store import open_store

BLOB = blob("configured place", 100)


def test_without_a_path_the_configured_store_is_used(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "elsewhere")).writer("x", Descriptor(BLOB.digest)) as writer:
        writer.write(BLOB.data)
        writer.commit()
    settings = Settings(store_path=str(tmp_path / "elsewhere"), environ={"HOME": str(tmp_path)})
    remote = StoreRemote(Locator("store", ""), Context(settings=settings))
    assert remote.resolve(str(BLOB.digest), Hints()).size == len(BLOB.data)
