"""How a layer is applied: who owns what, what becomes of devices, how much is allowed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dist_tool.errors import InvalidArgument, InvalidContent
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits

DEVICES = ("auto", "skip", "placeholder", "create")
_IDS = 2**32 - 1  # an id of all ones means "leave it" to the kernel


class IdRange(NamedTuple):
    """`size` ids from `container` on, in the layer, are those from `host` on, here."""

    container: int
    host: int
    size: int


def parse_id_range(text: str) -> IdRange:
    """Read `CONTAINER:HOST[:SIZE]`, as user namespaces have it. Raises InvalidArgument."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise InvalidArgument(f"{text!r} is not an id map", hint="expected CONTAINER:HOST[:SIZE], as in 0:100000:65536")
    container, host, size = (*map(int, parts), 1)[:3]
    if size < 1 or max(container, host) + size > _IDS:
        raise InvalidArgument(f"{text!r} is not an id map", hint="the ids are out of range")
    return IdRange(container, host, size)


def map_id(number: int, ranges: Sequence[IdRange], what: str) -> int:
    """The id here of an id in the layer. Raises InvalidContent for one that no range holds."""
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
    """`owners`: set the owners that the layer names, through the maps (behaviours G22).

    `devices` is one of `DEVICES`: `auto` creates them as root and skips them otherwise (G21).
    `rootlesscontainers` records owners in the attribute `user.rootlesscontainers` instead.
    `use_openat2` off resolves names without the kernel's help.
    """

    owners: bool = field(default_factory=lambda: os.geteuid() == 0)
    uid_map: tuple[IdRange, ...] = ()
    gid_map: tuple[IdRange, ...] = ()
    devices: str = "auto"
    rootlesscontainers: bool = False
    limits: Limits = DEFAULT_LIMITS
    use_openat2: bool = True

    def owner(self, uid: int, gid: int) -> tuple[int, int] | None:
        """Whom a file of the layer's `uid` and `gid` belongs to here; None for whoever we are.

        Raises InvalidContent for ids that the maps do not cover.
        """
        if not (self.owners or self.uid_map or self.gid_map):
            return None
        return map_id(uid, self.uid_map, "uid"), map_id(gid, self.gid_map, "gid")

    def parent_owner(self) -> tuple[int, int] | None:
        """Whom a directory belongs to that no layer mentions: root, if the maps know one."""
        if not (self.uid_map or self.gid_map):
            return None
        try:
            return self.owner(0, 0)
        except InvalidContent:
            return None
