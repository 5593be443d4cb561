"""From blobs to tar streams: every member and frame, to the last byte of the trailer."""

from __future__ import annotations

import builtins
import gzip
import io
import sys
import zlib
from typing import Any

import pytest
from support.content import flip, random_bytes

from dist_tool.errors import InvalidContent, LimitExceeded, Unsupported
from dist_tool.layers import compression
from dist_tool.layers.compression import decompress, sniff
from dist_tool.tar.limits import Limits

DATA = random_bytes("layer", 700_000) + bytes(700_000)


def zstd_of(data: bytes, **options: int) -> bytes:
    zstd = compression._zstd_module()
    chosen = {getattr(zstd.CompressionParameter, name): value for name, value in options.items()}
    encoder = zstd.ZstdCompressor(options=chosen)
    return bytes(encoder.compress(data) + encoder.flush())


def skippable(data: bytes, kind: int = 0x184D2A50) -> bytes:
    return kind.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def decoded(blob: bytes, limits: Limits | None = None, step: int | None = None) -> bytes:
    source = io.BytesIO(blob)
    return b"".join(decompress(lambda size: source.read(min(size, step or size)), limits or Limits()))


@pytest.fixture(params=["isal", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both gzip decoders: they have the same interface, and faults of their own."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        _without(monkeypatch, "isal")
    return str(request.param)


def _without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    real = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in packages:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.parametrize(
    ("blob", "kind"),
    [
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"\x28\xb5\x2f\xfd\0\0", "zstd"),
        (skippable(b"toc"), "zstd"),
        (skippable(b"toc", 0x184D2A5F), "zstd"),
        (b"etc/passwd\0", "plain"),
        (b"", "plain"),
        (b"\x1f\x8b", "plain"),
    ],
)
def test_first_bytes_tell_the_compression(blob: bytes, kind: str) -> None:
    assert sniff(blob) == kind


@pytest.mark.parametrize("magic", [b"\xfd7zXZ\0", b"BZh91AY", b"\x04\x22\x4d\x18ab"])
def test_compressions_that_layers_cannot_have_are_unsupported(magic: bytes) -> None:
    with pytest.raises(Unsupported, match="compression is not supported"):
        decoded(magic)


@pytest.mark.parametrize("step", [1, 7, 4096, None])
def test_gzip_is_decoded_whatever_the_reads(engine: str, step: int | None) -> None:
    data = DATA if step is None or step > 100 else DATA[690_000:710_000]
    assert decoded(gzip.compress(data), step=step) == data


def test_every_gzip_member_is_decoded(engine: str) -> None:
    """behaviours E15, T9: eStargz and pigz write one for each file."""
    members = [DATA[:10], b"", DATA[10:500_000], DATA[500_000:]]
    assert decoded(b"".join(map(gzip.compress, members))) == DATA


@pytest.mark.parametrize("zeros", [1, 511, 300_000])
def test_zeros_after_gzip_are_padding(engine: str, zeros: int) -> None:
    assert decoded(gzip.compress(b"data") + bytes(zeros)) == b"data"


@pytest.mark.parametrize("rest", [b"x", b"\0x", bytes(200_000) + b"\1", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x07"])
def test_anything_else_after_gzip_is_refused(engine: str, rest: bytes) -> None:
    with pytest.raises(InvalidContent):
        decoded(gzip.compress(b"data") + rest)


@pytest.mark.parametrize("cut", [1, 2, 4, 8, 9, 100])
def test_cut_gzip_is_refused(engine: str, cut: int) -> None:
    """security 0.1: a missing trailer passes elsewhere."""
    with pytest.raises(InvalidContent):
        decoded(gzip.compress(DATA)[:-cut])


def test_every_cut_of_a_small_gzip_stream_is_refused(engine: str) -> None:
    blob = gzip.compress(b"some data, some data")
    for length in range(6, len(blob)):
        with pytest.raises(InvalidContent):
            decoded(blob[:length])


@pytest.mark.parametrize("byte", range(1, 9))
def test_wrong_gzip_trailer_is_refused(engine: str, byte: int) -> None:
    blob = gzip.compress(DATA)
    with pytest.raises(InvalidContent, match="damaged"):
        decoded(flip(blob, 8 * (len(blob) - byte)))


def test_reserved_gzip_flags_are_refused(engine: str) -> None:
    blob = bytearray(gzip.compress(b"data"))
    blob[3] |= 0x80
    with pytest.raises(InvalidContent):
        decoded(bytes(blob))


def test_gzip_of_nothing_is_nothing(engine: str) -> None:
    assert decoded(gzip.compress(b"")) == b""


@pytest.mark.parametrize("step", [1, 13, None])
def test_every_zstd_frame_is_decoded_and_skippable_ones_skipped(step: int | None) -> None:
    """behaviours E14, E15: zstd:chunked puts its table of contents into skippable frames."""
    data = DATA[690_000:720_000]
    blob = skippable(b"first") + zstd_of(data[:7]) + zstd_of(b"") + skippable(b"") + zstd_of(data[7:]) + skippable(data)
    assert decoded(blob, step=step) == data


def test_every_cut_of_zstd_inside_a_frame_is_refused() -> None:
    frame = zstd_of(b"some data, some data", checksum_flag=1)
    blob = skippable(b"12345") + frame
    for length in range(4, len(blob)):
        if length != len(blob) - len(frame):
            with pytest.raises(InvalidContent):
                decoded(blob[:length])


def test_wrong_zstd_checksum_is_refused() -> None:
    blob = zstd_of(DATA, checksum_flag=1)
    with pytest.raises(InvalidContent, match="damaged"):
        decoded(flip(blob, 8 * len(blob) - 1))


@pytest.mark.parametrize("rest", [b"\0", b"\0\0\0\0", b"trailing", b"\x28\xb5\x2f"])
def test_anything_else_after_zstd_is_refused(rest: bytes) -> None:
    with pytest.raises(InvalidContent):
        decoded(zstd_of(b"data") + rest)


def test_zstd_window_is_bounded() -> None:
    """A frame of a few bytes may ask for gigabytes of memory."""
    blob = zstd_of(b"data" * 9, window_log=24)
    assert decoded(blob, Limits(window=16 << 20)) == b"data" * 9
    with pytest.raises(LimitExceeded, match="window"):
        decoded(blob, Limits(window=8 << 20))


def test_zstd_of_every_level_is_accepted_by_default() -> None:
    zstd = compression._zstd_module()
    encoder = zstd.ZstdCompressor(options={zstd.CompressionParameter.compression_level: 22})
    blob = encoder.compress(b"data" * 9) + encoder.flush()  # of unknown size, as from a pipe: the window is 128 MiB
    assert decoded(blob) == b"data" * 9
    with pytest.raises(LimitExceeded, match="window"):
        decoded(blob, Limits(window=64 << 20))
    with pytest.raises(LimitExceeded, match="--max-window"):
        decoded(zstd_of(b"data" * 9, window_log=28))


def test_highly_compressible_zstd_is_accepted_by_default() -> None:
    size, piece = 1536 << 20, bytes(16 << 20)
    encoder = compression._zstd_module().ZstdCompressor()
    blob = b"".join([*(encoder.compress(piece) for _ in range(size // len(piece))), encoder.flush()])
    assert size // len(blob) > Limits().ratio
    assert sum(map(len, decompress(io.BytesIO(blob).read))) == size
    with pytest.raises(LimitExceeded, match="2000 times"):
        sum(map(len, decompress(io.BytesIO(blob).read, Limits(ratio_floor=1 << 30))))


def test_zstd_without_a_decoder_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = zstd_of(b"data")
    _without(monkeypatch, "backports", "compression")
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(Unsupported, match=r"zstd.*backports\.zstd"):
        decoded(blob)


def test_pieces_are_bounded_and_never_empty(engine: str) -> None:
    """behaviours G28: 64 MiB from 64 kB must not be in memory at once."""
    blob = gzip.compress(bytes(64 << 20))
    sizes = [len(piece) for piece in decompress(io.BytesIO(blob).read)]
    assert sum(sizes) == 64 << 20
    assert min(sizes) > 0
    assert max(sizes) <= compression.OUTPUT


def test_expanded_size_is_limited() -> None:
    blob = gzip.compress(bytes(1000))
    assert decoded(blob, Limits(size=1000)) == bytes(1000)
    with pytest.raises(LimitExceeded, match="999 bytes"):
        decoded(blob, Limits(size=999))


def test_expansion_ratio_is_limited_above_a_floor() -> None:
    blob = zstd_of(bytes(4 << 20))
    assert len(blob) < 1000
    assert len(decoded(blob, Limits(ratio=2000, ratio_floor=4 << 20))) == 4 << 20
    with pytest.raises(LimitExceeded, match="2000 times"):
        decoded(blob, Limits(ratio=2000, ratio_floor=2 << 20))


def test_plain_bytes_pass_as_they_are() -> None:
    assert decoded(DATA) == DATA


@pytest.mark.parametrize("level", [0, 1, 9])
def test_isal_and_zlib_agree(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("isal")
    blob = gzip.compress(DATA, level) + zlib.compress(b"")[:0]
    first = decoded(blob)
    _without(monkeypatch, "isal")
    assert decoded(blob) == first == DATA
