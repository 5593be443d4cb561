"""Options for applying a layer: owners and ID maps, devices, limits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dist_tool.errors import InvalidArgument, InvalidContent
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits

_IDS = 2**32 - 1  # the kernel interprets an ID of all ones as "no change"


class IdRange(NamedTuple):
    """Maps `size` IDs in the layer, starting at `container`, to host IDs starting at `host`."""

    container: int
    host: int
    size: int


def parse_id_range(text: str) -> IdRange:
    """Parse `CONTAINER:HOST[:SIZE]`, as for user namespaces. Raises InvalidArgument."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise InvalidArgument(
            f"{text!r} is not an ID map", hint="use CONTAINER:HOST[:SIZE], for example 0:100000:65536"
        )
    container, host, size = (*map(int, parts), 1)[:3]
    if size < 1 or max(container, host) + size > _IDS:
        raise InvalidArgument(f"{text!r} is not an ID map", hint="its IDs are out of range")
    return IdRange(container, host, size)


def map_id(number: int, ranges: Sequence[IdRange], what: str) -> int:
    """Map an ID in the layer to a host ID. Raises InvalidContent if no range contains it."""
    if not ranges:
        if not 0 <= number < _IDS:
            raise InvalidContent(f"the {what} {number} is out of range")
        return number
    for first, host, size in ranges:
        if first <= number < first + size:
            return host + number - first
    raise InvalidContent(f"no {what} map covers {number}", hint=f"see --{what}map")


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """Options for applying a layer.

    `owners`: set the owners that the layer specifies, mapped through the ID maps (behaviours G22).
    `devices` is `skip`, `placeholder`, `create`, or `auto`, which creates as root and otherwise skips (behaviours G21).
    `rootlesscontainers` records owners in the attribute `user.rootlesscontainers` instead.
    If `use_openat2` is False, paths are resolved without that system call.
    """

    owners: bool = field(default_factory=lambda: os.geteuid() == 0)
    uid_map: tuple[IdRange, ...] = ()
    gid_map: tuple[IdRange, ...] = ()
    devices: str = "auto"
    rootlesscontainers: bool = False
    limits: Limits = DEFAULT_LIMITS
    use_openat2: bool = True

    def owner(self, uid: int, gid: int) -> tuple[int, int] | None:
        """The owner (uid, gid) of a file with the layer's `uid` and `gid`; None for the current user.

        Raises InvalidContent for IDs that the maps do not cover.
        """
        if not (self.owners or self.uid_map or self.gid_map):
            return None
        return map_id(uid, self.uid_map, "uid"), map_id(gid, self.gid_map, "gid")

    def parent_owner(self) -> tuple[int, int] | None:
        """The owner of a directory without an entry in any layer: mapped root, or None if the maps do not cover it."""
        if not (self.uid_map or self.gid_map):
            return None
        try:
            return self.owner(0, 0)
        except InvalidContent:
            return None
