"""Memory does not grow with the image: the peak resident size of real processes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import pytest
from support import tars
from support.content import Blob, write_layout
from support.layers import image_with
from support.processes import dist_command, dist_environment
from support.rusage import cost_of

from dist_tool.oci.mediatypes import OCI_LAYER
from dist_tool.oci.platform import default_platform

MIB = 1 << 20
CEILING_MIB = 120


def layout_of(path: Path, *layers: Iterable[bytes], level: int = 1) -> Path:
    """A layout of an image, by the entries of its layers."""
    blobs, ids = [], []
    for layer in layers:
        digest, out = hashlib.sha256(), io.BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=level, mtime=0) as file:
            for piece in chain(layer, (tars.END,)):
                digest.update(piece)
                file.write(piece)
        blobs.append(Blob(out.getvalue(), f"{OCI_LAYER}+gzip"))
        ids.append(f"sha256:{digest.hexdigest()}")
    config = {
        "os": "linux",
        "architecture": default_platform().architecture,
        "rootfs": {"type": "layers", "diff_ids": ids},
    }
    return write_layout(path, {"image": image_with(tuple(blobs), config)})


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 MiB from a quarter: a thousand times its size, and far more than the ceiling."""
    layer = (tars.directory("./"), tars.file("zeros", bytes(256 * MIB)))
    return layout_of(tmp_path_factory.mktemp("zeros"), layer, level=9)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 entries, each named in a directory of its own."""
    layer = (tars.directory("./"), *(tars.file(f"d{n % 500}/file-of-some-length-{n}") for n in range(20_000)))
    return layout_of(tmp_path_factory.mktemp("many"), layer)


def layout_of_names(path: Path, count: int, directories: int) -> Path:
    """Three layers of empty files in so many directories: all, a tenth replaced or gone, a directory made opaque."""

    def name(number: int) -> str:
        return f"d{number % directories}/file-of-some-length-{number}"

    folders = [tars.directory("./"), *(tars.directory(f"d{number}") for number in range(directories))]
    changed = (tars.whiteout(name(n)) if n % 2 else tars.file(name(n), b"new") for n in range(0, count, 10))
    return layout_of(
        path,
        chain(folders, (tars.file(name(n)) for n in range(count)), [tars.file("lowest")]),
        chain(folders, changed),
        (tars.directory("./"), tars.directory("d0"), tars.opaque("d0"), tars.file("d0/last", b"last")),
    )


def peak(*args: str) -> float:
    cost = cost_of(dist_command(*args), env=dist_environment())
    assert cost.code == 0, args
    return cost.memory


@pytest.mark.parametrize("image", ["zeros", "many"])
def test_unpack_and_export_stay_under_the_ceiling(image: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    layout = request.getfixturevalue(image)
    assert peak("unpack", f"{layout}:image", str(tmp_path / "target")) < CEILING_MIB / 2
    assert peak("export", f"{layout}:image", "-o", str(tmp_path / "out.tar")) < CEILING_MIB / 2
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.next() is not None


@pytest.mark.torture
@pytest.mark.parametrize("directories", [1, 5000, 200_000], ids=["one", "some", "many"])
@pytest.mark.parametrize(
    "command",
    [("export", "{}:image"), ("cat", "{}:image", "d0/last", "lowest"), ("unpack", "{}:image", "{}-unpacked")],
    ids=lambda command: command[0],
)
def test_a_million_names_stay_under_the_ceiling(directories: int, command: Sequence[str], tmp_path: Path) -> None:
    layout = layout_of_names(tmp_path / "layout", 1_000_000, directories)
    assert peak(*(word.format(layout) for word in command)) < CEILING_MIB
