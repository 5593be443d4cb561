"""Archives with bytes changed, cut and moved: an image, or an error of ours; never anything else."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from support.archives import docker_archive, saved, tar_layout
from support.content import image, tar_of, write_layout
from support.repositories import fetch

from dist_tool.context import Context
from dist_tool.errors import DistError
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.remotes.layout.archive import ArchiveRemote


@cache
def sound() -> tuple[bytes, ...]:
    """One archive of each format, and each compressed."""
    files = []
    with TemporaryDirectory() as name:
        directory = Path(name)
        layout = write_layout(directory / "layout", {"x:1": image("damage")})
        for mode in ("w", "w:gz"):
            files.append(tar_layout(directory / "a", layout, mode=mode).read_bytes())
            one = saved(json.dumps({}).encode(), [tar_of({"a": b"b"})], "x:1")
            files.append(docker_archive(directory / "b", one, mode=mode).read_bytes())
    return tuple(files)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(sound())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "copy", "text"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "copy":
                start = at // 512 * 512
                data[start:start] = data[: draw(st.integers(0, 4)) * 512]
            case _:
                text = draw(st.binary(max_size=20))
                data[at : at + len(text)] = text
    return bytes(data)


@given(damaged())
def test_a_damaged_archive_gives_an_image_or_an_error(data: bytes) -> None:
    with TemporaryDirectory() as name:
        file = Path(name) / "x.tar"
        file.write_bytes(data)
        with closing(ArchiveRemote(Locator("archive", str(file)), Context())) as remote, suppress(DistError):
            list(remote.tags())
            desc = remote.resolve("x:1", Hints())
            _, body = fetch(remote, str(desc.digest))
            with body:
                assert len(body.read()) == desc.size
        assert [path.name for path in Path(name).iterdir()] == ["x.tar"]
