"""File primitives: open a regular file, bounded reads, complete writes, atomic replacement, OSError to LocalFailure."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from dist_tool.errors import LocalFailure

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO without a writer must not block
_NO_HINTS: Mapping[int, str] = {}


class NotRegularFile(OSError):
    """The path is a directory, FIFO, socket or device."""


@contextmanager
def os_errors(what: str, hints: Mapping[int, str] = _NO_HINTS) -> Iterator[None]:
    """Convert an OSError in the block to `LocalFailure("WHAT: REASON")`; `hints` maps errno to the hint."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise LocalFailure(f"{what}: {reason}", hint=hints.get(error.errno or 0, "")) from error


def open_regular(path: str | bytes, *, follow_links: bool = False, dir_fd: int | None = None) -> int:
    """Open a regular file for reading and return its descriptor. Never blocks on a FIFO.

    A symbolic link as the last component is refused (ELOOP), unless `follow_links`; links in parent
    directories are followed. Raises NotRegularFile and other OSErrors.
    """
    descriptor = os.open(path, _READ if follow_links else _READ | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularFile(errno.EINVAL, "not a regular file", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_at_most(descriptor: int, limit: int) -> bytes:
    """Read the next `limit` bytes of a file, fewer only at its end. Raises OSError."""
    parts = []
    left = limit
    while left and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: memoryview) -> None:
    """Write all bytes; a single write may be partial (full disk, 2 GiB and more). Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another process made the pipe non-blocking
            import select

            select.select([], [descriptor], [])


def replace_file(file: str, change: Callable[[bytes], bytes], *, private: bool = False) -> None:
    """Atomically replace the content of `file` by `change(content)`; the content of a missing file is b"".

    Concurrent calls on the same directory wait for each other, so that no change is lost. A symbolic
    link is kept, and its target replaced. The mode is kept, with `private` without access for group
    and others. Exceptions of `change` propagate, and the file is not changed. Raises LocalFailure if
    the file cannot be written.
    """
    import fcntl

    path = os.path.realpath(file)
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700 if private else 0o777, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _failure(directory, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before, mode = _read(path)
        after = change(before)
        if after != before or mode is None:
            _write(path, after, mode, private=private)
    finally:
        os.close(lock)


def _read(path: str) -> tuple[bytes, int | None]:
    """Content and mode; b"" and None if the file does not exist."""
    try:
        with open(path, "rb") as stream:
            return stream.read(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    except FileNotFoundError:
        return b"", None
    except OSError as error:
        raise _failure(path, error) from error


def _write(path: str, data: bytes, mode: int | None, *, private: bool) -> None:
    if mode is None:
        mode = 0o600 if private else 0o644
    elif private:
        mode &= ~0o077
    import tempfile

    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
        with open(descriptor, "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        raise _failure(path, error) from error
    finally:
        if temporary:
            os.unlink(temporary)


def _failure(path: str, error: OSError) -> LocalFailure:
    return LocalFailure(f"{path}: cannot be written: {(error.strerror or 'unknown error').lower()}")
