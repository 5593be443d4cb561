"""Standard input and output, and output files that appear complete or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from dist_tool.errors import InvalidArgument, LocalFailure
from dist_tool.files import os_errors, write_all

if TYPE_CHECKING:
    from dist_tool.stream.pump import Sink

_STDIN = 0
_STDOUT = 1
_READ = 64 << 10
_LONGEST_LINE = 64 << 10
# Temporary files of this process: worker threads cannot remove theirs when a signal ends the process.
_unfinished: set[str] = set()


class ReaderClosed(Exception):
    """The reader of standard output has closed it. Other broken pipes are ordinary failures."""


def write_stdout(data: memoryview | bytes) -> None:
    """Write all of `data`, unbuffered.

    Raises ReaderClosed if the reader has closed the pipe, LocalFailure for any other failure (a
    full disk is an error, not a short write).
    """
    try:
        write_all(_STDOUT, memoryview(data))
    except OSError as error:
        raise _output_failure(error) from error


def _output_failure(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return ReaderClosed()
    return LocalFailure(f"standard output: {error.strerror or error}")


class TextOutput(io.TextIOBase):
    """Standard output as a text file for click, with the writer and the errors of `write_stdout`."""

    encoding = "utf-8"  # click would wrap a stream whose encoding is ASCII

    def __init__(self) -> None:
        self.buffer = _BinaryOutput()

    def write(self, text: str) -> int:
        """Write all of `text`."""
        return self.buffer.write(text.encode("utf-8", "surrogateescape"))

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(_STDOUT)


class _BinaryOutput(io.RawIOBase):
    def write(self, data: bytes) -> int:  # type: ignore[override]
        write_stdout(data)
        return len(data)


def print_line(text: str) -> None:
    """Write one line of text."""
    write_stdout(text.encode("utf-8", "surrogateescape") + b"\n")


def close_stdout() -> None:
    """Close standard output at the end: some file systems report write errors only on close (behaviours H8)."""
    try:
        try:
            descriptor = os.dup(_STDOUT)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            descriptor = _STDOUT  # no free descriptor, and none is needed: everything is written
        os.close(descriptor)
    except OSError as error:
        raise _output_failure(error) from error


def stdout_sink(*, force: bool = False) -> Sink:
    """Standard output as a sink. Refuses binary data on a terminal unless `force` is set."""
    if force or not os.isatty(_STDOUT):
        return write_stdout
    checked = False

    def sink(data: memoryview) -> None:
        nonlocal checked
        if not checked and b"\0" in bytes(data[:4096]):
            raise InvalidArgument(
                "binary data is not written to a terminal", hint="pipe it, or add -o FILE (-o - forces)"
            )
        checked = True
        write_stdout(data)

    return sink


@contextmanager
def file_sink(path: str) -> Iterator[Sink]:
    """An output file that appears under its name only if the block ends without an exception.

    It is written to a temporary file in the same directory, synced and renamed. Open descriptors
    (/dev/stdout, /dev/fd/N) and special files (a pipe, /dev/null) are written directly. Links of
    other users in world-writable directories are not followed, see `_target`. Raises LocalFailure.
    """
    from dist_tool.cli._target import belongs_to_process, resolve

    with os_errors(path):
        target = resolve(path)
    if isinstance(target, int):
        writing = _descriptor(path, target)
    elif belongs_to_process(target):
        writing = _direct(path, target, os.O_APPEND)
    elif _is_special(target):
        writing = _direct(path, target, os.O_NOFOLLOW)
    else:
        writing = _replacing(path, target)
    with writing as sink:
        yield sink


def _is_special(target: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(target).st_mode)
    except OSError:
        return False


@contextmanager
def _descriptor(path: str, number: int) -> Iterator[Sink]:
    """Write to an inherited descriptor at its position: existing content of the file stays."""
    from dist_tool.cli._target import inherited

    if number == _STDOUT:
        yield write_stdout
        return
    with os_errors(path):
        duplicate = inherited(number)
        try:
            yield lambda data: write_all(duplicate, data)
        finally:
            os.close(duplicate)


@contextmanager
def _direct(path: str, target: str, flags: int) -> Iterator[Sink]:
    with os_errors(path):
        descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY | flags)
        try:
            yield lambda data: write_all(descriptor, data)
        finally:
            os.close(descriptor)


class _TemporaryFile:
    """A temporary file as a sink that can be restarted: no other process has it open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, data: memoryview, /) -> None:
        write_all(self._descriptor, data)

    def restart(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)


@contextmanager
def _replacing(path: str, target: str) -> Iterator[Sink]:
    # Not `files.replace_file`: the content is streamed, and a signal removes the unfinished file.
    mode = _mode_of(target)
    with os_errors(path):
        descriptor, temporary = _temporary_for(target, 0o666 if mode is None else 0o600)
    _unfinished.add(temporary)
    try:
        with os_errors(path):
            try:
                yield _TemporaryFile(descriptor)
                if mode is not None:
                    os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)
    except BaseException:
        _remove(temporary)
        raise
    finally:
        _unfinished.discard(temporary)


def _temporary_for(target: str, mode: int) -> tuple[int, str]:
    """Create a temporary file in the directory of `target`, with `mode` less the umask.

    The kernel applies the umask: reading it means changing it for a moment, for all threads.
    """
    directory, name = os.path.split(target)
    temporary = os.path.join(directory, f".{name[:40]}.{os.urandom(8).hex()}.part")
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), temporary


def _mode_of(path: str) -> int | None:
    """The mode for the replacement of a file, None if there is no file.

    Without setuid and setgid, which were granted to other content. The kernel clears them too
    when a user other than root writes to the file in place, as cp and curl do.
    """
    try:
        return stat.S_IMODE(os.stat(path).st_mode) & ~(stat.S_ISUID | stat.S_ISGID)
    except OSError:
        return None


def remove_unfinished() -> None:
    """Remove the temporary files of writers that will not finish."""
    for temporary in list(_unfinished):
        _remove(temporary)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


@contextmanager
def input_failures() -> Iterator[None]:
    """Convert an OSError raised in the block to a LocalFailure about standard input."""
    with os_errors("standard input"):
        yield


def read_stdin(size: int = _READ) -> bytes:
    """Read available bytes, at most `size`; empty at the end of input. Raises LocalFailure."""
    with input_failures():
        return os.read(_STDIN, size)


def stdin_lines(separator: bytes = b"\n") -> Iterator[bytes]:
    """The lines of standard input as they arrive, without separators.

    Raises LocalFailure, and InvalidArgument for a line that is too long, which bounds memory.
    """
    rest = b""
    while data := read_stdin():
        *lines, rest = (rest + data).split(separator)
        yield from lines
        if len(rest) > _LONGEST_LINE:
            raise InvalidArgument(f"standard input: a line of more than {_LONGEST_LINE} bytes")
    yield rest
