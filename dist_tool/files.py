"""Replacing a small file whole: whoever reads it sees the old content or the new, never a part."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable

from dist_tool.errors import LocalFailure


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
