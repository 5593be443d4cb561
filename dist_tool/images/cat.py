"""Cat: write files of an image, fetching no more layers than needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dist_tool.errors import InvalidArgument, NotFound, UnsafePath
from dist_tool.images.export import entry_at, merged
from dist_tool.images.image import Image
from dist_tool.images.layer_fetcher import BufferedLayers, LayerFetcher
from dist_tool.layers.layer_index import SCHEMA, Found, LayerIndex
from dist_tool.layers.merged_tree import Leaf
from dist_tool.rootfs.names import below, shown
from dist_tool.rootfs.resolve import LINKS, STEPS
from dist_tool.rootfs.temp_database import TempDatabase
from dist_tool.stream.pump import SMALL, Sink
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits
from dist_tool.tar.reader import DIRECTORY, FILE, LINK, SYMLINK, TarReader
from dist_tool.tar.writer import file_content


class _Location(NamedTuple):
    """An entry of the image: its layer number and its record in that layer's index."""

    layer: int
    found: Found


class _NeedsMergedTree(Exception):
    """Path lookup needs the merged tree: a hard link, or a layer whose names cannot be compared as text."""


def cat(
    image: Image, source: LayerFetcher, paths: Sequence[bytes], sink: Sink, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Write the content of each file to `sink`, in the order of `paths`.

    Layers are fetched from the top down, until every path is resolved. Symlinks are followed
    inside the image. Nothing is written before all files are found and their layers verified.
    Raises NotFound for a missing path, InvalidArgument for a path that is not a regular file,
    and the errors of `unpack`.
    """
    with BufferedLayers(image.layers, source) as layers:
        for layer, run in _runs(layers.first(lambda: _locate(layers, paths, limits))):
            _write(layers, layer, run, sink, limits)


def _locate(layers: BufferedLayers, paths: Sequence[bytes], limits: Limits) -> list[tuple[int, int]]:
    """The layer number and entry number of each file's content."""
    try:
        with TempDatabase(SCHEMA) as db:
            search = _Search(layers, limits, db)
            return [search.file(path) for path in paths]
    except _NeedsMergedTree:
        return _by_merging(layers, paths, limits)


class _Search:
    """Path lookup in layer indexes, which are built on demand from the top layer down."""

    def __init__(self, layers: BufferedLayers, limits: Limits, db: TempDatabase) -> None:
        self._layers = layers
        self._limits = limits
        self._db = db
        self._indexes: dict[int, LayerIndex] = {}

    def file(self, path: bytes) -> tuple[int, int]:
        """The layer number and entry number of the content of the file `path`."""
        location = self._resolve(path)
        if location.found.kind != FILE:
            raise InvalidArgument(f"{shown(path)} is not a regular file in the image")
        return location.layer, location.found.number

    def _resolve(self, path: bytes) -> _Location:
        pending, real, links, steps = path.split(b"/")[::-1], b"", 0, 0
        location = _Location(0, Found(-1, DIRECTORY, b""))
        while pending:
            name = pending.pop()
            steps += 1
            if steps > STEPS:
                raise UnsafePath(f"{shown(path)}: its symlinks have too many components")
            if name == b"..":
                real = real.rpartition(b"/")[0]
            if name in (b"", b".", b".."):
                continue
            candidate = below(real, name)
            found = self._find(candidate)
            if found is None or (any(pending) and found.found.kind not in (DIRECTORY, SYMLINK)):
                raise NotFound(f"no file {shown(path)} in the image")
            location = found
            if found.found.kind == SYMLINK:
                links += 1
                if links > LINKS:
                    raise UnsafePath(f"{shown(path)}: its path has more than {LINKS} symlinks")
                real = b"" if found.found.link.startswith(b"/") else real
                pending += found.found.link.split(b"/")[::-1]
            else:
                real = candidate
        return location

    def _find(self, path: bytes) -> _Location | None:
        """The topmost entry with exactly this name. Raises _NeedsMergedTree if the result depends on all layers."""
        for number in range(len(self._layers) - 1, -1, -1):
            index = self._index(number)
            found = index.find(path)
            if found is not None:
                if found.kind == LINK:
                    raise _NeedsMergedTree
                return _Location(number, found)
            if index.hides(path):
                return None
        return None

    def _index(self, number: int) -> LayerIndex:
        index = self._indexes.get(number)
        if index is None:
            with self._layers.stream(number, self._limits) as stream:
                entries = iter(TarReader(stream.next, self._limits, stream_name="the layer"))
                index = LayerIndex(self._db, number, entries, self._limits.depth)
                self._layers.check(number, stream)
            self._indexes[number] = index
        if not index.plain:
            raise _NeedsMergedTree
        return index


def _by_merging(layers: BufferedLayers, paths: Sequence[bytes], limits: Limits) -> list[tuple[int, int]]:
    """As `_locate`, by merging all layers."""
    locations = []
    with merged(layers, limits) as tree:
        for path in paths:
            found = tree.find(path)
            if found is None:
                raise NotFound(f"no file {shown(path)} in the image")
            leaf = Leaf.unpack(found) if found >= 0 else None
            if leaf is None or leaf.kind != FILE:
                raise InvalidArgument(f"{shown(path)} is not a regular file in the image")
            locations.append((leaf.layer, leaf.entry))
    return locations


def _runs(locations: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[Leaf]]]:
    """Split entries into runs, in the order given: a run is of one layer, with ascending entry numbers."""
    run: list[Leaf] = []
    for layer, number in locations:
        if run and not (layer == run[-1].layer and number > run[-1].entry):
            yield run[0].layer, run
            run = []
        run.append(Leaf(layer, number, FILE))
    if run:
        yield run[0].layer, run


def _write(layers: BufferedLayers, layer: int, run: list[Leaf], sink: Sink, limits: Limits) -> None:
    """Write files of one layer. The last bytes are withheld until the layer has been verified again."""
    withheld = _Withheld(sink)
    with layers.again(layer, limits) as stream:
        reader = TarReader(stream.next, limits, stream_name="the layer")
        after = -1
        for leaf in run:
            entry = entry_at(reader, leaf, after)
            after = leaf.entry
            for piece in file_content(entry, reader.read):
                withheld(piece)
    withheld.release()


class _Withheld:
    """A sink that withholds at least the last `SMALL` bytes until `release`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def __call__(self, data: memoryview) -> None:
        """Append `data`."""
        self._pieces.append(bytes(data))  # a copy: a small view would hold a large chunk of the layer in memory
        self._size += len(data)
        while self._size - len(self._pieces[0]) >= SMALL:
            self._pass_on()

    def release(self) -> None:
        """Pass on the rest."""
        while self._pieces:
            self._pass_on()

    def _pass_on(self) -> None:
        piece = self._pieces.popleft()
        self._size -= len(piece)
        self._sink(memoryview(piece))
