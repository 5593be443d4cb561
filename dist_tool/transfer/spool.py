"""A place for bytes that are not to be seen before they are verified: memory, then a temporary file."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dist_tool.errors import LocalFailure
from dist_tool.stream import CHUNK, Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_MEMORY = 256 << 10  # bytes; the rest is in the file


class Spool:
    """Bytes in, the same bytes out. Close it. Raises LocalFailure where the disk fails."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  closed by close

    def write(self, data: memoryview) -> None:
        """Append: a `Sink`."""
        with _failures():
            if self._file.tell() + len(data) > _IN_MEMORY:
                self._file.rollover()  # before, not after: else the whole piece is in memory twice
            self._file.write(data)

    def copy_to(self, sink: Sink) -> None:
        """Write everything to `sink`."""
        with _failures():
            self._file.seek(0)
        while data := self._read():
            sink(memoryview(data))

    def _read(self) -> bytes:
        with _failures():
            return self._file.read(CHUNK)

    def close(self) -> None:
        """Drop the bytes. Idempotent."""
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFailure(f"temporary file: {error.strerror or error}") from error
