"""Merged file tree of a stack of layers, without file contents: the entry and layer of each name.

Applies the rules of `changeset` to database tables: symlinks in parent paths are followed inside the
tree, whiteouts do not affect their own layer, a hard link refers to the file that its target was
when the link was read.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

from dist_tool.errors import InvalidContent, UnsafePath
from dist_tool.layers.names import whiteouts
from dist_tool.rootfs.names import below, clean, shown
from dist_tool.rootfs.resolve import LINKS, STEPS
from dist_tool.rootfs.temp_database import TempDatabase
from dist_tool.tar.limits import Limits
from dist_tool.tar.reader import DIRECTORY, LINK, SYMLINK, Entry


class Leaf(NamedTuple):
    """A file that is not a directory: entry number `entry` of layer number `layer`. It may have several names.

    Stored as one integer, which sorts by layer and entry.
    """

    layer: int
    entry: int
    kind: bytes

    def pack(self) -> int:
        """Encode as an integer."""
        return (self.layer << 40 | self.entry) << 8 | self.kind[0]

    @classmethod
    def unpack(cls, number: int) -> Leaf:
        """Decode an integer."""
        return cls(number >> 48, number >> 8 & (1 << 40) - 1, bytes((number & 0xFF,)))


class LayerMember(NamedTuple):
    """A directory or symlink in the tree. `entry` is None for a directory without an entry in any layer.

    `first` is the path of the symlink that this one is a hard link to, else empty.
    """

    path: bytes
    entry: Entry | None
    first: bytes


# `node` of a name is a packed Leaf, or the negated ID of a directory. `layer` is the topmost layer with an entry for
# the name or for a path below it. Rows below a replaced directory remain, unreachable from the root. The components of
# a `path` are separated by NUL, which sorts before all bytes of a name: a directory's content sorts after the directory
# and before its siblings.
_SCHEMA = """
CREATE TABLE names (folder INTEGER, name BLOB, layer INTEGER, node INTEGER, PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE TABLE folders (id INTEGER PRIMARY KEY, parent INTEGER, name BLOB, path BLOB, entry BLOB);
CREATE TABLE links (node INTEGER PRIMARY KEY, target BLOB, entry BLOB, shared INTEGER, first BLOB);
INSERT INTO folders VALUES (1, 1, x'', x'', NULL);
"""
_ROOT = 1
_PUT = "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)"
_BELOW = """
WITH RECURSIVE own (id) AS (
    VALUES (?1) UNION ALL SELECT -node FROM names JOIN own ON folder = id WHERE layer = ?2 AND node < 0)
DELETE FROM names WHERE folder IN own AND layer <> ?2
"""
_LIVE = """
WITH RECURSIVE live (id) AS (VALUES (1) UNION ALL SELECT -node FROM names JOIN live ON folder = id WHERE node < 0)
"""
_LEAVES = """
SELECT node, path, names.name FROM live JOIN names ON folder = live.id JOIN folders ON folders.id = live.id
WHERE node >= 0 AND node & 255 <> {} ORDER BY node, path, names.name
"""
_MEMBERS = """
SELECT path, NULL AS name, NULL AS node, entry, 0 AS shared FROM live JOIN folders USING (id)
UNION ALL
SELECT path, names.name, node, links.entry, shared FROM live JOIN names ON folder = live.id
    JOIN folders ON folders.id = live.id JOIN links USING (node) WHERE node & 255 = {}
ORDER BY path, name
"""
_PARENTS = 10_000  # size of the cache of directories by path
_SYMLINK = SYMLINK[0]
_SEPARATOR = b"\0"


class MergedTree:
    """Merged tree of a stack of layers. Must be closed.

    `check(path, entry)` may reject an entry by raising. Raises the errors of `apply_layer` for
    content that must not be applied, LocalFailure if the disk fails.
    """

    def __init__(self, limits: Limits, check: Callable[[bytes, Entry], None] | None = None) -> None:
        self._check = check
        self._depth = limits.depth
        self._db = TempDatabase(_SCHEMA)
        self._parents: dict[bytes, int] = {}  # cache of directories by path; the current layer has an entry in each
        self._folders = _ROOT
        self._layer = -1
        self._index = -1

    def close(self) -> None:
        """Delete the database. Idempotent."""
        self._db.close()

    def __enter__(self) -> MergedTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_layer(self, entries: Iterator[Entry]) -> None:
        """Add a layer on top."""
        self._layer += 1
        self._index = -1
        self._parents.clear()
        for entry in entries:
            self._index += 1
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        path = clean(entry.name, self._depth)
        parent, _, name = path.rpartition(b"/")
        removed = whiteouts(path, parent, name)
        if removed is not None:
            for target in removed:
                self._whiteout(parent, target)
            return
        if self._check is not None:
            self._check(path, entry)
        if path:
            self._put(self._parent(parent), name, entry)
        elif entry.kind == DIRECTORY:
            self._describe(_ROOT, entry)
        else:
            raise UnsafePath(f"{shown(entry.name)}: the root can only be a directory")

    def _parent(self, path: bytes) -> int:
        """The directory to which the current layer adds a name; created if it is missing."""
        folder = self._parents.get(path)
        if folder is None:
            found = self.find(path, create=True)
            assert found is not None
            folder = -found
            self._mark(folder)
            if len(self._parents) >= _PARENTS:
                self._parents.clear()
            self._parents[path] = folder
        return folder

    def _mark(self, folder: int) -> None:
        """Record that the current layer has an entry in this directory, and so in its parents."""
        while folder != _ROOT:
            parent, name = self._parent_of(folder)
            if not self._db.run(
                "UPDATE names SET layer = ?1 WHERE folder = ?2 AND name = ?3 AND layer <> ?1", self._layer, parent, name
            ):
                return
            folder = parent

    def _parent_of(self, folder: int) -> tuple[int, bytes]:
        found = self._db.row("SELECT parent, name FROM folders WHERE id = ?", folder)
        return cast("tuple[int, bytes]", found)

    def _node(self, folder: int, name: bytes) -> int | None:
        found = self._db.row("SELECT node FROM names WHERE folder = ? AND name = ?", folder, name)
        return cast(int, found[0]) if found else None

    def _put(self, folder: int, name: bytes, entry: Entry) -> None:
        old = self._node(folder, name)
        if entry.kind == DIRECTORY:
            node = old if old is not None and old < 0 else -self._new_folder(folder, name)
            self._describe(-node, entry)
        elif entry.kind == LINK:
            directory, node = self._target(entry)
            if old is not None and old < 0 and self._is_below(directory, -old):
                raise InvalidContent(f"{shown(entry.name)}: hard link to a file in the directory that it replaces")
            if node & 0xFF == _SYMLINK:
                self._db.run("UPDATE links SET shared = 1 WHERE node = ?", node)
        else:
            node = Leaf(self._layer, self._index, entry.kind).pack()
            if entry.kind == SYMLINK:
                self._db.run("INSERT INTO links VALUES (?, ?, ?, 0, NULL)", node, entry.link, _packed(entry))
        if old is not None and old != node and (old < 0 or old & 0xFF == _SYMLINK):
            self._parents.clear()
        self._db.run(_PUT, folder, name, self._layer, node)

    def _new_folder(self, parent: int, name: bytes) -> int:
        found = self._db.row("SELECT path FROM folders WHERE id = ?", parent)
        above = cast("tuple[bytes]", found)[0]
        self._folders += 1
        path = above + _SEPARATOR + name if above else name
        self._db.run("INSERT INTO folders VALUES (?, ?, ?, ?, NULL)", self._folders, parent, name, path)
        return self._folders

    def _describe(self, folder: int, entry: Entry) -> None:
        self._db.run("UPDATE folders SET entry = ? WHERE id = ?", _packed(entry), folder)

    def _is_below(self, folder: int, other: int) -> bool:
        """True if `folder` is `other` or below it."""
        while folder not in (other, _ROOT):
            folder = self._parent_of(folder)[0]
        return folder == other

    def _target(self, entry: Entry) -> tuple[int, int]:
        parent, _, name = clean(entry.link, self._depth).rpartition(b"/")
        folder = self.find(parent)
        found = self._node(-folder, name) if folder is not None and folder < 0 else None
        if folder is None or found is None or found < 0:
            raise InvalidContent(f"{shown(entry.name)}: hard link to {shown(entry.link)}, which does not exist")
        return -folder, found

    def _whiteout(self, parent: bytes, target: bytes) -> None:
        """Remove a name with everything below it, or a directory's content, except entries of the current layer."""
        found = self.find(parent)
        if found is None or found >= 0:
            return
        self._parents.clear()
        if not target:
            self._db.run(_BELOW, -found, self._layer)
        elif not self._db.run(
            "DELETE FROM names WHERE folder = ? AND name = ? AND layer <> ?", -found, target, self._layer
        ):
            own = self._node(-found, target)
            if own is not None and own < 0:
                self._db.run(_BELOW, -own, self._layer)

    def find(self, path: bytes, *, create: bool = False) -> int | None:
        """Resolve a path, following all symlinks, to a packed Leaf, a negated directory ID, or None.

        With `create`, missing directories are created, and a file raises InvalidContent. Raises
        UnsafePath for too many or too long symlinks.
        """
        pending, trail, links, steps = path.split(b"/")[::-1], [_ROOT], 0, 0
        while pending:
            name = pending.pop()
            steps += 1
            if name == b"..":
                if len(trail) > 1:
                    trail.pop()
                steps += len(trail) - 1  # the cost in `rootfs.resolve`, which reopens the path from the root
            if steps > STEPS:
                raise UnsafePath(f"{shown(path)}: its symlinks have too many components")
            if name in (b"", b".", b".."):
                continue
            here = trail[-1]
            node = self._node(here, name)
            if node is None and create:
                node = -self._new_folder(here, name)
                self._mark(here)
                self._db.run(_PUT, here, name, self._layer, node)
            if node is not None and node < 0:
                trail.append(-node)
            elif node is not None and node & 0xFF == _SYMLINK:
                links += 1
                if links > LINKS:
                    raise UnsafePath(f"{shown(path)}: its path has more than {LINKS} symlinks")
                target = self._link(node)
                trail = [_ROOT] if target.startswith(b"/") else trail
                pending += target.split(b"/")[::-1]
            else:
                if node is not None and create:
                    raise InvalidContent(f"{shown(path)}: not a directory")
                return None if any(pending) else node
        return -trail[-1]

    def _link(self, node: int) -> bytes:
        found = self._db.row("SELECT target FROM links WHERE node = ?", node)
        return cast("tuple[bytes]", found)[0]

    def leaves(self) -> Iterator[tuple[Leaf, bytes]]:
        """All names except those of directories and symlinks, in the order of layers and entries.

        The names of one entry are adjacent.
        """
        query = _LIVE + _LEAVES.format(_SYMLINK)
        for node, above, name in cast("Iterator[tuple[int, bytes, bytes]]", self._db.rows(query)):
            yield Leaf.unpack(node), below(_slashed(above), name)

    def members(self) -> Iterator[LayerMember]:
        """All directories and symlinks, depth first: a directory, its symlinks, then its subdirectories."""
        rows = self._db.rows(_LIVE + _MEMBERS.format(_SYMLINK))
        for above, name, node, packed, shared in cast("Iterator[tuple[bytes, bytes | None, int, bytes, int]]", rows):
            entry = None if packed is None else _unpacked(packed)
            path = _slashed(above) if name is None else below(_slashed(above), name)
            yield LayerMember(path, entry, self._first(node, path) if shared else b"")

    def _first(self, node: int, path: bytes) -> bytes:
        """The path under which a symlink was first returned; empty if `path` is the first."""
        found = self._db.row("SELECT first FROM links WHERE node = ?", node)
        first = cast("tuple[bytes | None]", found)[0]
        if first is None:
            self._db.run("UPDATE links SET first = ? WHERE node = ?", path, node)
        return first or b""


def _slashed(path: bytes) -> bytes:
    return path.replace(_SEPARATOR, b"/")


def _packed(entry: Entry) -> bytes:
    return marshal.dumps([getattr(entry, field) for field in Entry.__slots__])


def _unpacked(data: bytes) -> Entry:
    entry = Entry()
    for field, value in zip(Entry.__slots__, marshal.loads(data), strict=True):  # noqa: S302  our own, of this process
        setattr(entry, field, value)
    return entry
