"""One seeder a kind of remote: it puts the same content where such a remote can find it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import pytest
from _pytest.mark import ParameterSet
from support.archives import Span, tar_layout
from support.buckets import ENVIRON, S3, s3_server
from support.content import Blob, Image, blob, image, random_bytes, write_blob, write_layout
from support.programs import SHELF, install
from support.tree import serving

from dist_tool.api import NamedStore, Remote
from dist_tool.errors import NotFound
from dist_tool.names.hints import Hints
from dist_tool.names.locator import parse_locator
from dist_tool.remotes.function import FunctionRemote
from dist_tool.remotes.table import open_remote
from dist_tool.service.http import RegistryServer
from dist_tool.settings import Settings
from dist_tool.store import open_store
from dist_tool.store.memory import MemoryStore
from dist_tool.stream.body import CHUNK

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


class Damageable(Protocol):
    """Where a blob lies."""

    def write_bytes(self, data: bytes, /) -> object:
        """Put other bytes of the same number there."""


class Place(NamedTuple):
    """A place with the content. `open` makes a remote for it; `files` maps digests to what a test may damage.

    `named` is False for places that know digests only.
    """

    open: Callable[[], Remote]
    files: Callable[[Blob], Damageable]
    named: bool = True


Seeder = Callable[[Path], AbstractContextManager[Place]]


def _layout(directory: Path) -> Path:
    write_layout(directory, CONTENT.images)
    for each in CONTENT.blobs.values():
        write_blob(directory, each)
    return directory


def _file(layout: Path) -> Callable[[Blob], Path]:
    return lambda blob: layout / "blobs" / blob.digest.algorithm / blob.digest.encoded


def _at(locator: str, environ: Mapping[str, str] | None = None) -> Callable[[], Remote]:
    return lambda: open_remote(parse_locator(locator), Settings(environ=environ or {}))


def _with_names(directory: Path) -> Path:
    """A layout whose images are also files: what places without an index are asked for by name."""
    _layout(directory)
    for name, each in CONTENT.images.items():
        (directory / name).write_bytes(each.manifest.data)
    return directory


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


def seed_archive(directory: Path) -> AbstractContextManager[Place]:
    directory.mkdir(parents=True, exist_ok=True)
    file = tar_layout(directory / "images.tar", _layout(directory / "layout"))
    sound = file.read_bytes()
    return nullcontext(Place(_at(str(file)), lambda blob: Span(file, sound.index(blob.data), len(blob.data))))


def seed_compressed_archive(directory: Path) -> AbstractContextManager[Place]:
    """What is damaged is the archive that it is made of: it is made anew."""
    directory.mkdir(parents=True, exist_ok=True)
    layout, file = _layout(directory / "layout"), directory / "images.tar.gz"

    class Inside(NamedTuple):
        blob: Blob

        def write_bytes(self, data: bytes) -> None:
            _file(layout)(self.blob).write_bytes(data)
            tar_layout(file, layout, mode="w:gz")

    tar_layout(file, layout, mode="w:gz")
    return nullcontext(Place(_at(f"archive::{file}"), Inside))


def seed_store(directory: Path) -> AbstractContextManager[Place]:
    return nullcontext(Place(_at("store::", {"DIST_STORE": str(_layout(directory))}), _file(directory)))


def seed_containerd(directory: Path) -> AbstractContextManager[Place]:
    content = _layout(directory / "io.containerd.content.v1.content")
    return nullcontext(Place(_at(f"containerd::{directory}"), _file(content), named=False))


@contextmanager
def seed_http(directory: Path) -> Iterator[Place]:
    with serving(_with_names(directory / "tree").parent) as server:
        where = f"http::{server.host}/tree/{{digest}}"
        for each in ALL_BLOBS:
            (directory / "tree" / str(each.digest)).write_bytes(each.data)
        yield Place(_at(where), lambda blob: directory / "tree" / str(blob.digest))


@contextmanager
def seed_http_layout(directory: Path) -> Iterator[Place]:
    with serving(_layout(directory / "some" / "layout").parents[1]) as server:
        yield Place(_at(f"layout::http::{server.host}/some/layout"), _file(directory / "some" / "layout"))


class _Key(NamedTuple):
    server: S3
    key: str

    def write_bytes(self, data: bytes) -> None:
        self.server.put("images", self.key, data)


@contextmanager
def seed_s3(directory: Path, kind: str = "s3", prefix: str = "a/pre+fix") -> Iterator[Place]:
    directory.mkdir(parents=True, exist_ok=True)
    with s3_server(directory) as server:
        server.create("images")
        tree = _with_names(directory / "layout")
        for file in tree.rglob("*"):
            if file.is_file():
                server.put("images", f"{prefix}/{file.relative_to(tree)}".replace("+", "%2B"), file.read_bytes())
        locator = f"s3::images@{server.host}/{prefix}"
        where = f"layout::{locator}" if kind == "layout" else f"{locator}/blobs/{{algorithm}}/{{encoded}}"
        base = f"{prefix}/blobs".replace("+", "%2B")
        for name, each in CONTENT.images.items():
            server.put("images", f"{base}/{name}", each.manifest.data)
        yield Place(
            _at(where, ENVIRON), lambda blob: _Key(server, f"{base}/{blob.digest.algorithm}/{blob.digest.encoded}")
        )


def seed_program(directory: Path) -> AbstractContextManager[Place]:
    environ = install(directory / "bin", "shelf", SHELF)
    tree = _with_names(directory / "tree")
    return nullcontext(Place(_at(f"shelf::{tree}", environ), _file(tree)))


SEEDERS: dict[str, Seeder] = {
    "registry": seed_registry,
    "layout": seed_layout,
    "archive": seed_archive,
    "store": seed_store,
    "containerd": seed_containerd,
    "http": seed_http,
    "s3": seed_s3,
}
# Kinds of the table in other dress, and what remotes are made with.
VARIANTS: dict[str, Seeder] = {
    "compressed archive": seed_compressed_archive,
    "layout over http": seed_http_layout,
    "layout over s3": lambda directory: seed_s3(directory, "layout", "pre"),
}
ADAPTERS: dict[str, Seeder] = {"function": seed_function, "program": seed_program}
# Kinds that need a server or a process.
SERVED = {"registry", "http", "s3", "layout over http", "layout over s3", "program"}


def marked(kinds: Iterable[str]) -> list[ParameterSet]:
    """The kinds as parameters; the fast tests leave out those that need a server or a process."""
    return [pytest.param(kind, marks=[pytest.mark.component] if kind in SERVED else []) for kind in kinds]


# Those that have an index: names with a digest, lists, referrers.
INDEXED = marked(["registry", "layout", "archive", "store", *VARIANTS])


@pytest.fixture(scope="module", params=marked([*SEEDERS, *VARIANTS, *ADAPTERS]))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place of each kind, one for all tests: who damages it repairs it."""
    with {**SEEDERS, **VARIANTS, **ADAPTERS}[request.param](tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture
def remote(place: Place) -> Iterator[Remote]:
    """A remote of each kind, open on the place."""
    opened = place.open()
    with closing(opened) if hasattr(opened, "close") else nullcontext():
        yield opened


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> NamedStore:
    """An empty store of each implementation."""
    return MemoryStore() if request.param == "memory" else open_store(str(tmp_path / "store"))
