"""Temporary buffer (memory, then a file) between a writer and its readers."""

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
_IN_MEMORY = 256 << 10  # bytes; a longer content is entirely in the file


class Retracted(Exception):
    """Bytes that were read from a spool were wrong and have been discarded. Internal: never shown to users."""


class Spool:
    """A buffer that one thread writes while others read it, or that is read later, or repeatedly.

    A `Rewindable`: if the writer restarts, readers that have read something get `Retracted`. With
    `whole`, reads block until `end` declares the content correct. The error passed to `fail` is
    raised by reads, after the bytes written before it. Must be closed. Raises LocalFailure for
    disk errors.
    """

    def __init__(self, directory: str | int | None = None, *, whole: bool = False) -> None:
        self._directory = directory
        self._whole = whole
        self._changed = Condition()
        self._memory = bytearray()
        self._file: FileIO | None = None
        self._written = 0
        self._version = 0  # number of restarts
        self._was_read = False
        self._retracted = False
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    # Writing

    def __call__(self, data: memoryview, /) -> None:
        """Append."""
        # Under the lock: the descriptor that `close` releases may be reused for another file.
        with self._changed:
            if self._closed:
                raise LocalFailure("the temporary file is closed: it has no more readers")
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
        """Discard what was written: it was wrong."""
        with self._changed:
            self._version += 1
            self._retracted = self._retracted or self._was_read
            self._drop()
            self._written = 0
            self._changed.notify_all()

    def _drop(self) -> None:
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def end(self) -> None:
        """Declare the content complete and correct."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Make reads raise `error`."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    # Reading

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._written

    def reader(self) -> SpoolReader:
        """A reader at position 0."""
        return SpoolReader(self)

    def read(self, size: int, position: int, version: int) -> tuple[bytes, int]:
        """Return up to `size` bytes at `position`, none at the end, and their version. Waits for bytes.

        Raises Retracted if the bytes before `position` were of another version.
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
            self._was_read = self._was_read or bool(data)
            return data, self._version

    def _is_settled(self) -> bool:
        return self._ended or self._closed or self._error is not None

    def _at(self, position: int, size: int) -> bytes:
        with os_errors("temporary file"):
            if self._file is None:
                return bytes(memoryview(self._memory)[position : position + size])
            return os.pread(self._file.fileno(), min(size, self._written - position), position)

    def retracted(self) -> bool:
        """True if bytes that were read were wrong; waits until that is known."""
        with self._changed:
            if self._was_read:
                self._changed.wait_for(lambda: self._retracted or self._is_settled())
            return self._retracted

    def distrust(self) -> None:
        """Make reads wait until the content is complete and correct, as `whole` does; clears `retracted`."""
        with self._changed:
            self._whole, self._was_read, self._retracted = True, False, False

    def copy_to(self, sink: Sink) -> None:
        """Write the content to `sink`."""
        position = 0
        while data := self._at(position, CHUNK):
            sink(memoryview(data))
            position += len(data)

    def close(self) -> None:
        """Discard the bytes and wake the readers that wait. Idempotent."""
        with self._changed:
            self._closed = True
            self._drop()
            self._changed.notify_all()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SpoolReader:
    """A reader of a spool, from position 0, for one thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._position = 0
        self._version = 0

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end. Waits for bytes."""
        data, self._version = self._spool.read(size, self._position, self._version)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the spool."""
        self._spool.close()


def unnamed_file(directory: str | int | None = None) -> FileIO:
    """An unnamed temporary file in a directory (path or descriptor; None for the default). Raises OSError."""
    if not isinstance(directory, int):
        return tempfile.TemporaryFile(dir=directory, buffering=0)
    try:
        return open(os.open(".", os.O_TMPFILE | _CREATE, 0o600, dir_fd=directory), "w+b", buffering=0)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
    name = f"spool-{os.urandom(8).hex()}"  # the file system does not support O_TMPFILE
    descriptor = os.open(name, os.O_CREAT | _CREATE, 0o600, dir_fd=directory)
    os.unlink(name, dir_fd=directory)
    return open(descriptor, "w+b", buffering=0)


def _write_at(descriptor: int, data: memoryview, position: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, position)
        data, position = data[written:], position + written


@contextmanager
def rewindable(sink: Sink) -> Iterator[Rewindable]:
    """`sink` if it is `Rewindable`, else a spool that is copied to it once the block succeeds."""
    if isinstance(sink, Rewindable):
        yield sink
        return
    with Spool() as spool:
        yield spool
        spool.copy_to(sink)
