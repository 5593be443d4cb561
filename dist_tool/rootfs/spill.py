"""Dictionary that spills to a temporary database when it exceeds a memory limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from dist_tool.rootfs.temp_database import TempDatabase

_MEMORY = 4 << 20  # bytes
_ITEM_OVERHEAD = 200  # approximate bytes per dict item, without its key and value
_SCHEMA = "CREATE TABLE shelf (name BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;"
_PUT = "INSERT OR REPLACE INTO shelf VALUES (?, ?)"


class SpillDict:
    """Maps names to bytes, in memory or, above `room` bytes, in a temporary database. Must be closed.

    Raises LocalFailure if the disk fails.
    """

    def __init__(self, room: int | None = None) -> None:
        self._room = _MEMORY if room is None else room
        self._held: dict[bytes, bytes] = {}
        self._db: TempDatabase | None = None

    def put(self, name: bytes, value: bytes = b"") -> None:
        """Set the value of `name`."""
        if self._db is not None:
            self._db.run(_PUT, name, value)
            return
        self._held[name] = value
        self._room -= _ITEM_OVERHEAD + len(name) + len(value)
        if self._room < 0:
            self._move()

    def _move(self) -> None:
        from dist_tool.rootfs.temp_database import TempDatabase  # loads SQLite, which few layers need

        self._db = TempDatabase(_SCHEMA)
        for name, value in self._held.items():
            self._db.run(_PUT, name, value)
        self._held.clear()

    def get(self, name: bytes) -> bytes | None:
        """The value of `name`, None if it is not set."""
        if self._db is None:
            return self._held.get(name)
        found = self._db.row("SELECT value FROM shelf WHERE name = ?", name)
        return cast(bytes, found[0]) if found else None

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def drop(self, name: bytes) -> None:
        """Remove a name, if it is set."""
        if self._db is None:
            self._held.pop(name, None)
        else:
            self._db.run("DELETE FROM shelf WHERE name = ?", name)

    def descending(self) -> Iterator[tuple[bytes, bytes]]:
        """All items in descending order of names: paths below a directory come before the directory."""
        if self._db is not None:
            yield from cast("Iterator[tuple[bytes, bytes]]", self._db.rows("SELECT * FROM shelf ORDER BY name DESC"))
        else:
            for name in sorted(self._held, reverse=True):
                yield name, self._held[name]

    def close(self) -> None:
        """Delete all items and the database. Idempotent."""
        self._held.clear()
        if self._db is not None:
            self._db.close()
