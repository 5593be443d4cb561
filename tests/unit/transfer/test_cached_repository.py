"""Reading through the store: damaged and removed blobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.content import blob, flip, write_blob, write_layout
from support.layers import Heard
from support.repositories import cached, fetch
from support.repositories import opened as open_remote

from dist_tool.errors import NotFound
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import Run
from dist_tool.settings import Settings
from dist_tool.store import open_store
from dist_tool.store.disk import DiskStore
from dist_tool.transfer.opening import FetchOptions

BLOB = blob("kept", 5000)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    layout = write_layout(tmp_path / "layout")
    write_blob(layout, BLOB)
    return layout


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return open_store(str(tmp_path / "store"))


def read(layout: Path, store: DiskStore, report: Heard | None = None) -> bytes:
    options = FetchOptions(run=Run(Heard() if report is None else report))
    with open_remote(str(layout), Settings()) as remote:
        _, reader = fetch(cached(remote, store, options), str(BLOB.digest), Hints(), options)
        with reader:
            return reader.read()


def test_what_is_read_is_in_the_store_and_not_asked_for_twice(layout: Path, store: DiskStore) -> None:
    assert read(layout, store) == BLOB.data
    assert store.size(BLOB.digest) == 5000
    write_blob(layout, BLOB).unlink()
    assert read(layout, store) == BLOB.data


def test_stored_blob_that_has_rotted_is_fetched_anew(layout: Path, store: DiskStore) -> None:
    read(layout, store)
    path = Path(store.path(BLOB.digest))
    path.chmod(0o600)
    path.write_bytes(flip(BLOB.data, 99))
    heard = Heard()
    assert read(layout, store, heard) == BLOB.data
    assert "is damaged" in heard.texts[0]
    assert path.read_bytes() == BLOB.data


def test_what_is_nowhere_is_not_found(layout: Path, store: DiskStore) -> None:
    write_blob(layout, BLOB).unlink()
    with pytest.raises(NotFound):
        read(layout, store)
    assert store.size(BLOB.digest) is None


@pytest.mark.parametrize("data", [flip(BLOB.data, 99), BLOB.data[:100], b""], ids=["flipped", "short", "empty"])
def test_damaged_blob_is_replaced_and_keeps_its_labels(layout: Path, store: DiskStore, data: bytes) -> None:
    read(layout, store)
    store.label(BLOB.digest, {"k": "v"})
    path = Path(store.path(BLOB.digest))
    path.chmod(0o600)
    path.write_bytes(data)
    assert read(layout, store) == BLOB.data
    assert path.read_bytes() == BLOB.data
    assert store.info(BLOB.digest).labels == {"k": "v"}


def test_blob_that_is_removed_before_it_is_read_is_fetched_again(
    layout: Path, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    removals = iter([True])
    real = DiskStore.open

    def remove_first(self: DiskStore, desc: Descriptor, offset: int = 0, **how: bool) -> object:
        if next(removals, False):
            self.delete(desc.digest)
        return real(self, desc, offset, **how)

    monkeypatch.setattr(DiskStore, "open", remove_first)
    assert read(layout, store) == BLOB.data


def test_remote_that_has_no_replacement_for_a_damaged_blob_is_not_asked_again(layout: Path, store: DiskStore) -> None:
    read(layout, store)
    path = Path(store.path(BLOB.digest))
    path.chmod(0o600)
    path.write_bytes(flip(BLOB.data, 99))
    write_blob(layout, BLOB).unlink()
    heard = Heard()
    with pytest.raises(NotFound):
        read(layout, store, heard)
    assert len(heard.texts) == 1
