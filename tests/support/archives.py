"""Archives of images as tools write them: OCI layouts and `docker save`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

Mode = Literal["w", "w:gz", "w:bz2", "w:xz"]


class Link(NamedTuple):
    """A member that is a symbolic link, or a hard one."""

    target: str
    hard: bool = False


def tar_file(path: Path, members: Mapping[str, bytes | Link], *, mode: Mode = "w") -> Path:
    """Write members in this order; `mode` as tarfile has it."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, Link):
                member.type = tarfile.LNKTYPE if content.hard else tarfile.SYMTYPE
                member.linkname = content.target
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def layout_members(layout: Path) -> dict[str, bytes]:
    """The files of a layout directory by the names that they have in an archive."""
    return {str(file.relative_to(layout)): file.read_bytes() for file in sorted(layout.rglob("*")) if file.is_file()}


def tar_layout(path: Path, layout: Path, *, mode: Mode = "w") -> Path:
    """An OCI archive of a layout directory."""
    return tar_file(path, layout_members(layout), mode=mode)


def saved(config: bytes, layers: Sequence[bytes], *names: str) -> tuple[dict[str, Any], dict[str, bytes | Link]]:
    """An image as `docker save` has it: its entry of manifest.json, and its members."""
    from dist_tool.oci.digest import Digest

    config_name = f"{Digest.of(config).encoded}.json"
    layer_names = [f"{Digest.of(layer).encoded[:12]}/layer.tar" for layer in layers]
    members: dict[str, bytes | Link] = {config_name: config, **dict(zip(layer_names, layers, strict=True))}
    return {"Config": config_name, "RepoTags": list(names) or None, "Layers": layer_names}, members


def docker_archive(path: Path, *images: tuple[dict[str, Any], dict[str, bytes | Link]], mode: Mode = "w") -> Path:
    """An archive of saved images."""
    members: dict[str, bytes | Link] = {}
    for _, files in images:
        members |= files
    members["manifest.json"] = json.dumps([entry for entry, _ in images]).encode()
    return tar_file(path, members, mode=mode)


class Span(NamedTuple):
    """The place of some bytes in a larger file, to be damaged like a file of their own."""

    file: Path
    offset: int
    size: int

    def write_bytes(self, data: bytes) -> None:
        assert len(data) == self.size
        with self.file.open("r+b") as file:
            file.seek(self.offset)
            file.write(data)
