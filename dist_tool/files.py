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
    """Convert an OSError inside to `LocalFailure("WHAT: REASON")`; `hints` are by errno."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise LocalFailure(f"{what}: {reason}", hint=hints.get(error.errno or 0, "")) from error


def open_regular(path: str | bytes, *, follow_links: bool = False, dir_fd: int | None = None) -> int:
    """A descriptor of a regular file, for reading. Never blocks on a FIFO.

    A symbolic link as the last component is refused (ELOOP), unless `follow_links`; links above it
    are followed. Raises NotRegularFile and other OSError.
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
    """The next `limit` bytes of a file, fewer only at its end. Raises OSError."""
    parts = []
    left = limit
    while left and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: memoryview) -> None:
    """Write all bytes: one write may be partial (full disk, 2 GiB and more). Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another process made the pipe non-blocking
            import select

            select.select([], [descriptor], [])


def replace_file(file: str, change: Callable[[bytes], bytes], *, private: bool = False) -> None:
    """Replace `file` by what `change` makes of its content, b"" where there is none yet.

    Changes of other processes that do the same are not lost: they wait. A symbolic link stays,
    and leads to the new content; the mode stays too, less what others may do where `private`.
    What `change` raises leaves the file alone. Raises LocalFailure where it cannot be written.
    """
    import fcntl

    place = os.path.realpath(file)
    directory = os.path.dirname(place)
    try:
        os.makedirs(directory, mode=0o700 if private else 0o777, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _failure(directory, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before, mode = _read(place)
        after = change(before)
        if after != before or mode is None:
            _write(place, after, mode, private=private)
    finally:
        os.close(lock)


def _read(place: str) -> tuple[bytes, int | None]:
    """Content and mode; None for the mode of a file that is not there."""
    try:
        with open(place, "rb") as stream:
            return stream.read(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    except FileNotFoundError:
        return b"", None
    except OSError as error:
        raise _failure(place, error) from error


def _write(place: str, data: bytes, mode: int | None, *, private: bool) -> None:
    if mode is None:
        mode = 0o600 if private else 0o644
    elif private:
        mode &= ~0o077
    import tempfile

    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(place)}.", dir=os.path.dirname(place))
        with open(descriptor, "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, place)
        temporary = ""
    except OSError as error:
        raise _failure(place, error) from error
    finally:
        if temporary:
            os.unlink(temporary)


def _failure(place: str, error: OSError) -> LocalFailure:
    return LocalFailure(f"{place}: cannot be written: {(error.strerror or 'unknown error').lower()}")
