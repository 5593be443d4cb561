"""Expansion limits of compressed and tar streams (behaviours G28)."""

from __future__ import annotations

from dataclasses import dataclass

EXTENSION_LIMIT = 1 << 20  # bytes of one extended header, long name or sparse map (CVE-2022-2879, CVE-2025-58183)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one stream. Exceeding one raises LimitExceeded.

    `size`, in bytes, limits the uncompressed stream, and also the total size of the files in it
    (a sparse file counts with its full size). `ratio` is uncompressed bytes per compressed byte,
    and applies only above `ratio_floor` uncompressed bytes: gzip cannot exceed 1032, zstd reaches
    30,000 on zeros, as in the image of an empty disk. `depth` is the number of components in a
    name. `window`, in bytes, limits the window of a zstd frame; the default is that of `zstd -d`,
    which reads the output of every level of the zstd program.
    """

    size: int = 128 << 30
    entries: int = 4_000_000
    depth: int = 512
    ratio: int = 2000
    ratio_floor: int = 16 << 30
    window: int = 128 << 20


DEFAULT_LIMITS = Limits()
