"""Layers that are on this machine: read twice in place, verified each time, never copied to temporary files."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.content import Blob, flip, random_bytes, write_blob, write_layout
from support.layers import Heard, image_of, opened
from support.repositories import cached, over
from support.repositories import opened as open_remote
from support.tars import directory, fifo, file, symlink, tar

from dist_tool.api import Remote
from dist_tool.errors import DataLoss
from dist_tool.images import layer_fetcher as layer_source
from dist_tool.images.cat import cat
from dist_tool.images.export import export
from dist_tool.images.image import open_image
from dist_tool.images.layer_fetcher import LayerFetcher, is_local
from dist_tool.names.locator import parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.platform import default_platform
from dist_tool.run import Run
from dist_tool.settings import Settings
from dist_tool.store import open_store
from dist_tool.stream.body import Body
from dist_tool.stream.verify import VerifiedReader
from dist_tool.transfer.opening import FetchOptions

LOWER = tar(directory("./"), file("a", b"first"), file("large", random_bytes("large", 6 << 20)), file("b", b"second"))
UPPER = tar(directory("./"), symlink("s", "b"), file("c", b"third"))
IMAGE = image_of(LOWER, UPPER)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"image": IMAGE})


@pytest.fixture
def no_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a temporary file was opened")

    monkeypatch.setattr(layer_source, "Spool", refuse)


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


@pytest.mark.usefixtures("no_spool")
def test_local_layers_are_not_copied(layout: Path) -> None:
    out, content = bytearray(), bytearray()
    with opened(layout, in_place=True) as (image, source):
        export(image, source, out.extend)
        cat(image, source, [b"s", b"a", b"c"], content.extend)
    assert names(bytes(out)) == ["a", "large", "b", "c", ".", "s"]
    assert content == b"secondfirstthird"


@pytest.mark.usefixtures("no_spool")
def test_layers_go_through_the_store_once_and_are_read_there(layout: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    opened_blobs: list[Descriptor] = []

    class Counting:
        def __init__(self, remote: Remote) -> None:
            self._remote = remote
            self.resolve = remote.resolve

        def open(self, desc: Descriptor, offset: int = 0) -> Body:
            opened_blobs.append(desc)
            return self._remote.open(desc, offset)

    with open_remote(str(layout), Settings()) as remote:
        options = FetchOptions(run=Run(Heard()))
        kept = cached(Counting(remote), store, options)
        image = open_image(over(kept, options), str(IMAGE.manifest.digest), default_platform())
        out, content = bytearray(), bytearray()
        source = LayerFetcher(over(kept, options), in_place=True)
        export(image, source, out.extend)
        cat(image, source, [b"a", b"c"], content.extend)
    assert content == b"firstthird"
    assert names(bytes(out))[:2] == ["a", "large"]
    assert len(opened_blobs) == len({desc.digest for desc in opened_blobs}) == 4


@pytest.mark.parametrize(
    ("locator", "local"),
    [
        ("./layout", True),
        ("store::", True),
        ("layout::./x", True),
        ("archive::./x.tar", True),
        ("layout::http::example.com/x", False),
        ("example.com/x", False),
    ],
)
def test_only_files_of_this_machine_are_local(locator: str, local: bool) -> None:
    assert is_local(parse_locator(locator)) is local


# A layer that changes between the two readings

CHANGED: dict[str, Callable[[bytes], bytes]] = {
    "other content": lambda _: gzip.compress(LOWER.replace(b"first", b"FIRST"), mtime=0),
    "damaged end": lambda data: flip(data, 8 * len(data) - 40),
    "damaged middle": lambda data: flip(data, 4 * len(data)),
    "cut": lambda data: data[:-100],
    "fewer entries": lambda _: gzip.compress(tar(directory("./")), mtime=0),
    "other entries": lambda _: gzip.compress(tar(directory("./"), fifo("a"), file("x"), file("y")), mtime=0),
    "longer": lambda data: data + bytes(512),
    "other owners": lambda _: gzip.compress(tar(directory("./"), file("a", uid=-5), file("x"), file("y")), mtime=0),
}


class Changing(LayerFetcher):
    """A layout of which the lower layer changes after it was read the first time."""

    def __init__(self, remote: Remote, change: Callable[[], None]) -> None:
        super().__init__(over(remote), in_place=True)
        self._change = change

    def reopen(self, layer: Descriptor) -> VerifiedReader:
        self._change()
        return super().reopen(layer)


@pytest.fixture(params=CHANGED.values(), ids=CHANGED)
def changing(request: pytest.FixtureRequest, layout: Path) -> Iterator[LayerFetcher]:
    blob: Blob = IMAGE.layers[0]
    data = request.param(blob.data)
    with open_remote(str(layout), Settings()) as remote:
        yield Changing(remote, lambda: write_blob(layout, blob).write_bytes(data) and None)


def test_export_of_a_layer_that_changes_is_an_error_and_has_no_end(changing: LayerFetcher, layout: Path) -> None:
    out = bytearray()
    with opened(layout) as (image, _), pytest.raises(DataLoss):
        export(image, changing, out.extend)
    assert not out.endswith(bytes(1024))
    assert b"third" not in out


def test_cat_of_a_layer_that_changes_gives_nothing(changing: LayerFetcher, layout: Path) -> None:
    for path in (b"a", b"s"):
        out = bytearray()
        with opened(layout) as (image, _), pytest.raises(DataLoss):
            cat(image, changing, [path], out.extend)
        assert out == b""


def test_large_file_of_a_layer_that_changes_is_not_complete(changing: LayerFetcher, layout: Path) -> None:
    out = bytearray()
    with opened(layout) as (image, _), pytest.raises(DataLoss):
        cat(image, changing, [b"large"], out.extend)
    assert len(out) <= 2 << 20
