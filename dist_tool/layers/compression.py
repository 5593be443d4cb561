"""Streaming decompression of gzip, zstd and uncompressed blobs, detected by their first bytes.

Behaviours E13-E15: the media type is not trusted, every gzip member and every zstd frame is decoded,
and a truncated or damaged stream is an error, including its trailer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from dist_tool.errors import InvalidContent, LimitExceeded, Unsupported
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits

INPUT = 128 << 10  # compressed bytes read at a time
OUTPUT = 512 << 10  # maximum size of an uncompressed piece, in bytes
SNIFFED = 6  # bytes that `sniff` needs
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_RESERVED_FLAGS = 0xE0  # of a gzip member; isal does not check them
# Formats that no image specification allows, for the error message.
_FOREIGN = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}

Read = Callable[[int], bytes]


def sniff(head: bytes) -> str:
    """Detect the compression from the first bytes of a blob: `gzip`, `zstd` or `plain` (behaviours E14).

    Raises Unsupported for other known compression formats.
    """
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_ZSTD) or _is_skippable(head):
        return "zstd"
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise Unsupported(f"{name} compression is not supported", hint="use gzip, zstd or no compression")
    return "plain"


def _is_skippable(head: bytes) -> bool:
    """True for a zstd skippable frame (magic 0x184D2A50 to 0x184D2A5F), which may start a zstd:chunked blob."""
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"


class _Input:
    """Compressed input with push-back. `count` is the number of bytes read, `name` the stream's name in errors."""

    def __init__(self, read: Read, name: str) -> None:
        self._read = read
        self.name = name
        self._back = b""
        self.count = 0

    def next(self) -> bytes:
        """The next bytes; empty only at the end."""
        if self._back:
            data, self._back = self._back, b""
            return data
        data = self._read(INPUT)
        self.count += len(data)
        return data

    def push_back(self, data: bytes) -> None:
        """Return `data` to the front of the input."""
        self._back = data + self._back

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the end, without consuming them."""
        while len(self._back) < size:
            data = self._read(INPUT)
            if not data:
                break
            self.count += len(data)
            self._back += data
        return self._back[:size]

    def take(self, size: int) -> bytes:
        """Consume the next `size` bytes, or fewer at the end. For headers only."""
        data = self.peek(size)
        self._back = self._back[size:]
        return data


def decompress(read: Read, limits: Limits = DEFAULT_LIMITS, *, stream_name: str = "the layer") -> Iterator[bytes]:
    """The uncompressed stream, in non-empty pieces of at most `OUTPUT` bytes.

    `read(n)` returns up to n bytes, empty at the end. `stream_name` names the stream in errors.
    Raises InvalidContent for a stream that is truncated, damaged or followed by other data;
    LimitExceeded; Unsupported.
    """
    source = _Input(read, stream_name)
    kind = sniff(source.peek(SNIFFED))
    count = 0
    for piece in _pieces(kind, source, limits):
        count += len(piece)
        if count > limits.size:
            raise LimitExceeded(f"{source.name} expands to more than {limits.size} bytes", hint="see --max-size")
        if count > limits.ratio_floor and count > limits.ratio * source.count:
            raise LimitExceeded(
                f"{source.name} expands to more than {limits.ratio} times its compressed size", hint="see --max-ratio"
            )
        yield piece


def _pieces(kind: str, source: _Input, limits: Limits) -> Iterator[bytes]:
    if kind == "gzip":
        return _gzip(source)
    return _zstd(source, limits.window) if kind == "zstd" else _plain(source)


def _truncated(source: _Input, kind: str) -> InvalidContent:
    return InvalidContent(f"the {kind} stream of {source.name} is truncated")


def _trailing_data(source: _Input, kind: str) -> InvalidContent:
    return InvalidContent(f"the {kind} stream of {source.name} is followed by other data")


def _plain(source: _Input) -> Iterator[bytes]:
    while data := source.next():
        yield data


class _Engine(Protocol):
    """Common interface of the decompression objects of zlib and isal."""

    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _gzip_engine() -> tuple[Callable[[], _Engine], type[Exception]]:
    """Factory and error class: `isal` if it is installed (about twice as fast), else zlib."""
    module: Any
    try:
        from isal import isal_zlib as module
    except ImportError:
        import zlib as module
    wbits = 31  # expect a gzip header and trailer, and check both
    return (lambda: module.decompressobj(wbits)), module.error


def _gzip(source: _Input) -> Iterator[bytes]:
    """Decode every member of a gzip stream. Only zeros may follow the last member (tape padding)."""
    new_engine, failure = _gzip_engine()
    while head := source.peek(4):
        if not head.startswith(_GZIP):
            _only_zeros(source)
            return
        if len(head) < 4 or head[3] & _RESERVED_FLAGS:
            raise InvalidContent("a gzip member's header is truncated or uses reserved flags")
        try:
            yield from _inflate(source, new_engine())
        except failure as error:
            raise InvalidContent(f"the gzip stream of {source.name} is damaged: {error}") from error


def _inflate(source: _Input, engine: _Engine) -> Iterator[bytes]:
    while not engine.eof:
        data = source.next()
        ended = not data
        while True:
            piece = engine.decompress(data, OUTPUT)
            if piece:
                yield piece
            data = engine.unconsumed_tail
            # After a full piece the engine may hold more output even if no input is left.
            if engine.eof or not (data or len(piece) == OUTPUT):
                break
        if ended and not engine.eof:
            raise _truncated(source, "gzip")
    source.push_back(engine.unused_data)


def _only_zeros(source: _Input) -> None:
    while data := source.next():
        if data.strip(b"\0"):
            raise _trailing_data(source, "gzip")


def _zstd_module() -> Any:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise Unsupported(
                "zstd compression is not supported by this installation", hint="install backports.zstd"
            ) from error
    return zstd


def _zstd(source: _Input, window: int) -> Iterator[bytes]:
    """Decode every frame of a zstd stream, except skippable frames (zstd:chunked metadata)."""
    zstd = _zstd_module()
    options = {zstd.DecompressionParameter.window_log_max: max(10, window.bit_length() - 1)}
    while head := source.peek(4):
        if _is_skippable(head):
            _skip_frame(source)
        elif head == _ZSTD:
            try:
                yield from _decode_frame(source, zstd.ZstdDecompressor(options=options))
            except zstd.ZstdError as error:
                raise _zstd_failure(error, window, source) from error
        else:
            raise _trailing_data(source, "zstd")


def _skip_frame(source: _Input) -> None:
    header = source.take(8)
    left = int.from_bytes(header[4:8], "little")
    if len(header) < 8:
        raise _truncated(source, "zstd")
    while left:
        data = source.next()
        if not data:
            raise _truncated(source, "zstd")
        source.push_back(data[left:])
        left -= min(left, len(data))


def _decode_frame(source: _Input, engine: Any) -> Iterator[bytes]:
    while not engine.eof:
        data = source.next() if engine.needs_input else b""
        if engine.needs_input and not data:
            raise _truncated(source, "zstd")
        piece = engine.decompress(data, OUTPUT)
        if piece:
            yield piece
    source.push_back(engine.unused_data)


def _zstd_failure(error: Exception, window: int, source: _Input) -> Exception:
    if "too much memory" in str(error):
        return LimitExceeded(f"a zstd frame requires a window of more than {window} bytes", hint="see --max-window")
    return InvalidContent(f"the zstd stream of {source.name} is damaged: {error}")
