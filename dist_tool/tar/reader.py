"""Streaming tar reader for untrusted input: USTAR, PAX, GNU and V7 headers, in one pass.

`tarfile` is not used because it takes a damaged header after the first one for the end of the
archive. Here every invalid header is an error, and only an end marker or the end of the stream
ends the archive (behaviours G23, G26).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from zlib import adler32

from dist_tool.errors import InvalidContent, LimitExceeded
from dist_tool.tar import sparse
from dist_tool.tar.limits import DEFAULT_LIMITS, EXTENSION_LIMIT, Limits
from dist_tool.tar.pax import XATTR, Records, decimal, number, parse_records, small_number, timestamp

BLOCK = 512
FILE, LINK, SYMLINK, CHAR, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_WITH_DATA = {b"0": FILE, b"\0": FILE, b"7": FILE, b"S": FILE}
_WITHOUT_DATA = frozenset({LINK, SYMLINK, CHAR, BLOCKDEV, DIRECTORY, FIFO})
_PAX, _GLOBAL, _LONG_NAME, _LONG_LINK, _OLD_SPARSE = b"x", b"g", b"L", b"K", b"S"
_EXTENSIONS = frozenset({_PAX, b"X", _GLOBAL, _LONG_NAME, _LONG_LINK})
# name mode uid gid size mtime checksum type link magic+version (owner names) major minor prefix
_HEADER = Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_USTAR = b"ustar\0"
_ZEROS = bytes(BLOCK)
_NEWEST = 2**63 - 1  # nanoseconds


class Entry:
    """A member of the archive, with all of its headers merged.

    `kind` is one of the constants of this module. `size` is the file size in bytes (including the
    holes of a sparse file). Times are nanoseconds since the epoch. `mode` has permission bits
    only. `sparse` is the list of stored extents, or None for a file that is not sparse.
    """

    __slots__ = ("atime", "device", "gid", "kind", "link", "mode", "mtime", "name", "size", "sparse", "uid", "xattrs")

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    atime: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes] | None
    sparse: sparse.Extents | None


class TarReader:
    """Iterator over the entries of a tar stream. An entry's content can be read until the next call of `next`.

    `next_piece` returns the next bytes of the stream, empty at the end. After the last entry the
    stream has been read to its end, padding included, and `complete` is True if there was an end
    marker. For a seekable file, `seek_past(n)` skips the n bytes after the last piece, and raises
    if there are fewer. `stream_name` names the stream in errors. Raises InvalidContent,
    LimitExceeded and the errors of `next_piece`.
    """

    def __init__(
        self,
        next_piece: Callable[[], bytes],
        limits: Limits = DEFAULT_LIMITS,
        *,
        seek_past: Callable[[int], None] | None = None,
        stream_name: str = "the archive",
    ) -> None:
        self._next_piece = next_piece
        self._seek_past = seek_past
        self._stream_name = stream_name
        self._passed = 0  # bytes of the stream before the current piece
        self._limits = limits
        self._piece = b""
        self._view = memoryview(b"")
        self._position = 0
        self._left = 0  # stored bytes of the current entry that are not yet read
        self._padding = 0
        self._total = 0
        self.entries = 0
        self.complete = False

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    # Reading the stream

    @property
    def offset(self) -> int:
        """Bytes of the stream consumed so far; after `next`, the offset of the entry's stored bytes."""
        return self._passed + self._position

    def _refill(self) -> bool:
        self._passed += len(self._piece)
        self._piece = self._next_piece()
        self._view = memoryview(self._piece)
        self._position = 0
        return bool(self._piece)

    def _take(self, size: int) -> bytes:
        """Read `size` bytes, or fewer at the end of the stream."""
        position = self._position
        data = self._piece[position : position + size]
        self._position = position + len(data)
        while len(data) < size and self._refill():
            more = self._piece[: size - len(data)]
            self._position = len(more)
            data += more
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._take(size)
        if len(data) < size:
            raise self._truncated()
        return data

    def _truncated(self) -> InvalidContent:
        return InvalidContent(f"{self._stream_name} ends in the middle of an entry")

    def _skip(self, size: int) -> None:
        while size:
            here = min(size, len(self._piece) - self._position)
            self._position += here
            size -= here
            if size and self._seek_past is not None:
                self._seek_past(size)
                self._passed += len(self._piece) + size
                self._piece, self._view, self._position = b"", memoryview(b""), 0
                return
            if size and not self._refill():
                raise self._truncated()

    def read(self) -> memoryview:
        """The next stored bytes of the current entry, without copying; empty at the end of the entry."""
        if not self._left:
            return self._view[:0]
        if self._position == len(self._piece) and not self._refill():
            raise self._truncated()
        view = self._view[self._position : self._position + self._left]
        self._position += len(view)
        self._left -= len(view)
        return view

    def _data_block(self) -> bytes:
        """The next block of the current entry's stored bytes, for the map at the start of a sparse file."""
        if self._left < BLOCK:
            raise InvalidContent("a sparse file's map is truncated")
        self._left -= BLOCK
        return self._exactly(BLOCK)

    # Headers

    def next(self) -> Entry | None:
        """The next entry, or None at the end."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        records: Records = []
        long: dict[bytes, bytes] = {}
        while True:
            block = self._take(BLOCK)
            if len(block) < BLOCK or block == _ZEROS:
                self._end(block, dangling=bool(records or long))
                return None
            self._count()
            try:
                fields = _checked_fields(block)
            except InvalidContent as error:
                hint = "is it a tar archive (uncompressed, gzip or zstd)?" if self.entries == 1 else ""
                raise error.with_(hint=hint) from error.cause
            kind = fields[7]
            if kind not in _EXTENSIONS:
                return self._entry(block, fields, records, long)
            data = self._extension(fields)
            if kind in (_LONG_NAME, _LONG_LINK):
                long[kind] = data.partition(b"\0")[0]
            elif kind == _GLOBAL:
                parse_records(data)  # validated, then ignored, as in other container tools
            else:
                records = parse_records(data)

    def _count(self) -> None:
        self.entries += 1
        if self.entries > self._limits.entries:
            raise LimitExceeded(
                f"{self._stream_name} has more than {self._limits.entries} entries", hint="see --max-entries"
            )

    def _end(self, block: bytes, *, dangling: bool) -> None:
        """Check the end marker (two zero blocks, or one from some writers), then read to the end of the stream."""
        if 0 < len(block) < BLOCK:
            raise InvalidContent(f"{self._stream_name} ends in the middle of a header")
        if dangling:
            raise InvalidContent(f"{self._stream_name} ends after an extended header")
        if block:
            self.complete = True
            second = self._take(BLOCK)
            if second.strip(b"\0") or 0 < len(second) < BLOCK:
                raise InvalidContent(f"{self._stream_name} has a zero block between its headers")
        while self._refill():
            pass

    def _extension(self, fields: tuple[bytes, ...]) -> bytes:
        size = number(fields[4])
        if not 0 <= size <= EXTENSION_LIMIT:
            raise LimitExceeded(f"an extended header of {size} bytes exceeds the limit of {EXTENSION_LIMIT} bytes")
        data = self._exactly(size)
        self._skip(-size % BLOCK)
        return data

    def _entry(self, block: bytes, fields: tuple[bytes, ...], records: Records, long: dict[bytes, bytes]) -> Entry:
        entry = _from_fields(fields)
        stored = number(fields[4]) if entry.kind == FILE else 0
        if records:
            stored = _merge(entry, records, stored)
        if long:
            entry.name = long.get(_LONG_NAME, entry.name)
            entry.link = long.get(_LONG_LINK, entry.link)
        if fields[7] == b"\0" and entry.name.endswith(b"/"):  # a directory in a V7 archive
            entry.kind, stored = DIRECTORY, 0
        if stored < 0:
            raise InvalidContent("an entry has a negative size")  # CVE-2025-8194
        self._left, self._padding = stored, -stored % BLOCK
        entry.size = stored
        if fields[7] == _OLD_SPARSE:
            extents, entry.size = sparse.old_gnu(block, lambda: self._exactly(BLOCK))
            entry.sparse = sparse.checked(extents, entry.size, stored)
        elif records and entry.kind == FILE:
            self._pax_sparse(entry, records)
        self._total += entry.size
        if self._total > self._limits.size:
            raise LimitExceeded(
                f"the files in {self._stream_name} exceed {self._limits.size} bytes in total", hint="see --max-size"
            )
        return entry

    def _pax_sparse(self, entry: Entry, records: Records) -> None:
        values = {key: value for key, value in records if key.startswith(b"GNU.sparse.")}
        if not values:
            return
        if values.get(b"GNU.sparse.major") == b"1" and values.get(b"GNU.sparse.minor", b"0") == b"0":
            extents, _ = sparse.pax_1_0(self._data_block)
            size = values.get(b"GNU.sparse.realsize")
        else:
            found = sparse.pax_headers(records)
            if found is None:
                return
            extents, size = found, values.get(b"GNU.sparse.size")
        if size is None:
            raise InvalidContent("a sparse file has no size")
        entry.name = _text(values.get(b"GNU.sparse.name")) or entry.name
        entry.size = decimal(size, "sparse size")
        entry.sparse = sparse.checked(extents, entry.size, self._left)


def _checked_fields(block: bytes) -> tuple[bytes, ...]:
    """Unpack a header and verify its checksum. Raises InvalidContent."""
    fields: tuple[bytes, ...] = _HEADER.unpack(block)
    checksum = fields[6]
    # The sum of 512 bytes from two Adler-32 checksums. The low half of Adler-32 is the sum of its
    # input plus one while that is below 65521, as for 256 bytes. Five times as fast as sum().
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    total += 8 * 32 - sum(checksum)
    stored = number(checksum)
    if stored != total and stored != _signed_sum(block, total):
        raise InvalidContent("a tar header's checksum is wrong")
    return fields


def _signed_sum(block: bytes, total: int) -> int:
    """The checksum of writers that sum signed bytes: each byte above 127 counts 256 less."""
    return total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


def _from_fields(fields: tuple[bytes, ...]) -> Entry:
    kind = fields[7]
    entry = Entry()
    entry.kind = kind if kind in _WITHOUT_DATA else _WITH_DATA.get(kind, b"")
    if not entry.kind:
        raise InvalidContent(f"an entry has the unknown type {kind!r}")
    name = fields[0].partition(b"\0")[0]
    if fields[9].startswith(_USTAR) and fields[12][:1] != b"\0":
        name = fields[12].partition(b"\0")[0] + b"/" + name
    entry.name = name
    entry.mode = small_number(fields[1]) & 0o7777
    entry.uid = small_number(fields[2])
    entry.gid = small_number(fields[3])
    entry.mtime = entry.atime = _bounded(number(fields[5]) * 1_000_000_000)
    entry.link = fields[8].partition(b"\0")[0]
    entry.device = (0, 0)
    if kind in (CHAR, BLOCKDEV):
        entry.device = (small_number(fields[10]), small_number(fields[11]))
    entry.xattrs = None
    entry.sparse = None
    return entry


def _bounded(nanoseconds: int) -> int:
    """The time if a file system can store it, else the epoch (behaviours G16)."""
    return nanoseconds if 0 <= nanoseconds <= _NEWEST else 0


def _text(value: bytes | None) -> bytes:
    if value and b"\0" in value:
        raise InvalidContent("a name contains a NUL byte")
    return value or b""


def _merge(entry: Entry, records: Records, stored: int) -> int:
    """Override header fields with extended header records. Returns the stored size, which a record may set.

    An empty value does not override the header (POSIX: as if the record were absent).
    """
    values = dict(records)
    entry.name = _text(values.get(b"path")) or entry.name
    entry.link = _text(values.get(b"linkpath")) or entry.link
    if uid := values.get(b"uid"):
        entry.uid = decimal(uid, "uid")
    if gid := values.get(b"gid"):
        entry.gid = decimal(gid, "gid")
    if mtime := values.get(b"mtime"):
        entry.mtime = entry.atime = _bounded(timestamp(mtime))
    if atime := values.get(b"atime"):
        entry.atime = max(_bounded(timestamp(atime)), entry.mtime)
    xattrs = {key[len(XATTR) :]: value for key, value in values.items() if key.startswith(XATTR)}
    if xattrs:
        if b"" in xattrs:
            raise InvalidContent("an extended attribute has no name")
        entry.xattrs = xattrs
    if (size := values.get(b"size")) and entry.kind == FILE:
        return decimal(size, "size")
    return stored
