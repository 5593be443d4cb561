"""Image archives: an OCI layout in a tar, or the output of `docker save` (behaviours E20, R8)."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import Protocol

from dist_tool.context import Context
from dist_tool.errors import InvalidArgument, NotFound
from dist_tool.names.locator import Locator
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT
from dist_tool.remotes.layout.members import Members, read_member
from dist_tool.remotes.layout.reader import LayoutReader, repository_of
from dist_tool.stream.body import Body


class ArchiveRemote(LayoutReader):
    """`archive::FILE`, or `archive::-` for standard input. Opened and indexed on first use, then held open."""

    def __init__(self, locator: Locator, context: Context) -> None:
        self._archive = _Archive(context.settings.at_home(locator.rest))
        super().__init__(self._archive, repository_of(context))

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


class _Content(Protocol):
    def document(self, name: str) -> bytes: ...

    def open(self, digest: Digest, offset: int) -> Body: ...


class _Archive:
    """The layout files of an archive, or those generated from a docker-save archive."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._members: Members | None = None

    @property
    def where(self) -> str:
        return "standard input" if self._path == "-" else self._path

    @cached_property
    def _tree(self) -> _Content:
        members = self._members = Members(self._path)
        if "index.json" in members and "oci-layout" in members:  # newer docker archives are both: use the layout
            return _ArchivedLayout(members)
        if "manifest.json" in members:
            from dist_tool.remotes.layout.docker import DockerArchive

            return DockerArchive(members)
        raise InvalidArgument(
            f"{self.where} is not an image archive", hint="it has neither index.json nor manifest.json"
        )

    def _content(self) -> _Content:
        with self._lock:
            return self._tree

    def document(self, name: str) -> bytes:
        return self._content().document(name)

    def open(self, digest: Digest, offset: int) -> Body:
        return self._content().open(digest, offset)

    def close(self) -> None:
        if self._members is not None:
            self._members.close()


class _ArchivedLayout:
    """A layout whose files are members of an archive."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def document(self, name: str) -> bytes:
        return read_member(self._members, self._members.find(name), MANIFEST_LIMIT + 1)

    def open(self, digest: Digest, offset: int) -> Body:
        try:
            member = self._members.find(f"blobs/{digest.algorithm}/{digest.encoded}")
        except NotFound as error:
            raise NotFound(f"no such blob in {self._members.where}") from error
        return self._members.open(member, offset)


open_remote = ArchiveRemote
