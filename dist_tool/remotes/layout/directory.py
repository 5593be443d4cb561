"""An OCI image layout directory (behaviours E21, R7)."""

from __future__ import annotations

import os
import stat
from io import FileIO

from dist_tool.errors import InvalidArgument, LocalFailure, NotFound, UnsafePath
from dist_tool.names.reference import Locator
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT
from dist_tool.remotes.layout.reader import LayoutReader, repository_of
from dist_tool.settings import Context
from dist_tool.stream.body import Body


class LayoutRemote(LayoutReader):
    """One layout on disk. Nothing is kept open between calls."""

    def __init__(self, locator: Locator, context: Context) -> None:
        super().__init__(LayoutDirectory(context.settings.at_home(locator.rest)), repository_of(context))


class LayoutDirectory:
    """The files of a layout in a directory."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def where(self) -> str:
        """The path."""
        return self._path

    def document(self, name: str) -> bytes:
        """A file of the directory's; see `images.Tree`."""
        path = os.path.join(self._path, name)
        try:
            with _regular(path) as file:
                return file.read(MANIFEST_LIMIT + 1)
        except FileNotFoundError as error:
            if os.path.isdir(self._path):
                raise InvalidArgument(
                    f"{self._path} is not an image layout", hint=f"there is no {name} in it"
                ) from error
            raise NotFound(f"{self._path}: no such directory") from error
        except OSError as error:
            raise LocalFailure(f"{path}: {error.strerror}") from error

    def open(self, digest: Digest, offset: int) -> Body:
        """A blob. Never through a link: a layout may come from anywhere."""
        path = os.path.join(self._path, "blobs", digest.algorithm, digest.encoded)
        try:
            return FileBody(_regular(path, os.O_NOFOLLOW), offset, self._path)
        except FileNotFoundError as error:
            raise NotFound(f"no such blob in {self._path}") from error
        except OSError as error:
            if os.path.islink(path):
                raise UnsafePath(f"{path} is a symbolic link") from error
            raise LocalFailure(f"{path}: {error.strerror}") from error


def _regular(path: str, flags: int = 0) -> FileIO:
    """A file for reading. Raises OSError, and UnsafePath for a pipe or device, which could last for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePath(f"{path} is not a regular file")
    return FileIO(descriptor)


class FileBody(Body):
    """An open file as a body. It is closed with it."""

    def __init__(self, file: FileIO, offset: int, source: str) -> None:
        total = os.fstat(file.fileno()).st_size
        file.seek(min(offset, total))
        super().__init__(file, offset=min(offset, total), total=total, source=source)

    def readinto(self, view: memoryview) -> int:
        """Fill a part of `view`; 0 at the end."""
        try:
            return self._file.readinto(view)  # type: ignore[union-attr, no-any-return]
        except OSError as error:
            raise LocalFailure(f"{self.source}: {error.strerror}") from error
