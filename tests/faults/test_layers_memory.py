"""Memory does not grow with the image: the peak resident size of real processes."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest
from support import tars
from support.content import Blob, write_layout
from support.layers import image_with
from support.processes import dist_command, dist_environment
from support.rusage import cost_of

from dist_tool.spec.digest import Digest
from dist_tool.spec.mediatypes import OCI_LAYER
from dist_tool.spec.platform import default_platform

MIB = 1 << 20
CEILING_MIB = 120


def layout_of(path: Path, layer: bytes, level: int = 1) -> Path:
    blob = Blob(gzip.compress(layer, level, mtime=0), f"{OCI_LAYER}+gzip")
    config = {
        "os": "linux",
        "architecture": default_platform().architecture,
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
    }
    return write_layout(path, {"image": image_with((blob,), config)})


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 MiB from a quarter: a thousand times its size, and far more than the ceiling."""
    layer = tars.tar(tars.directory("./"), tars.file("zeros", bytes(256 * MIB)))
    return layout_of(tmp_path_factory.mktemp("zeros"), layer, 9)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 entries, each named in a directory of its own."""
    layer = tars.tar(tars.directory("./"), *(tars.file(f"d{n % 500}/file-of-some-length-{n}") for n in range(20_000)))
    return layout_of(tmp_path_factory.mktemp("many"), layer)


def peak(*args: str) -> float:
    cost = cost_of(dist_command(*args), env=dist_environment())
    assert cost.code == 0
    return cost.memory


@pytest.mark.parametrize("image", ["zeros", "many"])
def test_unpack_and_export_stay_under_the_ceiling(image: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    layout = request.getfixturevalue(image)
    assert peak("unpack", f"{layout}:image", str(tmp_path / "target")) < CEILING_MIB / 2
    assert peak("export", f"{layout}:image", "-o", str(tmp_path / "out.tar")) < CEILING_MIB / 2
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.next() is not None
