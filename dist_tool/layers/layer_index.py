"""What one layer says about names, so that a stack of them can be searched from the top.

That is sound as long as names mean what they say: a layer written from a directory mentions
the directories above each entry, and each name once. A layer that does not may name a file
through another layer's symlink, and is not `plain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from dist_tool.layers.names import OPAQUE, WHITEOUT, check_parents, is_metadata, whiteout_target
from dist_tool.rootfs.names import below, clean
from dist_tool.rootfs.temp_database import TempDatabase
from dist_tool.tar.reader import DIRECTORY, LINK, SYMLINK, Entry

# What is hidden: a name, with all below it; or all below a name, which is written with a slash at its end.
SCHEMA = """
CREATE TABLE listed (
    layer INTEGER, path BLOB, number INTEGER, kind BLOB, link BLOB, PRIMARY KEY (layer, path)) WITHOUT ROWID;
CREATE TABLE hidden (layer INTEGER, path BLOB, PRIMARY KEY (layer, path)) WITHOUT ROWID;
"""


class Found(NamedTuple):
    """An entry: its number in its layer, its kind, and where a link points to."""

    number: int
    kind: bytes
    link: bytes


_ROOT = Found(-1, DIRECTORY, b"")


class LayerIndex:
    """The names of one layer, kept in a scratch that has `SCHEMA`.

    Reading the entries raises as `apply_layer` does for bad names.
    """

    def __init__(self, db: TempDatabase, layer: int, entries: Iterator[Entry], depth: int) -> None:
        self.plain = True
        self._db = db
        self._layer = layer
        self._parent = b""  # the last one that was seen to be a directory
        for number, entry in enumerate(entries):
            self._add(number, entry, clean(entry.name, depth))

    def _add(self, number: int, entry: Entry, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        if is_metadata(path):
            return
        check_parents(path, parent)
        if not self.plain:  # nobody will ask
            return
        if parent != self._parent:
            above = self.find(parent)
            self.plain = above is not None and above.kind == DIRECTORY
            self._parent = parent
        if name.startswith(WHITEOUT):
            target = whiteout_target(path, name)
            hidden = parent + b"/" if name == OPAQUE else below(parent, target)
            self._db.run("INSERT OR IGNORE INTO hidden VALUES (?, ?)", self._layer, hidden)
        elif path:
            link = entry.link if entry.kind in (LINK, SYMLINK) else b""
            added = self._db.run(
                "INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?, ?)", self._layer, path, number, entry.kind, link
            )
            self.plain = self.plain and added == 1

    def find(self, path: bytes) -> Found | None:
        """The entry of that very name."""
        if not path:
            return _ROOT
        found = self._db.row("SELECT number, kind, link FROM listed WHERE layer = ? AND path = ?", self._layer, path)
        return Found(*cast("tuple[int, bytes, bytes]", found)) if found else None

    def hides(self, path: bytes) -> bool:
        """True where nothing that lower layers have at `path` shows."""
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
