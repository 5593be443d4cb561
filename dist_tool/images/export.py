"""Export: the merged file system of an image as one tar, without unpacking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby

from dist_tool.errors import InvalidContent
from dist_tool.images.image import Image
from dist_tool.images.layer_fetcher import AHEAD, BufferedLayers, LayerFetcher
from dist_tool.layers.merged_tree import Leaf, MergedTree
from dist_tool.layers.possible import check_entry
from dist_tool.stream.pump import Sink
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits
from dist_tool.tar.reader import DIRECTORY, FILE, Entry, TarReader
from dist_tool.tar.writer import TarWriter


def export(image: Image, source: LayerFetcher, sink: Sink, limits: Limits = DEFAULT_LIMITS) -> None:
    """Write the image's file system to `sink` as a tar, whiteouts applied.

    Every layer is read twice: first to merge the layers and verify them, so that nothing is
    written of an image that is not right. Files come first, in the order of the layers; a name
    that shares its file with one before it is a hard link. Directories come last, depth first,
    parents before children, each followed by its symlinks. An extractor that restores a
    directory when it leaves it (GNU tar) then does so when nothing in it changes any more. The
    symlinks are in this part because GNU tar creates those with `..` or an absolute target at
    its very end, and afterwards restores only the directories whose entries came just before
    them. Raises as `unpack`, and what `sink` raises.
    """
    with (
        BufferedLayers(image.layers, source, AHEAD) as layers,
        layers.first(lambda: merged(layers, limits, check_entry)) as tree,
    ):
        writer = TarWriter(sink)
        for index, names in groupby(tree.leaves(), key=lambda found: found[0].layer):
            with layers.again(index, limits) as stream:
                _write_layer(TarReader(stream.next, limits), names, writer)
        for path, entry, first in tree.members():
            if entry is not None and first:
                writer.hard_link(path, first, entry)
            elif entry is not None or path:  # the root only when a layer describes it
                writer.entry(path or b".", entry or _implied())
        writer.close()


def merged(layers: BufferedLayers, limits: Limits, check: Callable[[bytes, Entry], None] | None = None) -> MergedTree:
    """The tree of all layers, each of them verified; the caller closes it.

    `check` as for `MergedTree`. Raises as `apply_layer`, DigestMismatch.
    """
    with ExitStack() as stack:
        tree = stack.enter_context(MergedTree(limits, check))
        for index in range(len(layers)):
            with layers.stream(index, limits) as stream:
                tree.add_layer(iter(TarReader(stream.next, limits)))
                layers.check(index, stream)
        stack.pop_all()
    return tree


def _implied() -> Entry:
    """A directory that no layer describes (behaviours G8); its time is the epoch, always the same."""
    entry = Entry()
    entry.kind, entry.mode = DIRECTORY, 0o755
    entry.uid = entry.gid = entry.size = entry.mtime = entry.atime = 0
    entry.name = entry.link = b""
    entry.device, entry.xattrs, entry.sparse = (0, 0), None, None
    return entry


def _write_layer(reader: TarReader, names: Iterator[tuple[Leaf, bytes]], writer: TarWriter) -> None:
    """Write the entries that are left of one layer: `names` are in its order."""
    number, entry = -1, Entry()
    first = b""
    for leaf, name in names:
        if first and leaf.entry == number:
            writer.hard_link(name, first, entry)
            continue
        entry = entry_at(reader, leaf, number)
        number, first = leaf.entry, name
        writer.entry(name, entry)
        if entry.kind == FILE:
            writer.content(entry, reader.read)


def entry_at(reader: TarReader, leaf: Leaf, after: int = -1) -> Entry:
    """The entry of a leaf in its layer, of which entries up to number `after` were read.

    Raises InvalidContent when the layer is not the one that was merged.
    """
    entry = None
    for _ in range(leaf.entry - after):
        entry = reader.next()
        if entry is None:
            break
    if entry is None or entry.kind != leaf.kind:
        raise InvalidContent("the layer changed while it was being read")
    return entry
