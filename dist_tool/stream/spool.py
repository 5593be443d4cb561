"""A place for bytes between two who are not at it together: memory, then a temporary file."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from io import FileIO
from threading import Condition
from typing import TYPE_CHECKING

from dist_tool.errors import LocalFailure
from dist_tool.files import os_errors
from dist_tool.stream.body import CHUNK
from dist_tool.stream.pump import Rewindable, Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREATE = os.O_RDWR | os.O_EXCL | os.O_CLOEXEC
_IN_MEMORY = 256 << 10  # bytes; all of them are in the file where there are more


class Retracted(Exception):
    """What was read of a spool was wrong and has been taken back. Never a user's to see."""


class Spool:
    """Bytes that one thread writes while others read them, or that are read later, and again.

    A `Rewindable`: where the writer begins anew, whoever has read something gets `Retracted`. With
    `whole` nothing is read before `end` has said that all of it is right. What is given to
    `fail` comes out of reading, after the bytes that were there before it. Close it. Raises
    LocalFailure where the disk fails.
    """

    def __init__(self, directory: str | int | None = None, *, whole: bool = False) -> None:
        self._directory = directory
        self._whole = whole
        self._changed = Condition()
        self._memory = bytearray()
        self._file: FileIO | None = None
        self._written = 0
        self._version = 0  # how often the writer began anew
        self._begun = False
        self._retracted = False
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    # Writing

    def __call__(self, data: memoryview, /) -> None:
        """Append."""
        # Under the lock: a descriptor that `close` gave back may be another file's by now.
        with self._changed:
            if self._closed:
                raise LocalFailure("the temporary file is closed: nobody reads it any more")
            with os_errors("temporary file"):
                self._append(data)
            self._written += len(data)
            self._changed.notify_all()

    def _append(self, data: memoryview) -> None:
        if self._file is None and self._written + len(data) <= _IN_MEMORY:
            self._memory += data
            return
        if self._file is None:
            self._file = unnamed_file(self._directory)
            _write_at(self._file.fileno(), memoryview(self._memory), 0)
            self._memory = bytearray()
        _write_at(self._file.fileno(), data, self._written)

    def restart(self) -> None:
        """Forget what was written: it was wrong."""
        with self._changed:
            self._version += 1
            self._retracted = self._retracted or self._begun
            self._drop()
            self._written = 0
            self._changed.notify_all()

    def _drop(self) -> None:
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def end(self) -> None:
        """What was written is all, and right."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Let readers raise."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    # Reading

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._written

    def reader(self) -> SpoolReader:
        """A reader that stands at the beginning."""
        return SpoolReader(self)

    def read(self, size: int, position: int, version: int) -> tuple[bytes, int]:
        """Up to `size` bytes at `position` as soon as there are some, none at the end; and of which version.

        Raises Retracted where what is before `position` was of another version.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._is_settled()
                    or (self._written > position and not self._whole)
                    or (position and self._version != version)
                )
            )
            if position and self._version != version:
                raise Retracted
            if self._closed:
                raise LocalFailure("the temporary file is closed")
            if self._error is not None and (self._whole or position >= self._written):
                raise self._error
            data = self._at(position, size)
            self._begun = self._begun or bool(data)
            return data, self._version

    def _is_settled(self) -> bool:
        return self._ended or self._closed or self._error is not None

    def _at(self, position: int, size: int) -> bytes:
        with os_errors("temporary file"):
            if self._file is None:
                return bytes(memoryview(self._memory)[position : position + size])
            return os.pread(self._file.fileno(), min(size, self._written - position), position)

    def retracted(self) -> bool:
        """Whether something that was read was wrong; waits until that is known."""
        with self._changed:
            if self._begun:
                self._changed.wait_for(lambda: self._retracted or self._is_settled())
            return self._retracted

    def distrust(self) -> None:
        """Give nothing more before all is right, and forget what was retracted."""
        with self._changed:
            self._whole, self._begun, self._retracted = True, False, False

    def copy_to(self, sink: Sink) -> None:
        """Write everything that is there to `sink`."""
        position = 0
        while data := self._at(position, CHUNK):
            sink(memoryview(data))
            position += len(data)

    def close(self) -> None:
        """Drop the bytes, and let go whoever still waits for some. Idempotent."""
        with self._changed:
            self._closed = True
            self._drop()
            self._changed.notify_all()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SpoolReader:
    """Reads a spool, from its beginning, for one thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._position = 0
        self._version = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes as soon as there are some; none at the end."""
        data, self._version = self._spool.read(size, self._position, self._version)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the spool itself."""
        self._spool.close()


def unnamed_file(directory: str | int | None = None) -> FileIO:
    """A temporary file without a name, in a directory by path or descriptor; None for the usual one. Raises OSError."""
    if not isinstance(directory, int):
        return tempfile.TemporaryFile(dir=directory, buffering=0)
    try:
        return open(os.open(".", os.O_TMPFILE | _CREATE, 0o600, dir_fd=directory), "w+b", buffering=0)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
    name = f"spool-{os.urandom(8).hex()}"  # a file system that lacks the above
    descriptor = os.open(name, os.O_CREAT | _CREATE, 0o600, dir_fd=directory)
    os.unlink(name, dir_fd=directory)
    return open(descriptor, "w+b", buffering=0)


def _write_at(descriptor: int, data: memoryview, position: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, position)
        data, position = data[written:], position + written


@contextmanager
def rewindable(sink: Sink) -> Iterator[Rewindable]:
    """`sink` where it can take back, else a spool that is copied there once all of it is right."""
    if isinstance(sink, Rewindable):
        yield sink
        return
    with Spool() as spool:
        yield spool
        spool.copy_to(sink)
