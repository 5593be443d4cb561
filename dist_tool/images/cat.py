"""Cat: files out of an image, reading no more layers than it takes."""

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


class _Place(NamedTuple):
    """An entry of the image: the number of its layer, and what is there."""

    layer: int
    found: Found


class _NotPlain(Exception):
    """The names of a layer, or the target of a hard link, cannot be searched as text."""


def cat(
    image: Image, source: LayerFetcher, paths: Sequence[bytes], sink: Sink, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Write the content of each file to `sink`, in the order asked for.

    Layers are fetched from the top down, and no further than every name is decided. Symlinks
    are followed inside the image. Nothing is written before all files were found and their
    layers verified. Raises NotFound for what is not there, InvalidArgument for what is no file,
    and as `unpack`.
    """
    with BufferedLayers(image.layers, source) as layers:
        for layer, run in _runs(layers.first(lambda: _places(layers, paths, limits))):
            _write(layers, layer, run, sink, limits)


def _places(layers: BufferedLayers, paths: Sequence[bytes], limits: Limits) -> list[tuple[int, int]]:
    """Layer and number of the entry that holds the content of each file."""
    try:
        with TempDatabase(SCHEMA) as db:
            search = _Search(layers, limits, db)
            return [search.file(path) for path in paths]
    except _NotPlain:
        return _by_merging(layers, paths, limits)


class _Search:
    """Layers that were listed so far, from the top down."""

    def __init__(self, layers: BufferedLayers, limits: Limits, db: TempDatabase) -> None:
        self._layers = layers
        self._limits = limits
        self._db = db
        self._listings: dict[int, LayerIndex] = {}

    def file(self, path: bytes) -> tuple[int, int]:
        """Layer and number of the entry that holds the content of the file `path`."""
        place = self._resolve(path)
        if place.found.kind != FILE:
            raise InvalidArgument(f"{shown(path)} is not a regular file in the image")
        return place.layer, place.found.number

    def _resolve(self, path: bytes) -> _Place:
        pending, real, links, steps = path.split(b"/")[::-1], b"", 0, 0
        place = _Place(0, Found(-1, DIRECTORY, b""))
        while pending:
            name = pending.pop()
            steps += 1
            if steps > STEPS:
                raise UnsafePath(f"{shown(path)}: its symlinks are too long")
            if name == b"..":
                real = real.rpartition(b"/")[0]
            if name in (b"", b".", b".."):
                continue
            here = below(real, name)
            found = self._find(here)
            if found is None or (any(pending) and found.found.kind not in (DIRECTORY, SYMLINK)):
                raise NotFound(f"no file {shown(path)} in the image")
            place = found
            if found.found.kind == SYMLINK:
                links += 1
                if links > LINKS:
                    raise UnsafePath(f"{shown(path)}: more than {LINKS} symlinks on the way")
                real = b"" if found.found.link.startswith(b"/") else real
                pending += found.found.link.split(b"/")[::-1]
            else:
                real = here
        return place

    def _find(self, path: bytes) -> _Place | None:
        """The uppermost entry of exactly that name. Raises _NotPlain when it depends on all layers."""
        for number in range(len(self._layers) - 1, -1, -1):
            listing = self._listing(number)
            found = listing.find(path)
            if found is not None:
                if found.kind == LINK:
                    raise _NotPlain
                return _Place(number, found)
            if listing.hides(path):
                return None
        return None

    def _listing(self, number: int) -> LayerIndex:
        listing = self._listings.get(number)
        if listing is None:
            with self._layers.stream(number, self._limits) as stream:
                entries = iter(TarReader(stream.next, self._limits))
                listing = LayerIndex(self._db, number, entries, self._limits.depth)
                self._layers.check(number, stream)
            self._listings[number] = listing
        if not listing.plain:
            raise _NotPlain
        return listing


def _by_merging(layers: BufferedLayers, paths: Sequence[bytes], limits: Limits) -> list[tuple[int, int]]:
    """The same by way of the whole tree, for layers that need it."""
    places = []
    with merged(layers, limits) as tree:
        for path in paths:
            found = tree.find(path)
            if found is None:
                raise NotFound(f"no file {shown(path)} in the image")
            leaf = Leaf.unpack(found) if found >= 0 else None
            if leaf is None or leaf.kind != FILE:
                raise InvalidArgument(f"{shown(path)} is not a regular file in the image")
            places.append((leaf.layer, leaf.entry))
    return places


def _runs(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[Leaf]]]:
    """Entries in the order asked for, by layer; those that come one after the other in it are together."""
    run: list[Leaf] = []
    for layer, number in places:
        if run and not (layer == run[-1].layer and number > run[-1].entry):
            yield run[0].layer, run
            run = []
        run.append(Leaf(layer, number, FILE))
    if run:
        yield run[0].layer, run


def _write(layers: BufferedLayers, layer: int, run: list[Leaf], sink: Sink, limits: Limits) -> None:
    """Write files of one layer. The last bytes are withheld until the layer is verified once more."""
    withheld = _Withheld(sink)
    with layers.again(layer, limits) as stream:
        reader = TarReader(stream.next, limits)
        after = -1
        for leaf in run:
            entry = entry_at(reader, leaf, after)
            after = leaf.entry
            for piece in file_content(entry, reader.read):
                withheld(piece)
    withheld.release()


class _Withheld:
    """A sink that passes on all but the last `SMALL` bytes until `release`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def __call__(self, data: memoryview) -> None:
        """Append."""
        self._pieces.append(bytes(data))  # a copy: a small view would keep a large piece of the layer in memory
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
