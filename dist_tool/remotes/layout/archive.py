"""An archive of images: an OCI layout in a tar, or what `docker save` writes (behaviours E20, R8)."""

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
    """`archive::FILE`, `archive::-` for standard input. Opened and indexed on first use, and held open then."""

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
    """The files of a layout that is in an archive, or that a docker-save archive amounts to."""

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
        if "index.json" in members and "oci-layout" in members:  # newer docker archives are both: this one is whole
            return _LayoutInside(members)
        if "manifest.json" in members:
            from dist_tool.remotes.layout.docker import DockerArchive

            return DockerArchive(members)
        raise InvalidArgument(
            f"{self.where} is no archive of images", hint="there is neither index.json nor manifest.json in it"
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


class _LayoutInside:
    """A layout whose files are members."""

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
