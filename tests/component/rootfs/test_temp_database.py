"""Names by the million: memory does not grow with them, and a full disk is one message."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from support.entries import entry

from dist_tool.layers.layer_index import SCHEMA, LayerIndex
from dist_tool.layers.merged_tree import MergedTree
from dist_tool.rootfs.spill import SpillDict
from dist_tool.rootfs.temp_database import TempDatabase
from dist_tool.tar.limits import Limits
from dist_tool.tar.reader import DIRECTORY, Entry

MIB = 1 << 20


def entries(count: int) -> Iterator[Entry]:
    """Half of them directories, half of them files in one of those."""
    yield entry("one", DIRECTORY)
    for number in range(count // 2):
        yield entry(f"one/file-of-some-length-{number}")
        yield entry(f"directory-of-some-length-{number}", DIRECTORY)


def grow_tree(count: int) -> None:
    with MergedTree(Limits()) as tree:
        tree.add_layer(entries(count))
        assert sum(1 for _ in tree.leaves()) == count // 2
        assert sum(1 for _ in tree.members()) == count // 2 + 2


def grow_listing(count: int) -> None:
    with TempDatabase(SCHEMA) as db:
        assert LayerIndex(db, 0, entries(count), 10).plain


def grow_shelf(count: int) -> None:
    with closing(SpillDict(MIB)) as shelf:
        for each in entries(count):
            shelf.put(each.name, b"x")
        assert sum(1 for _ in shelf.descending()) == count + 1


@pytest.mark.parametrize("grow", [grow_tree, grow_listing, grow_shelf])
def test_memory_does_not_grow_with_the_names(grow: Callable[[int], None]) -> None:
    """What Python holds; SQLite holds its cache, of a fixed size."""
    peaks = []
    for count in (6000, 24_000):
        tracemalloc.start()
        try:
            grow(count)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + MIB
