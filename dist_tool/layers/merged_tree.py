"""The merged file system of layers, without file contents: the entry and layer that each name comes from.

The rules are those of `apply`, in tables: symlinked parents are followed inside, whiteouts
spare their own layer, a hard link is the file that its target was.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

from dist_tool.errors import InvalidContent, UnsafePath
from dist_tool.layers.names import WHITEOUT, check_parents, is_metadata, whiteout_target
from dist_tool.rootfs.names import below, clean, shown
from dist_tool.rootfs.resolve import LINKS, STEPS
from dist_tool.rootfs.temp_database import TempDatabase
from dist_tool.tar.limits import Limits
from dist_tool.tar.reader import DIRECTORY, LINK, SYMLINK, Entry


class Leaf(NamedTuple):
    """What is no directory: entry number `entry` of layer number `layer`. Several names may share it.

    In a tree it is one number, in the order of layers and entries.
    """

    layer: int
    entry: int
    kind: bytes

    def pack(self) -> int:
        """The number."""
        return (self.layer << 40 | self.entry) << 8 | self.kind[0]

    @classmethod
    def unpack(cls, number: int) -> Leaf:
        """The leaf of a number."""
        return cls(number >> 48, number >> 8 & (1 << 40) - 1, bytes((number & 0xFF,)))


class LayerMember(NamedTuple):
    """A directory or symlink of the tree. `entry` is None for a directory that no layer describes.

    `first` is the name of the symlink that this one is a hard link to, else empty.
    """

    path: bytes
    entry: Entry | None
    first: bytes


# `node` of a name is a packed Leaf, or the id of a directory, negated. `layer` is the last one that has the name or
# something below it. What hangs below a replaced directory stays, out of reach of the root. The components of a `path`
# are separated by NUL, which sorts before all bytes of a name: what is in a directory follows it, before its siblings.
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
_PARENTS = 10_000  # how many directories are remembered by name
_SYMLINK = SYMLINK[0]
_SEPARATOR = b"\0"


class MergedTree:
    """Layers, one on top of the other. Close it.

    `check(path, entry)` may refuse an entry by raising. Raises as `apply_layer` does for what must
    not be applied, LocalFailure when the disk fails.
    """

    def __init__(self, limits: Limits, check: Callable[[bytes, Entry], None] | None = None) -> None:
        self._check = check
        self._depth = limits.depth
        self._db = TempDatabase(_SCHEMA)
        self._parents: dict[bytes, int] = {}  # directories by name; the layer at hand has something in each
        self._folders = _ROOT
        self._layer = -1
        self._index = -1

    def close(self) -> None:
        """Forget everything. Idempotent."""
        self._db.close()

    def __enter__(self) -> MergedTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_layer(self, entries: Iterator[Entry]) -> None:
        """Put a layer on top."""
        self._layer += 1
        self._index = -1
        self._parents.clear()
        for entry in entries:
            self._index += 1
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        path = clean(entry.name, self._depth)
        parent, _, name = path.rpartition(b"/")
        if WHITEOUT in path:
            if is_metadata(path):
                return
            check_parents(path, parent)
            if name.startswith(WHITEOUT):
                self._whiteout(parent, whiteout_target(path, name))
                return
        if self._check is not None:
            self._check(path, entry)
        if path:
            self._place(self._parent(parent), name, entry)
        elif entry.kind == DIRECTORY:
            self._describe(_ROOT, entry)
        else:
            raise UnsafePath(f"{shown(entry.name)}: the root can only be a directory")

    def _parent(self, path: bytes) -> int:
        """The directory in which the layer at hand puts something, made where it is missing."""
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
        """The layer at hand has something in this directory, and so in those above."""
        while folder != _ROOT:
            parent, name = self._place_of(folder)
            if not self._db.run(
                "UPDATE names SET layer = ?1 WHERE folder = ?2 AND name = ?3 AND layer <> ?1", self._layer, parent, name
            ):
                return
            folder = parent

    def _place_of(self, folder: int) -> tuple[int, bytes]:
        found = self._db.row("SELECT parent, name FROM folders WHERE id = ?", folder)
        return cast("tuple[int, bytes]", found)

    def _node(self, folder: int, name: bytes) -> int | None:
        found = self._db.row("SELECT node FROM names WHERE folder = ? AND name = ?", folder, name)
        return cast(int, found[0]) if found else None

    def _place(self, folder: int, name: bytes, entry: Entry) -> None:
        old = self._node(folder, name)
        if entry.kind == DIRECTORY:
            node = old if old is not None and old < 0 else -self._new_folder(folder, name)
            self._describe(-node, entry)
        elif entry.kind == LINK:
            where, node = self._target(entry)
            if old is not None and old < 0 and self._is_below(where, -old):
                raise InvalidContent(f"{shown(entry.name)}: a hard link to what it replaces")
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
        """True for `other` itself and what is in it."""
        while folder not in (other, _ROOT):
            folder = self._place_of(folder)[0]
        return folder == other

    def _target(self, entry: Entry) -> tuple[int, int]:
        parent, _, name = clean(entry.link, self._depth).rpartition(b"/")
        folder = self.find(parent)
        found = self._node(-folder, name) if folder is not None and folder < 0 else None
        if folder is None or found is None or found < 0:
            raise InvalidContent(f"{shown(entry.name)}: a hard link to {shown(entry.link)}, which is not there")
        return -folder, found

    def _whiteout(self, parent: bytes, target: bytes) -> None:
        """Remove a name and all below it, or all in a directory, but for what the layer at hand put there."""
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
        """What a name means when every symlink is followed: a packed Leaf, a negative number for a directory, or None.

        With `create` missing directories are made, and a file is InvalidContent. Raises UnsafePath
        for too many or too long links.
        """
        pending, trail, links, steps = path.split(b"/")[::-1], [_ROOT], 0, 0
        while pending:
            name = pending.pop()
            steps += 1
            if name == b"..":
                if len(trail) > 1:
                    trail.pop()
                steps += len(trail) - 1  # as many as applying takes, which goes there from the root
            if steps > STEPS:
                raise UnsafePath(f"{shown(path)}: its symlinks are too long")
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
                    raise UnsafePath(f"{shown(path)}: more than {LINKS} symlinks on the way")
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
        """Every name but those of directories and symlinks, in the order of layers and entries.

        Names of one entry follow each other.
        """
        query = _LIVE + _LEAVES.format(_SYMLINK)
        for node, above, name in cast("Iterator[tuple[int, bytes, bytes]]", self._db.rows(query)):
            yield Leaf.unpack(node), below(_slashed(above), name)

    def members(self) -> Iterator[LayerMember]:
        """Every directory and symlink, depth first: a directory, its symlinks, then the directories in it."""
        rows = self._db.rows(_LIVE + _MEMBERS.format(_SYMLINK))
        for above, name, node, packed, shared in cast("Iterator[tuple[bytes, bytes | None, int, bytes, int]]", rows):
            entry = None if packed is None else _unpacked(packed)
            path = _slashed(above) if name is None else below(_slashed(above), name)
            yield LayerMember(path, entry, self._first(node, path) if shared else b"")

    def _first(self, node: int, path: bytes) -> bytes:
        """The name of a symlink that was given before, empty for the first one, which is `path`."""
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
