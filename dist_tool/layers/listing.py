"""What one layer says about names, so that a stack of them can be searched from the top.

That is sound as long as names mean what they say: a layer written from a directory mentions
the directories above each entry, and each name once. A layer that does not may name a file
through another layer's symlink, and is not `plain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dist_tool.layers.names import OPAQUE, WHITEOUT, check_parents, clean, is_metadata, whiteout_target
from dist_tool.layers.tarstream import DIRECTORY, LINK, SYMLINK, Entry


class Found(NamedTuple):
    """An entry: its number in its layer, its kind, and where a link points to."""

    number: int
    kind: bytes
    link: bytes


class Listing:
    """The names of one layer. Reading the entries raises as `apply_layer` does for bad names."""

    def __init__(self, entries: Iterator[Entry], depth: int) -> None:
        self.plain = True
        self.found: dict[bytes, Found] = {b"": Found(-1, DIRECTORY, b"")}
        self._hidden: set[bytes] = set()
        self._opaque: set[bytes] = set()
        for number, entry in enumerate(entries):
            self._add(number, entry, clean(entry.name, depth))

    def _add(self, number: int, entry: Entry, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        if is_metadata(path):
            return
        check_parents(path, parent)
        above = self.found.get(parent)
        if above is None or above.kind != DIRECTORY:
            self.plain = False
        if name == OPAQUE:
            self._opaque.add(parent)
        elif name.startswith(WHITEOUT):
            target = whiteout_target(path, name)
            self._hidden.add(parent + b"/" + target if parent else target)
        elif path:
            if path in self.found:
                self.plain = False
            link = entry.link if entry.kind in (LINK, SYMLINK) else b""
            self.found[path] = Found(number, entry.kind, link)

    def hides(self, path: bytes) -> bool:
        """True where nothing that lower layers have at `path` shows."""
        if path in self._hidden:
            return True
        parent = path
        while parent:
            parent = parent.rpartition(b"/")[0]
            if parent in self._hidden or parent in self._opaque:
                return True
            above = self.found.get(parent)
            if above is not None and above.kind != DIRECTORY:
                return True
        return False
