"""Export: write the merged file system of an image as one tar, without unpacking."""

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

    Every layer is read twice: the first pass merges and verifies the layers, so that nothing
    of an invalid image is written. Files come first, in layer order; a further name of a file
    already written is a hard link. Directories come last, depth first, parents before children,
    each followed by its symlinks: an extractor that restores a directory's metadata when it
    leaves it (GNU tar) then does so after the last change in it. Symlinks are in this part
    because GNU tar creates those with `..` or an absolute target at the end, and afterwards
    restores only the directories whose entries immediately precede them. Raises the errors of
    `unpack` and of `sink`.
    """
    with (
        BufferedLayers(image.layers, source, AHEAD) as layers,
        layers.first(lambda: merged(layers, limits, check_entry)) as tree,
    ):
        writer = TarWriter(sink)
        for index, names in groupby(tree.leaves(), key=lambda found: found[0].layer):
            with layers.again(index, limits) as stream:
                _write_layer(TarReader(stream.next, limits, stream_name="the layer"), names, writer)
        for path, entry, first in tree.members():
            if entry is not None and first:
                writer.hard_link(path, first, entry)
            elif entry is not None or path:  # the root only if a layer has an entry for it
                writer.entry(path or b".", entry or _implied())
        writer.close()


def merged(layers: BufferedLayers, limits: Limits, check: Callable[[bytes, Entry], None] | None = None) -> MergedTree:
    """The merged tree of all layers, each verified; the caller closes it.

    `check` as for `MergedTree`. Raises the errors of `apply_layer`, and DigestMismatch.
    """
    with ExitStack() as stack:
        tree = stack.enter_context(MergedTree(limits, check))
        for index in range(len(layers)):
            with layers.stream(index, limits) as stream:
                tree.add_layer(iter(TarReader(stream.next, limits, stream_name="the layer")))
                layers.check(index, stream)
        stack.pop_all()
    return tree


def _implied() -> Entry:
    """A directory for which no layer has an entry (behaviours G8); its time is the epoch, for reproducible output."""
    entry = Entry()
    entry.kind, entry.mode = DIRECTORY, 0o755
    entry.uid = entry.gid = entry.size = entry.mtime = entry.atime = 0
    entry.name = entry.link = b""
    entry.device, entry.xattrs, entry.sparse = (0, 0), None, None
    return entry


def _write_layer(reader: TarReader, names: Iterator[tuple[Leaf, bytes]], writer: TarWriter) -> None:
    """Write the entries of one layer that remain after merging; `names` are in the layer's order."""
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
    """Read on to the entry of `leaf`; entries up to number `after` have been read.

    Raises InvalidContent if the layer differs from the one that was merged.
    """
    entry = None
    for _ in range(leaf.entry - after):
        entry = reader.next()
        if entry is None:
            break
    if entry is None or entry.kind != leaf.kind:
        raise InvalidContent("the layer changed while it was being read")
    return entry
