"""Entries of an index.json that share a name: one image for several platforms, or one that replaced another."""

from __future__ import annotations

from collections.abc import Sequence

from dist_tool.errors import InvalidArgument, NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.manifest import select
from dist_tool.oci.platform import Platform

REF_NAME = "org.opencontainers.image.ref.name"


def for_platform(entries: Sequence[Descriptor], platform: str) -> Descriptor:
    """The entry for `platform`; of several that do not differ in it the last, as tools append.

    "" is no choice. Raises InvalidArgument if one is needed, NotFound if no entry fits.
    """
    last_first = entries[::-1]
    if len({entry.digest for entry in entries}) == 1:
        return last_first[0]
    unspecific = [entry for entry in last_first if entry.platform is None]
    platforms = _platforms(entries)
    if not platform and (unspecific or len(platforms) == 1):
        return last_first[0]
    if not platform:
        raise InvalidArgument(
            f"there are {len(platforms)} images with this name, for {', '.join(map(str, platforms))}",
            hint="choose one with --platform or the hint platform:OS/ARCH, or name it by digest",
        )
    try:
        return select(last_first, Platform.parse(platform))
    except NotFound:
        if not unspecific:
            raise
        return unspecific[0]


def is_one_image(entries: Sequence[Descriptor]) -> bool:
    """True for entries that share their name, if any, and differ in their platforms."""
    names = {entry.annotations.get(REF_NAME) for entry in entries}
    platforms = _platforms(entries)
    return len(names) == 1 and len(platforms) == len(entries)


def _platforms(entries: Sequence[Descriptor]) -> list[Platform]:
    return list(dict.fromkeys(entry.platform.normalised() for entry in entries if entry.platform is not None))
