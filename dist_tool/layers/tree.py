"""The file system that layers come to, without their contents: which entry of which layer each name is.

The rules are those of `apply`, in memory: symlinked parents are followed inside, whiteouts
spare their own layer, a hard link is the file that its target was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dist_tool.errors import InvalidContent, UnsafePath
from dist_tool.layers.limits import Limits
from dist_tool.layers.names import WHITEOUT, check_parents, clean, is_metadata, shown, whiteout_target
from dist_tool.layers.resolve import LINKS
from dist_tool.layers.tarstream import DIRECTORY, LINK, SYMLINK, Entry


class Leaf(NamedTuple):
    """What is no directory: entry number `entry` of layer number `layer`. Several names may share it.

    In a tree it is one number, since there may be very many.
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


_SYMLINK = SYMLINK[0]


class Folder:
    """A directory; `entry` is the last one that describes it, None where a layer only implies it."""

    __slots__ = ("children", "entry", "name", "own", "parent")

    def __init__(self, parent: Folder | None = None, name: bytes = b"") -> None:
        self.parent = parent
        self.name = name
        self.entry: Entry | None = None
        self.children: dict[bytes, Folder | int] = {}
        self.own: tuple[int, set[bytes]] = (-1, set())

    def mark(self, layer: int, name: bytes) -> None:
        """Layer number `layer` has `name` here, or something below it."""
        if self.own[0] != layer:
            self.own = (layer, set())
        if name not in self.own[1]:
            self.own[1].add(name)
            if self.parent is not None:
                self.parent.mark(layer, self.name)

    def is_own(self, layer: int, name: bytes) -> bool:
        """True for what that layer marked."""
        return self.own[0] == layer and name in self.own[1]

    def is_below(self, other: Folder) -> bool:
        """True for `other` itself and what is in it."""
        here: Folder | None = self
        while here is not None:
            if here is other:
                return True
            here = here.parent
        return False


class Tree:
    """Layers, one on top of the other. Raises as `apply_layer` does for what must not be applied."""

    def __init__(self, limits: Limits) -> None:
        self._depth = limits.depth
        self.root = Folder()
        self._links: dict[int, bytes] = {}
        self._layer = -1
        self._index = -1

    def add_layer(self, entries: Iterator[Entry]) -> None:
        """Put a layer on top."""
        self._layer += 1
        self._index = -1
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
        if not path:
            if entry.kind != DIRECTORY:
                raise UnsafePath(f"{shown(entry.name)}: the root can only be a directory")
            self.root.entry = entry
            return
        folder = self.folder(parent, create=True)
        assert folder is not None
        folder.mark(self._layer, name)
        self._place(folder, name, entry)

    def _place(self, folder: Folder, name: bytes, entry: Entry) -> None:
        old = folder.children.get(name)
        if entry.kind == DIRECTORY:
            if not isinstance(old, Folder):
                folder.children[name] = old = Folder(folder, name)
            old.entry = entry
        elif entry.kind == LINK:
            where, target = self._target(entry)
            if isinstance(old, Folder) and where.is_below(old):
                raise InvalidContent(f"{shown(entry.name)}: a hard link to what it replaces")
            folder.children[name] = target
        else:
            number = folder.children[name] = Leaf(self._layer, self._index, entry.kind).pack()
            if entry.kind == SYMLINK:
                self._links[number] = entry.link

    def _target(self, entry: Entry) -> tuple[Folder, int]:
        parent, _, name = clean(entry.link, self._depth).rpartition(b"/")
        folder = self.folder(parent)
        found = folder.children.get(name) if folder is not None else None
        if folder is None or not isinstance(found, int):
            raise InvalidContent(f"{shown(entry.name)}: a hard link to {shown(entry.link)}, which is not there")
        return folder, found

    def _whiteout(self, parent: bytes, target: bytes) -> None:
        folder = self.folder(parent)
        if folder is None:
            return
        for name in [target] if target else list(folder.children):
            if name in folder.children:
                self._hide(folder, name)

    def _hide(self, top: Folder, name: bytes) -> None:
        """Remove a name and all below it, but for what the layer at hand put there."""
        todo = [(top, name)]
        while todo:
            folder, hidden = todo.pop()
            child = folder.children[hidden]
            if not folder.is_own(self._layer, hidden):
                del folder.children[hidden]
            elif isinstance(child, Folder):
                todo += [(child, below) for below in child.children]

    def folder(self, path: bytes, *, create: bool = False) -> Folder | None:
        """The directory that a name means, symlinks followed; None where there is none."""
        found = self.find(path, create=create)
        return found if isinstance(found, Folder) else None

    def find(self, path: bytes, *, create: bool = False) -> Folder | int | None:
        """What a name means when every symlink is followed (a packed Leaf); None where there is nothing.

        With `create` missing directories are made, and a file is InvalidContent. Raises UnsafePath
        for too many links.
        """
        pending, here, links = path.split(b"/")[::-1], self.root, 0
        while pending:
            name = pending.pop()
            if name == b"..":
                here = here.parent or here
            if name in (b"", b".", b".."):
                continue
            child = here.children.get(name)
            if child is None and create:
                here.mark(self._layer, name)
                here.children[name] = child = Folder(here, name)
            if isinstance(child, Folder):
                here = child
            elif child is not None and child & 0xFF == _SYMLINK:
                links += 1
                if links > LINKS:
                    raise UnsafePath(f"{shown(path)}: more than {LINKS} symlinks on the way")
                target = self._links[child]
                here = self.root if target.startswith(b"/") else here
                pending += target.split(b"/")[::-1]
            else:
                if child is not None and create:
                    raise InvalidContent(f"{shown(path)}: not a directory")
                return None if any(pending) else child
        return here

    def folders(self) -> Iterator[tuple[bytes, Folder]]:
        """Every directory with its path, parents before children, in the order of names."""
        todo: list[tuple[bytes, Folder]] = [(b"", self.root)]
        while todo:
            path, folder = todo.pop()
            yield path, folder
            for name in sorted(folder.children, reverse=True):
                child = folder.children[name]
                if isinstance(child, Folder):
                    todo.append((path + b"/" + name if path else name, child))
