"""From a layer's blob to its tar stream: gzip, zstd and plain, told apart by their first bytes.

Behaviours E13-E15: the media type is not believed, every member and every frame is decoded,
and whatever is not a whole sound stream is an error, the trailer included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from dist_tool.errors import InvalidContent, LimitExceeded, Unsupported
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits

INPUT = 128 << 10  # compressed bytes read at a time
OUTPUT = 512 << 10  # uncompressed bytes handed on at a time, at most
SNIFFED = 6  # bytes that `sniff` looks at
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_RESERVED_FLAGS = 0xE0  # of a gzip member; isal does not look at them
# Formats that no image specification names, so that the message can.
_FOREIGN = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}

Read = Callable[[int], bytes]


def sniff(head: bytes) -> str:
    """`gzip`, `zstd` or `plain`, from the first bytes of a blob (behaviours E14).

    Raises Unsupported for compressions that layers cannot have.
    """
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_ZSTD) or _is_skippable(head):
        return "zstd"
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise Unsupported(f"a layer compressed with {name}", hint="layers are gzip, zstd or plain tar")
    return "plain"


def _is_skippable(head: bytes) -> bool:
    """Zstandard skippable frame, 0x184D2A50 to 0x184D2A5F: how zstd:chunked may begin."""
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"


class _Input:
    """Compressed bytes with a pushed-back remainder; counts what was read."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._back = b""
        self.count = 0

    def next(self) -> bytes:
        """Some bytes; none at the end, and only there."""
        if self._back:
            data, self._back = self._back, b""
            return data
        data = self._read(INPUT)
        self.count += len(data)
        return data

    def push_back(self, data: bytes) -> None:
        """Give `data` again, before everything else."""
        self._back = data + self._back

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or all there are; they stay."""
        while len(self._back) < size:
            data = self._read(INPUT)
            if not data:
                break
            self.count += len(data)
            self._back += data
        return self._back[:size]

    def take(self, size: int) -> bytes:
        """The next `size` bytes, or all there are. For headers only."""
        data = self.peek(size)
        self._back = self._back[size:]
        return data


def decompress(read: Read, limits: Limits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """The uncompressed stream, in pieces of at most `OUTPUT` bytes; none is empty.

    `read(n)` gives up to n bytes, and none at the end. Raises InvalidContent for a stream that
    is cut, damaged or followed by something else; LimitExceeded; Unsupported.
    """
    source = _Input(read)
    kind = sniff(source.peek(SNIFFED))
    count = 0
    for piece in _pieces(kind, source, limits):
        count += len(piece)
        if count > limits.size:
            raise LimitExceeded(f"the layer expands to more than {limits.size} bytes", hint="see --max-size")
        if count > limits.ratio_floor and count > limits.ratio * source.count:
            raise LimitExceeded(f"the layer expands to more than {limits.ratio} times its size", hint="see --max-ratio")
        yield piece


def _pieces(kind: str, source: _Input, limits: Limits) -> Iterator[bytes]:
    if kind == "gzip":
        return _gzip(source)
    return _zstd(source, limits.window) if kind == "zstd" else _plain(source)


def _plain(source: _Input) -> Iterator[bytes]:
    while data := source.next():
        yield data


class _Engine(Protocol):
    """What zlib's and isal's decompression objects have in common."""

    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _gzip_engine() -> tuple[Callable[[], _Engine], type[Exception]]:
    """The one of `isal` where it is installed (about twice as fast), that of zlib elsewhere."""
    module: Any
    try:
        from isal import isal_zlib as module
    except ImportError:
        import zlib as module
    wbits = 31  # a gzip header and trailer, and both are checked
    return (lambda: module.decompressobj(wbits)), module.error


def _gzip(source: _Input) -> Iterator[bytes]:
    """Every member of a gzip stream; zeros may follow the last (tape padding), nothing else."""
    new_engine, failure = _gzip_engine()
    while head := source.peek(4):
        if not head.startswith(_GZIP):
            _only_zeros(source)
            return
        if len(head) < 4 or head[3] & _RESERVED_FLAGS:
            raise InvalidContent("a gzip member's header is cut short or uses reserved flags")
        try:
            yield from _inflate(source, new_engine())
        except failure as error:
            raise InvalidContent(f"the layer's gzip stream is damaged: {error}") from error


def _inflate(source: _Input, engine: _Engine) -> Iterator[bytes]:
    while not engine.eof:
        data = source.next()
        ended = not data
        while True:
            piece = engine.decompress(data, OUTPUT)
            if piece:
                yield piece
            data = engine.unconsumed_tail
            # A full piece may have left more inside the engine, with no input left to show for it.
            if engine.eof or not (data or len(piece) == OUTPUT):
                break
        if ended and not engine.eof:
            raise InvalidContent("the layer's gzip stream is cut short")
    source.push_back(engine.unused_data)


def _only_zeros(source: _Input) -> None:
    while data := source.next():
        if data.strip(b"\0"):
            raise InvalidContent("the layer's gzip stream is followed by something else")


def _zstd_module() -> Any:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise Unsupported("a layer compressed with zstd", hint="install backports.zstd") from error
    return zstd


def _zstd(source: _Input, window: int) -> Iterator[bytes]:
    """Every frame of a zstd stream; skippable frames (zstd:chunked metadata) are skipped."""
    zstd = _zstd_module()
    options = {zstd.DecompressionParameter.window_log_max: max(10, window.bit_length() - 1)}
    while head := source.peek(4):
        if _is_skippable(head):
            _skip_frame(source)
        elif head == _ZSTD:
            try:
                yield from _decode_frame(source, zstd.ZstdDecompressor(options=options))
            except zstd.ZstdError as error:
                raise _zstd_failure(error, window) from error
        else:
            raise InvalidContent("the layer's zstd stream is followed by something else")


def _skip_frame(source: _Input) -> None:
    header = source.take(8)
    left = int.from_bytes(header[4:8], "little")
    if len(header) < 8:
        raise InvalidContent("the layer's zstd stream is cut short")
    while left:
        data = source.next()
        if not data:
            raise InvalidContent("the layer's zstd stream is cut short")
        source.push_back(data[left:])
        left -= min(left, len(data))


def _decode_frame(source: _Input, engine: Any) -> Iterator[bytes]:
    while not engine.eof:
        data = source.next() if engine.needs_input else b""
        if engine.needs_input and not data:
            raise InvalidContent("the layer's zstd stream is cut short")
        piece = engine.decompress(data, OUTPUT)
        if piece:
            yield piece
    source.push_back(engine.unused_data)


def _zstd_failure(error: Exception, window: int) -> Exception:
    if "too much memory" in str(error):
        return LimitExceeded(f"a zstd frame asks for a window of more than {window} bytes", hint="see --max-window")
    return InvalidContent(f"the layer's zstd stream is damaged: {error}")
