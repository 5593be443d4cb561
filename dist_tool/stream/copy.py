"""Copy a stream into a writer."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dist_tool.api import Writer
from dist_tool.stream.body import CHUNK


class ByteSource(Protocol):
    """Source of `copy_into`: a `Readable` or a raw file."""

    def readinto(self, view: memoryview, /) -> int | None:
        """Read bytes into `view`; returns their number, 0 at the end."""


@runtime_checkable
class ReaderFrom(Protocol):
    """A writer with a faster copy loop of its own, like Go's `io.ReaderFrom`."""

    def fill(self, source: ByteSource) -> int:
        """Append all of `source`; returns the number of bytes. Raises read and write errors."""


def copy_into(writer: Writer, source: ByteSource) -> int:
    """Append all of `source` to `writer`; returns the number of bytes.

    Raises read and write errors. Bytes read before a failure are written.
    """
    if isinstance(writer, ReaderFrom):
        return writer.fill(source)
    buffer, before = memoryview(bytearray(CHUNK)), writer.offset
    while got := source.readinto(buffer):
        writer.write(buffer[:got])
    return writer.offset - before
