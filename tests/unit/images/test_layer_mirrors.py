"""Layers from mirrors: a wrong layer is replaced by the next mirror's, and nothing of it stays."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest
from support.content import Image, flip, random_bytes
from support.fake_remotes import FakeObjectRemote, mirrored
from support.layers import Heard, Noting, image_of
from support.repositories import over
from support.tars import file, tar
from support.trees import shape

from dist_tool.api import Remote
from dist_tool.errors import DigestMismatch, LimitExceeded, NotFound
from dist_tool.images.cat import cat
from dist_tool.images.export import export
from dist_tool.images.image import open_image
from dist_tool.images.layer_fetcher import fetched_ahead
from dist_tool.images.unpack import UnpackOptions, unpack
from dist_tool.layers.options import ApplyOptions
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.platform import default_platform
from dist_tool.remotes.mirrors.remote import MirroredRemote
from dist_tool.run import Run
from dist_tool.stream.body import Body
from dist_tool.stream.spool import Retracted
from dist_tool.tar.limits import Limits
from dist_tool.transfer.opening import FetchOptions

# Layers of the first image are withheld completely until verified; those of the second are read as they arrive.
SIZES = {"small": 5000, "large": 3 << 20}


class Sample(NamedTuple):
    """An image of three layers, and its merged files."""

    image: Image
    files: dict[str, bytes]

    def mirrors(self, *lies: bytes | None) -> tuple[MirroredRemote, FakeObjectRemote, FakeObjectRemote]:
        """The image on two mirrors; the first serves `lies` in place of its layers, the lowest first (None: no lie)."""
        layers = zip(self.image.layers, lies, strict=False)
        wrong = {layer.digest: lie for layer, lie in layers if lie is not None}
        first, second = FakeObjectRemote(self.image.blobs(), wrong), FakeObjectRemote(self.image.blobs())
        return mirrored(first, second), first, second

    def unpacked(self, remote: Remote, target: Path, **how: Any) -> dict[str, bytes]:
        opened = open_image(over(remote, FetchOptions()), str(self.image.root.digest), default_platform())
        unpack(opened, Noting(remote), str(target), UnpackOptions(**how), Run(Heard()))
        return shape(target)  # type: ignore[return-value]

    def exported(self, remote: Remote) -> dict[str, bytes]:
        out = io.BytesIO()
        opened = open_image(over(remote, FetchOptions()), str(self.image.root.digest), default_platform())
        export(opened, Noting(remote), lambda data: out.write(data))
        out.seek(0)
        with tarfile.open(fileobj=out) as archive:
            return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]

    def content(self, remote: Remote, *paths: str) -> bytes:
        out = bytearray()
        opened = open_image(over(remote, FetchOptions()), str(self.image.root.digest), default_platform())
        cat(opened, Noting(remote), [path.encode() for path in paths], out.extend)
        return bytes(out)


@cache
def sample(size: str) -> Sample:
    contents = {f"f{n}": random_bytes(n, SIZES[size]) for n in range(3)}
    layers = (tar(file(name, data), file("top", name.encode())) for name, data in contents.items())
    return Sample(image_of(*layers), contents | {"top": b"f2"})


@pytest.fixture
def here(tmp_path: Path) -> Path:
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


@pytest.fixture(params=SIZES)
def image(request: pytest.FixtureRequest) -> Sample:
    return sample(request.param)


FORGED = gzip.compress(tar(file("forged", b"x"), file("f1", b"forged")), mtime=0)
# Wrong content in place of a layer, detected at its first byte, at its last, or only by its digest.
LIES: dict[str, Callable[[bytes], bytes]] = {
    "no archive at all": lambda data: b"\x1f\x8bnonsense" + data[10:],
    "a damaged beginning": lambda data: flip(data, 8 * 1000),
    "a damaged end": lambda data: flip(data, 8 * len(data) - 40),
    "another archive": lambda data: FORGED + bytes(len(data) - len(FORGED)),
    "less": lambda data: data[:-1],
}


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_wrong_layer_is_read_from_the_next_mirror_and_leaves_nothing(
    here: Path, image: Sample, lie: Callable[[bytes], bytes], layer: int
) -> None:
    lies = [None] * layer + [lie(image.image.layers[layer].data)]
    assert image.unpacked(image.mirrors(*lies)[0], here / "target") == image.files
    assert [path.name for path in here.iterdir()] == ["target"]
    assert image.exported(image.mirrors(*lies)[0]) == image.files
    paths = ["f0", "top", "f1"]
    assert image.content(image.mirrors(*lies)[0], *paths) == b"".join(image.files[path] for path in paths)


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_wrong_layers_are_requested_at_most_twice_from_each_mirror(here: Path, image: Sample, ahead: int) -> None:
    layers = image.image.layers
    remote, first, second = image.mirrors(*(LIES["a damaged end"](layer.data) for layer in layers))
    assert image.unpacked(remote, here / "target", ahead=ahead) == image.files
    for layer in layers:
        assert 1 <= first.requests.count(layer.digest) <= 2
        assert 1 <= second.requests.count(layer.digest) <= 2


def test_export_and_cat_fetch_no_layer_twice(image: Sample) -> None:
    layers = image.image.layers
    remote, first, second = image.mirrors(*(LIES["another archive"](layer.data) for layer in layers))
    assert image.exported(remote) == image.files
    for layer in layers:
        assert (first.requests.count(layer.digest), second.requests.count(layer.digest)) == (1, 1)


def test_unpack_leaves_nothing_if_a_layer_is_wrong_on_every_mirror(here: Path, image: Sample) -> None:
    layer = image.image.layers[1]
    wrong = {layer.digest: LIES["another archive"](layer.data)}
    remotes = [FakeObjectRemote(image.image.blobs(), wrong) for _ in range(2)]
    with pytest.raises(DigestMismatch) as caught:
        image.unpacked(mirrored(*remotes), here / "target")
    assert len(caught.value.attempts) == 2
    assert list(here.iterdir()) == []
    with pytest.raises(DigestMismatch):
        image.exported(mirrored(*remotes))


def test_layer_that_exceeds_a_limit_is_requested_once(here: Path, image: Sample) -> None:
    remote, first, second = image.mirrors()
    with pytest.raises(LimitExceeded):
        image.unpacked(remote, here / "target", apply=ApplyOptions(limits=Limits(size=10_000, ratio=10**6)))
    assert max(first.requests.count(layer.digest) for layer in image.image.layers) == 1
    assert second.requests == []


def test_absent_file_is_not_found_in_a_wrong_layer(image: Sample) -> None:
    remote, _, _ = image.mirrors(None, None, LIES["another archive"](image.image.layers[2].data))
    with pytest.raises(NotFound):
        image.content(remote, "forged")


# Reading a layer as it arrives

LARGE = tar(file("large", bytes(range(256)) * (16 << 10)))  # 4 MiB, plain


class Gated(FakeObjectRemote):
    """It withholds the last byte until `gate` is set."""

    def __init__(self, data: bytes, digest: Digest) -> None:
        super().__init__([], {digest: data})
        self.gate = Event()

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        gate, file = self.gate, super().open(desc, offset)

        class Waiting(Body):
            def readinto(self, view: memoryview) -> int:
                if self.offset_now >= len(LARGE) - 1:
                    assert gate.wait(30)
                most = len(LARGE) - 1 - self.offset_now if self.offset_now < len(LARGE) - 1 else 1
                got = file.readinto(view[:most])
                self.offset_now += got
                return got

            offset_now = offset

        return Waiting(offset=offset, total=file.total, source="gated")


def test_layer_from_mirrors_is_read_as_it_arrives(here: Path) -> None:
    """Except its end, which is withheld until the layer is verified."""
    digest = Digest.of(LARGE)
    slow = Gated(LARGE, digest)
    source = Noting(mirrored(slow, FakeObjectRemote([])))
    with fetched_ahead([Descriptor(digest, len(LARGE))], source, directory=str(here), ahead=1) as reads:
        read = next(reads)
        got = b""
        while len(got) < 1 << 20:
            got += read(1 << 20)
        slow.gate.set()
        while piece := read(1 << 20):
            got += piece
    assert got == LARGE


def test_whole_layers_are_read_only_after_verification(here: Path) -> None:
    digest = Digest.of(LARGE)
    sound = Gated(LARGE, digest)
    corrupt = FakeObjectRemote([], {digest: flip(LARGE, 8 * len(LARGE) - 1)})
    source = Noting(mirrored(corrupt, sound))

    def whole(*, whole: bool) -> bytes:
        layers = [Descriptor(digest, len(LARGE))]
        with fetched_ahead(layers, source, directory=str(here), ahead=1, whole=whole) as reads:
            read = next(reads)
            return b"".join(iter(lambda: read(1 << 20), b""))

    sound.gate.set()
    with pytest.raises(Retracted):
        whole(whole=False)
    assert whole(whole=True) == LARGE
