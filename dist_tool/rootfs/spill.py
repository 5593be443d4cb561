"""What is remembered by name while a layer is applied, however many names there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from dist_tool.rootfs.temp_database import TempDatabase

_ROOM = 4 << 20  # bytes that are held in memory
_COST = 200  # bytes of an item in a dict, about, without its content
_SCHEMA = "CREATE TABLE shelf (name BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;"
_PUT = "INSERT OR REPLACE INTO shelf VALUES (?, ?)"


class SpillDict:
    """Bytes by name: in memory, and beyond a few megabytes in a scratch. Close it.

    Raises LocalFailure where the disk fails.
    """

    def __init__(self, room: int | None = None) -> None:
        self._room = _ROOM if room is None else room
        self._held: dict[bytes, bytes] = {}
        self._db: TempDatabase | None = None

    def put(self, name: bytes, value: bytes = b"") -> None:
        """Set what `name` stands for."""
        if self._db is not None:
            self._db.run(_PUT, name, value)
            return
        self._held[name] = value
        self._room -= _COST + len(name) + len(value)
        if self._room < 0:
            self._move()

    def _move(self) -> None:
        from dist_tool.rootfs.temp_database import TempDatabase  # loads SQLite, which few layers need

        self._db = TempDatabase(_SCHEMA)
        for name, value in self._held.items():
            self._db.run(_PUT, name, value)
        self._held.clear()

    def get(self, name: bytes) -> bytes | None:
        """What `name` stands for, None where nothing was put."""
        if self._db is None:
            return self._held.get(name)
        found = self._db.row("SELECT value FROM shelf WHERE name = ?", name)
        return cast(bytes, found[0]) if found else None

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def drop(self, name: bytes) -> None:
        """Forget a name, if it is there."""
        if self._db is None:
            self._held.pop(name, None)
        else:
            self._db.run("DELETE FROM shelf WHERE name = ?", name)

    def descending(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything, in the descending order of names: what is below a directory comes before it."""
        if self._db is not None:
            yield from cast("Iterator[tuple[bytes, bytes]]", self._db.rows("SELECT * FROM shelf ORDER BY name DESC"))
        else:
            for name in sorted(self._held, reverse=True):
                yield name, self._held[name]

    def close(self) -> None:
        """Forget everything. Idempotent."""
        self._held.clear()
        if self._db is not None:
            self._db.close()
