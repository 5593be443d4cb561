"""One seeder a kind of remote: it puts the same content where such a remote can find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import pytest
from support.content import Blob, Image, blob, image, random_bytes, write_blob, write_layout

from dist_tool.api import Remote
from dist_tool.errors import NotFound
from dist_tool.remotes.function import FunctionRemote
from dist_tool.remotes.table import open_remote
from dist_tool.service.registry import RegistryServer
from dist_tool.settings import Settings
from dist_tool.spec.reference import Hints, parse_locator
from dist_tool.stream import CHUNK

SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1)


class Content(NamedTuple):
    """What every place holds. `files` are where a test may damage a blob, by digest."""

    images: Mapping[str, Image]
    blobs: Mapping[str, Blob]


CONTENT = Content(
    images={"v1": image("one"), "v2": image("two", docker=True)},
    blobs={
        **{f"{size} bytes": Blob(random_bytes(f"size {size}", size)) for size in SIZES},
        "small": blob("small", 5000),
        "sha384": blob("other", 5000, "sha384"),
        "sha512": blob("long", 5000, "sha512"),
    },
)
ALL_BLOBS: Sequence[Blob] = [*CONTENT.blobs.values(), *(b for i in CONTENT.images.values() for b in i.blobs())]


class Place(NamedTuple):
    """A place with the content. `open` makes a remote for it; `files` maps digests to what a test may damage."""

    open: Callable[[], Remote]
    files: Callable[[Blob], Path]


Seeder = Callable[[Path], AbstractContextManager[Place]]


def _layout(directory: Path) -> Path:
    write_layout(directory, CONTENT.images)
    for each in CONTENT.blobs.values():
        write_blob(directory, each)
    return directory


def _file(layout: Path) -> Callable[[Blob], Path]:
    return lambda blob: layout / "blobs" / blob.digest.algorithm / blob.digest.encoded


def _at(locator: str) -> Callable[[], Remote]:
    return lambda: open_remote(parse_locator(locator), Settings())


def seed_layout(directory: Path) -> AbstractContextManager[Place]:
    return nullcontext(Place(_at(str(_layout(directory))), _file(directory)))


@contextmanager
def seed_registry(directory: Path) -> Iterator[Place]:
    with RegistryServer(_layout(directory), name="team/app") as server:
        yield Place(_at(f"{server.address}/team/app"), _file(directory))


def seed_function(directory: Path) -> AbstractContextManager[Place]:
    """The adapter of plain functions: what the function gives is what files hold."""
    file_of = _file(_layout(directory))
    names = {name: file_of(image.manifest) for name, image in CONTENT.images.items()}
    names |= {str(blob.digest): file_of(blob) for blob in ALL_BLOBS}

    def function(object_id: str, hints: Hints) -> IO[bytes]:
        try:
            return BytesIO(names[object_id].read_bytes())
        except KeyError:
            raise NotFound(f"no {object_id}") from None

    return nullcontext(Place(lambda: FunctionRemote(function), file_of))


SEEDERS: dict[str, Seeder] = {
    "registry": seed_registry,
    "layout": seed_layout,
}
# What remotes are made with, beside the kinds of the table.
ADAPTERS: dict[str, Seeder] = {"function": seed_function}


@pytest.fixture(scope="module", params=[*SEEDERS, *ADAPTERS])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place of each kind, one for all tests: who damages it repairs it."""
    with {**SEEDERS, **ADAPTERS}[request.param](tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture
def remote(place: Place) -> Iterator[Remote]:
    """A remote of each kind, open on the place."""
    opened = place.open()
    with closing(opened) if hasattr(opened, "close") else nullcontext():
        yield opened
