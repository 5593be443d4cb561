"""Export: what an image's layers come to, as one tar, without a file system in between."""

from __future__ import annotations

from dist_tool.layers.limits import DEFAULT_LIMITS, Limits
from dist_tool.layers.tarstream import DIRECTORY, FILE, Entry, TarReader
from dist_tool.layers.tarwriter import TarWriter
from dist_tool.layers.tree import Leaf, Tree
from dist_tool.stream import Sink
from dist_tool.transfer.image import Image
from dist_tool.transfer.layer_source import AHEAD, KeptLayers, OpenLayer

Names = bytes | list[bytes]
Survivors = list[dict[int, Names]]


def export(image: Image, open_layer: OpenLayer, sink: Sink, limits: Limits = DEFAULT_LIMITS) -> None:
    """Write the image's file system to `sink` as a tar, whiteouts applied.

    Every layer is read twice: first to learn what survives, which verifies all of it, so that
    nothing is written of an image that is not right. Files come in the order of the layers; a
    name that shares its file with one before it is a hard link. Directories come last,
    children before parents: whoever extracts them sets modes and times that nothing after
    them disturbs. Raises as `unpack`, and what `sink` raises.
    """
    with KeptLayers(image.layers, open_layer, AHEAD) as layers:
        tree = merged(layers, limits)
        writer = TarWriter(sink)
        survivors = _survivors(tree, len(layers))
        for index, names in enumerate(survivors):
            if names:
                _write_layer(layers, index, names, (writer, limits))
        _write_folders(tree, writer)
        writer.close()


def merged(layers: KeptLayers, limits: Limits) -> Tree:
    """The tree of all layers, each of them verified. Raises as `apply_layer`, DigestMismatch."""
    tree = Tree(limits)
    for index in range(len(layers)):
        with layers.stream(index, limits) as stream:
            tree.add_layer(iter(TarReader(stream.next, limits)))
            layers.check(index, stream)
    return tree


def _write_folders(tree: Tree, writer: TarWriter) -> None:
    for path, folder in sorted(tree.folders(), key=lambda found: found[0], reverse=True):
        entry = folder.entry
        if entry is not None or path:  # the root only where a layer describes it
            writer.entry(path or b".", entry or _implied())


def _implied() -> Entry:
    """A directory that no layer describes (behaviours G8); its time is the epoch, always the same."""
    entry = Entry()
    entry.kind, entry.mode = DIRECTORY, 0o755
    entry.uid = entry.gid = entry.size = entry.mtime = entry.atime = 0
    entry.name = entry.link = b""
    entry.device, entry.xattrs, entry.sparse = (0, 0), None, None
    return entry


def _survivors(tree: Tree, count: int) -> Survivors:
    """For each layer: the names that its entries have in the end, by the entry's number.

    Takes them out of the tree, where they are of no more use: both together may be large.
    """
    found: Survivors = [{} for _ in range(count)]
    for path, folder in tree.folders():
        for name in sorted(folder.children):
            child = folder.children[name]
            if isinstance(child, int):
                del folder.children[name]
                leaf = Leaf.unpack(child)
                _add(found[leaf.layer], leaf.entry, path + b"/" + name if path else name)
    return found


def _add(names: dict[int, Names], index: int, path: bytes) -> None:
    others = names.get(index)
    if others is None:
        names[index] = path
    else:
        names[index] = [*([others] if isinstance(others, bytes) else others), path]


def _write_layer(layers: KeptLayers, index: int, names: dict[int, Names], target: tuple[TarWriter, Limits]) -> None:
    writer, limits = target
    with layers.stream(index, limits) as stream:
        reader = TarReader(stream.next, limits)
        for number, entry in enumerate(reader):
            if number in names:
                found = names.pop(number)
                first, *others = [found] if isinstance(found, bytes) else found
                writer.entry(first, entry)
                if entry.kind == FILE:
                    writer.content(entry, reader.read)
                for other in others:
                    writer.hard_link(other, first, entry)
            if not names:
                return
