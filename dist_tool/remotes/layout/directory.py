"""An OCI image layout directory (behaviours E21, R7)."""

from __future__ import annotations

import os
import stat
from io import FileIO

from dist_tool.context import Context
from dist_tool.errors import DigestMismatch, InvalidArgument, LocalFailure, NotFound, UnsafePath
from dist_tool.files import NotRegularFile, open_regular, read_at_most
from dist_tool.names.locator import Locator
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT
from dist_tool.remotes.layout.reader import LayoutReader, repository_of
from dist_tool.stream.body import CHUNK, Body


class LayoutRemote(LayoutReader):
    """One layout on disk. No files stay open between calls."""

    def __init__(self, locator: Locator, context: Context) -> None:
        path = context.settings.at_home(locator.rest)
        super().__init__(LayoutDirectory(path, follows_links=True), repository_of(context))


class LayoutDirectory:
    """The files of a layout in a directory.

    With `follows_links`, blobs may be symbolic links, as Bazel's rules_oci and nix create them. A
    layout may be untrusted, and a link may lead to any file of the user. So the target of a link
    is hashed before its first byte is returned, and an error reveals neither its digest nor its
    size: only content whose digest is already in the layout can be read through a link.
    """

    def __init__(self, path: str, *, follows_links: bool = False) -> None:
        self._path = path
        self._follows_links = follows_links
        self._verified: set[tuple[Digest, int, int, int, int]] = set()

    @property
    def where(self) -> str:
        """The path."""
        return self._path

    def document(self, name: str) -> bytes:
        """A file at the top of the layout; see `LayoutFiles.document`."""
        path = os.path.join(self._path, name)
        try:
            with _regular(path, follow_links=True) as file:
                return read_at_most(file.fileno(), MANIFEST_LIMIT + 1)
        except FileNotFoundError as error:
            if os.path.isdir(self._path):
                raise InvalidArgument(
                    f"{self._path} is not an image layout", hint=f"there is no {name} in it"
                ) from error
            raise NotFound(f"{self._path}: no such directory") from error
        except OSError as error:
            raise LocalFailure(f"{path}: {error.strerror}") from error

    def open(self, digest: Digest, offset: int) -> Body:
        """A blob. Raises NotFound; UnsafePath for a link that is not followed or not to a regular file."""
        path = os.path.join(self._path, "blobs", digest.algorithm, digest.encoded)
        try:
            try:
                file = _regular(path)
            except OSError:
                if not os.path.islink(path):
                    raise
                file = self._open_link(path, digest)
            return FileBody(file, offset, self._path)
        except FileNotFoundError as error:
            raise NotFound(f"no such blob in {self._path}") from error
        except OSError as error:
            raise LocalFailure(f"{path}: {error.strerror}") from error

    def _open_link(self, path: str, digest: Digest) -> FileIO:
        if not self._follows_links:
            raise UnsafePath(f"{path} is a symbolic link")
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may have side effects
            raise UnsafePath(f"{path} does not lead to a regular file")
        file = _regular(path, follow_links=True)
        try:
            found = os.fstat(file.fileno())
            key = (digest, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if key not in self._verified:
                if not _has_digest(file, digest, found.st_size):
                    raise DigestMismatch(f"{path} is a symbolic link to other content")
                self._verified.add(key)
        except BaseException:
            file.close()
            raise
        return file


def _regular(path: str, *, follow_links: bool = False) -> FileIO:
    """Open a regular file. Raises OSError; UnsafePath for a pipe or device, which could block forever."""
    try:
        return FileIO(open_regular(path, follow_links=follow_links))
    except NotRegularFile as error:
        raise UnsafePath(f"{path} is not a regular file") from error


def _has_digest(file: FileIO, digest: Digest, size: int) -> bool:
    """Compare the digest of `size` bytes. A file in /proc may have more bytes than its size: they are ignored."""
    hasher = digest.hasher()
    view = memoryview(bytearray(min(size, CHUNK)))
    left = size
    while left and (got := file.readinto(view[:left])):
        hasher.update(view[:got])
        left -= got
    return bool(hasher.hexdigest() == digest.encoded)


class FileBody(Body):
    """An open file as a body, which closes the file."""

    def __init__(self, file: FileIO, offset: int, source: str) -> None:
        total = os.fstat(file.fileno()).st_size
        file.seek(min(offset, total))
        super().__init__(file, offset=min(offset, total), total=total, source=source)
        self._left = total - self.offset

    def readinto(self, view: memoryview) -> int:
        """Read into `view`; 0 at the end, which is the size of the file when it was opened."""
        try:
            got: int = self._file.readinto(view[: self._left])  # type: ignore[union-attr]
        except OSError as error:
            raise LocalFailure(f"{self.source}: {error.strerror}") from error
        self._left -= got
        return got
