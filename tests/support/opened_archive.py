"""Archives of the tests, and remotes opened on them."""

from __future__ import annotations

import gzip

from dist_tool.context import Context
from dist_tool.names.locator import Locator
from dist_tool.remotes.layout.archive import ArchiveRemote
from support.content import image, tar_of
from support.repositories import fetch

IMAGE = image("archive")
CONFIG, LAYERS = b'{"architecture":"amd64"}', [tar_of({"a": b"1"}), gzip.compress(tar_of({"b": b"2"}), mtime=0)]


class Opened:
    """Archives opened by a test, closed after it."""

    def __init__(self) -> None:
        self.remotes: list[ArchiveRemote] = []

    def __call__(self, path: object, name: str = "") -> ArchiveRemote:
        self.remotes.append(
            ArchiveRemote(Locator("archive", str(path)), Context(asked=Locator("", name) if name else None))
        )
        return self.remotes[-1]


def read(remote: ArchiveRemote, object_id: object) -> bytes:
    _, body = fetch(remote, str(object_id))
    with body:
        return body.read()
