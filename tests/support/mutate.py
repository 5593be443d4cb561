"""Damaged streams from a seed, and what reading them may lead to."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

from dist_tool.errors import DistError
from dist_tool.layers import compression
from dist_tool.tar.limits import Limits
from support import tars

# Far below what a machine has, so that a mutated size cannot fill the disk.
LIMITS = Limits(size=4 << 20, entries=2000, depth=128, ratio=2000, ratio_floor=1 << 20, window=8 << 20)


def seeds() -> list[bytes]:
    """Sound layers that use everything a reader knows."""
    sparse = tars.padded(b"1\n512\n5\n") + b"12345"
    return [
        tars.tar(
            tars.directory("d"),
            tars.file("d/f", b"data" * 200, mode=0o4755, uid=5),
            tars.symlink("d/l", "../d"),
            tars.hard_link("h", "d/f"),
            tars.file("d/l/g", b"x"),
            tars.whiteout("d/f"),
            tars.opaque("d"),
        ),
        tars.tar(
            tars.pax({"path": "long/" * 30 + "p", "mtime": "1.5", "uid": "70000", "SCHILY.xattr.user.x": "y"}),
            tars.header("p", size=3),
            tars.padded(b"abc"),
            tars.pax({"size": "512"}),
            tars.header("q"),
            bytes(512),
            tars.pax({"comment": "global"}, b"g"),
            tars.fifo("r"),
        ),
        tars.tar(
            tars.long_name("n/" * 80 + "n"),
            tars.long_link("t/" * 80),
            tars.header("n", b"2", magic=tars.GNU),
            tars.header("b", uid=tars.base256(2**31, 8), size=tars.base256(5, 12), magic=tars.GNU),
            tars.padded(b"12345"),
            tars.char_device("c", 1, 3),
        ),
        tars.tar(
            tars.pax(
                {
                    "GNU.sparse.major": "1",
                    "GNU.sparse.minor": "0",
                    "GNU.sparse.name": "s",
                    "GNU.sparse.realsize": "1000",
                }
            ),
            tars.header("s", size=len(sparse)),
            tars.padded(sparse),
            tars.pax({"GNU.sparse.map": "0,2,600,3", "GNU.sparse.size": "700", "GNU.sparse.name": "m"}),
            tars.header("m", size=5),
            tars.padded(b"12345"),
        ),
    ]


def mutated_tars(seed: int, count: int) -> Iterator[bytes]:
    """`count` damaged tars. Checksums are mended in most, so that the damage gets past them."""
    chance = random.Random(seed)
    sound = seeds()
    for _ in range(count):
        data = bytearray(chance.choice(sound))
        for _ in range(chance.randint(1, 4)):
            _MUTATIONS[chance.randrange(len(_MUTATIONS))](chance, data)
        yield mended(bytes(data)) if chance.random() < 0.8 else bytes(data)


def _flip(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _interesting(chance: random.Random, data: bytearray) -> None:
    if data:
        at = chance.randrange(len(data))
        data[at : at + 1] = chance.choice(
            [b"\0", b"\xff", b"/", b"..", b"7", b"9", b"\x80", b".wh.", b"\n", b"=", b" "]
        )
        del data[at + 1 : at + 1 + (len(data) - len(data) // 512 * 512)]


def _field(chance: random.Random, data: bytearray) -> None:
    """Something else in one field of one header."""
    blocks = len(data) // 512
    if blocks:
        at = 512 * chance.randrange(blocks)
        start, width = chance.choice(
            [(0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155)]
        )
        value = chance.choice(
            [
                bytes(width),
                b"\xff" * width,
                b"7" * width,
                b"../" * 40,
                b"a/b",
                b"\x80" + b"\x7f" * width,
                b"x",
                b"5",
                b"L",
            ]
        )
        value = value[:width].ljust(width, b"\0")
        data[at + start : at + start + width] = value


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _swap(chance: random.Random, data: bytearray) -> None:
    """A block from somewhere in the place of another."""
    blocks = len(data) // 512
    if blocks:
        to, source = (512 * chance.randrange(blocks) for _ in range(2))
        data[to : to + 512] = data[source : source + 512]


def _drop(chance: random.Random, data: bytearray) -> None:
    blocks = len(data) // 512
    if blocks:
        at = 512 * chance.randrange(blocks)
        del data[at : at + 512]


_MUTATIONS = [_flip, _interesting, _field, _field, _cut, _swap, _drop]


def mended(data: bytes) -> bytes:
    """The stream with a right checksum in whatever may be a header."""
    out = []
    for at in range(0, len(data), 512):
        block = data[at : at + 512]
        looks_like_one = len(block) == 512 and block[148:156].strip(b"0123456789 \0") == b"" and any(block[148:156])
        out.append(tars.summed(block) if looks_like_one else block)
    return b"".join(out)


def mutated_blobs(seed: int, count: int) -> Iterator[bytes]:
    """`count` damaged gzip and zstd streams."""
    chance = random.Random(seed)
    zstd = compression._zstd_module()
    plain = seeds()
    sound = [gzip.compress(data, mtime=0) for data in plain] + [zstd.compress(data) for data in plain]
    sound += [gzip.compress(plain[0][:700], mtime=0) + gzip.compress(plain[0][700:], mtime=0) + bytes(100)]
    sound += [b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd.compress(plain[1][:700]) + zstd.compress(plain[1][700:])]
    for _ in range(count):
        data = bytearray(chance.choice(sound))
        for _ in range(chance.randint(1, 4)):
            chance.choice([_flip, _flip, _interesting, _cut])(chance, data)
        yield bytes(data)


class MemoryUse:
    """How much memory was needed beyond what was in use when the block began, at its most.

    The peak is forgotten first, so that what other tests once needed does not count.
    """

    def __enter__(self) -> MemoryUse:
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.most = max(_status("VmHWM") - self._before, 0)


def _status(field: str) -> int:
    """A size of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise KeyError(field)


def is_clean(error: DistError) -> bool:
    """What the user sees is one line, and the exit code blames content, machine or options as it should."""
    return "\n" not in str(error) and error.exit_code in (5, 8, 9)
