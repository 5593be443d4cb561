"""Tar writer: USTAR headers, with PAX records only for values that USTAR cannot represent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dist_tool.errors import InvalidContent
from dist_tool.tar.pax import XATTR
from dist_tool.tar.reader import BLOCK, BLOCKDEV, CHAR, DIRECTORY, FILE, LINK, Entry

Write = Callable[[memoryview], object]
_BUFFER = 256 << 10  # bytes of small writes that are combined into one
_ZEROS = memoryview(bytes(64 << 10))
_SECOND = 1_000_000_000
_MAGIC = b"ustar\x0000"


class TarWriter:
    """Writes entries sequentially to `write`. `close` writes the end marker."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._buffer = bytearray()

    def entry(self, name: bytes, entry: Entry) -> None:
        """Write the headers of `entry` with the name `name`. For a file, `content` must follow."""
        self._put(_headers(name + b"/" if entry.kind == DIRECTORY else name, entry, entry.kind, entry.link))

    def hard_link(self, name: bytes, target: bytes, entry: Entry) -> None:
        """Write a hard link to the entry already written as `target`."""
        self._put(_headers(name, entry, LINK, target))

    def content(self, entry: Entry, read: Callable[[], memoryview]) -> None:
        """Write a file's content and padding. `read` returns stored bytes; holes are written as zeros."""
        for piece in file_content(entry, read):
            self._put(piece)
        self._put(bytes(-entry.size % BLOCK))

    def close(self) -> None:
        """Write the end marker and flush the buffer."""
        self._put(bytes(2 * BLOCK))
        self._flush()

    def _put(self, data: bytes | memoryview) -> None:
        if len(self._buffer) + len(data) > _BUFFER:
            self._flush()
            if len(data) >= _BUFFER:
                self._write(memoryview(data))
                return
        self._buffer += data

    def _flush(self) -> None:
        if self._buffer:
            self._write(memoryview(bytes(self._buffer)))
            self._buffer.clear()


def file_content(entry: Entry, read: Callable[[], memoryview]) -> Iterator[memoryview]:
    """A file's content in pieces, with the holes of a sparse file as zeros. `read` returns stored bytes."""
    if entry.sparse is None:
        while piece := read():
            yield piece
        return
    position = 0
    view = memoryview(b"")
    for offset, length in (*entry.sparse, (entry.size, 0)):
        while position < offset:
            hole = _ZEROS[: offset - position]
            yield hole
            position += len(hole)
        while position < offset + length:
            view = view or read()
            piece = view[: offset + length - position]
            yield piece
            position += len(piece)
            view = view[len(piece) :]


def _headers(name: bytes, entry: Entry, kind: bytes, link: bytes) -> bytes:
    size = entry.size if kind == FILE else 0
    seconds, fraction = divmod(entry.mtime, _SECOND)
    records = [
        *([(b"path", name)] if len(name) > 100 else []),
        *([(b"linkpath", link)] if len(link) > 100 else []),
        *_numbers((b"size", size, 12), (b"uid", entry.uid, 8), (b"gid", entry.gid, 8)),
    ]
    if fraction or seconds >= 8**11:
        records.append((b"mtime", b"%d.%09d" % (seconds, fraction) if fraction else b"%d" % seconds))
    if kind != LINK:
        records += [(XATTR + key, value) for key, value in sorted((entry.xattrs or {}).items())]
    header = _header(name, kind, link, (entry.mode, entry.uid, entry.gid, size, seconds), entry.device)
    if not records:
        return header
    data = b"".join(_record(key, value) for key, value in records)
    extended = _header(b"PaxHeaders/" + name[-80:].strip(b"/"), b"x", b"", (0o644, 0, 0, len(data), 0), (0, 0))
    return extended + data + bytes(-len(data) % BLOCK) + header


def _numbers(*fields: tuple[bytes, int, int]) -> list[tuple[bytes, bytes]]:
    """PAX records for numbers that do not fit in their octal fields."""
    return [(key, b"%d" % value) for key, value, width in fields if value >= 8 ** (width - 1)]


def _record(key: bytes, value: bytes) -> bytes:
    """Encode one PAX record. Its length includes the digits of the length."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(rest) + len(b"%d" % length) != length:
        length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest


def _header(
    name: bytes, kind: bytes, link: bytes, numbers: tuple[int, int, int, int, int], device: tuple[int, int]
) -> bytes:
    """Encode one USTAR header. Values that do not fit are truncated; a PAX record holds the full value."""
    widths = (8, 8, 8, 12, 12)
    fields = [_octal(value, width, recorded=True) for value, width in zip(numbers, widths, strict=True)]
    major, minor = device if kind in (CHAR, BLOCKDEV) else (0, 0)
    block = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            *fields,
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            _MAGIC,
            bytes(64),
            _octal(major, 8),
            _octal(minor, 8),
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _octal(value: int, width: int, *, recorded: bool = False) -> bytes:
    """Encode an octal field.

    A number that does not fit is written as 0 if a PAX record holds it (`recorded`), else InvalidContent is raised.
    """
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    if value < 0 or not recorded:
        raise InvalidContent(f"the number {value} cannot be stored in a tar header")
    return b"0" * (width - 1) + b"\0"
