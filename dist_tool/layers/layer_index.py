"""Index of the names in one layer, to search a stack of layers from the top.

The search compares names as text. That is correct for a layer that was written from a directory:
it has an entry for each parent directory of its entries, and each name once. Any other layer may
refer to a file through a symlink in another layer, and is not `plain`.

A hard link is resolved when its entry is read, as unpacking does: only earlier entries of the
same layer are considered. If the target is not one of them (it is in a lower layer, or behind a
symlink), it depends on the layers below, and the entry has the kind LINK.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from dist_tool.layers.names import whiteouts
from dist_tool.rootfs.names import below, clean
from dist_tool.rootfs.temp_database import TempDatabase
from dist_tool.tar.reader import DIRECTORY, LINK, SYMLINK, Entry

# `hidden`: a path hides itself and everything below it; a path with a trailing slash only what is below it.
SCHEMA = """
CREATE TABLE listed (
    layer INTEGER, path BLOB, number INTEGER, kind BLOB, link BLOB, PRIMARY KEY (layer, path)) WITHOUT ROWID;
CREATE TABLE hidden (layer INTEGER, path BLOB, PRIMARY KEY (layer, path)) WITHOUT ROWID;
"""


class Found(NamedTuple):
    """An indexed entry: its number in the layer, its kind, and the target of a symlink.

    For a hard link these are the values of its target, or the kind is LINK if the target is not
    known.
    """

    number: int
    kind: bytes
    link: bytes


_ROOT = Found(-1, DIRECTORY, b"")


class LayerIndex:
    """The names of one layer, stored in a temporary database with `SCHEMA`.

    Raises the errors of `apply_layer` for invalid names.
    """

    def __init__(self, db: TempDatabase, layer: int, entries: Iterator[Entry], depth: int) -> None:
        self.plain = True
        self._db = db
        self._layer = layer
        self._depth = depth
        self._parent = b""  # cache: the last parent that was checked to be a directory
        for number, entry in enumerate(entries):
            self._add(number, entry, clean(entry.name, depth))

    def _add(self, number: int, entry: Entry, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        removed = whiteouts(path, parent, name)
        if removed == () or not self.plain:  # ignored, or the index will not be used
            return
        if parent != self._parent:
            above = self.find(parent)
            self.plain = above is not None and above.kind == DIRECTORY
            self._parent = parent
        if removed is not None:
            hidden = below(parent, removed[0]) if removed[0] else parent + b"/"
            self._db.run("INSERT OR IGNORE INTO hidden VALUES (?, ?)", self._layer, hidden)
        elif path:
            listed = self._linked(number, entry) if entry.kind == LINK else Found(number, entry.kind, _target(entry))
            added = self._db.run("INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?, ?)", self._layer, path, *listed)
            self.plain = self.plain and added == 1

    def _linked(self, number: int, entry: Entry) -> Found:
        """The earlier entry of this layer that is the target of a hard link, else the link itself."""
        found = self.find(clean(entry.link, self._depth))
        return Found(number, LINK, b"") if found is None or found.kind == DIRECTORY else found

    def find(self, path: bytes) -> Found | None:
        """The entry with exactly this path, or None."""
        if not path:
            return _ROOT
        found = self._db.row("SELECT number, kind, link FROM listed WHERE layer = ? AND path = ?", self._layer, path)
        return Found(*cast("tuple[int, bytes, bytes]", found)) if found else None

    def hides(self, path: bytes) -> bool:
        """True if this layer hides `path` in all lower layers."""
        if self._hidden(path):
            return True
        parent = path
        while parent:
            parent = parent.rpartition(b"/")[0]
            if (parent and self._hidden(parent)) or self._hidden(parent + b"/"):
                return True
            above = self.find(parent)
            if above is not None and above.kind != DIRECTORY:
                return True
        return False

    def _hidden(self, path: bytes) -> bool:
        return self._db.row("SELECT 1 FROM hidden WHERE layer = ? AND path = ?", self._layer, path) is not None


def _target(entry: Entry) -> bytes:
    return entry.link if entry.kind == SYMLINK else b""
