"""The store in memory, beyond what every store promises."""

from __future__ import annotations

import time

import pytest
from support.stored import put

from dist_tool.store.memory import MemoryStore


@pytest.mark.parametrize("is_use", [True, False])
def test_opening_a_blob_marks_it_as_used_unless_it_is_no_use(is_use: bool) -> None:
    store = MemoryStore()
    desc = put(store, b"x")
    before = store.info(desc.digest)
    time.sleep(0.02)
    store.open(desc, is_use=is_use).close()
    assert (store.info(desc.digest).updated_at > before.updated_at) is is_use


def test_opened_blob_shares_the_bytes_of_the_store() -> None:
    """Ten readers of a blob cost no ten copies."""
    import tracemalloc

    store = MemoryStore()
    desc = put(store, bytes(8 << 20))
    tracemalloc.start()
    try:
        bodies = [store.open(desc) for _ in range(10)]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    for body in bodies:
        body.close()
