"""Limits on what a layer may expand to (behaviours G28)."""

from __future__ import annotations

from dataclasses import dataclass

EXTENSION_LIMIT = 1 << 20  # bytes of one extended header, long name or sparse map (CVE-2022-2879, CVE-2025-58183)


@dataclass(frozen=True, slots=True)
class Limits:
    """Per layer. Exceeding one raises LimitExceeded.

    `size` in bytes bounds the uncompressed stream and, together, the files it describes
    (a sparse file counts with its full size). `ratio` is expanded to compressed bytes and
    counts only above `ratio_floor` bytes: gzip cannot pass 1032, zstd reaches 30,000 with
    zeros, as in the image of an empty disk. `depth` is the number of components of a name.
    `window` in bytes is what a zstd frame may ask for; the default is that of `zstd -d`, so
    that every level of the zstd program can be read.
    """

    size: int = 128 << 30
    entries: int = 4_000_000
    depth: int = 512
    ratio: int = 2000
    ratio_floor: int = 16 << 30
    window: int = 128 << 20


DEFAULT_LIMITS = Limits()
