"""A place for what is known of very many names: SQLite's cache, and what does not fit in a file without a name.

An image may have millions of entries, all in one directory, so nothing that grows with them is
held in Python's memory. The file is made where temporary files go (TMPDIR), only when the cache
is full, and is gone with the process however that ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import cast

from dist_tool.errors import LocalFailure

Value = int | bytes | None
Row = tuple[Value, ...]
_SETTINGS = "PRAGMA cache_size = -4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"  # the cache in KiB


class TempDatabase:
    """A database of one's own. Close it. All methods raise LocalFailure where the disk fails."""

    def __init__(self, schema: str) -> None:
        try:
            self._db = sqlite3.connect("", isolation_level=None)
            self._db.executescript(f"{_SETTINGS} {schema} BEGIN;")
        except sqlite3.Error as error:
            raise _failure(error) from error

    def run(self, statement: str, *values: Value) -> int:
        """Execute; how many rows changed."""
        try:
            return self._db.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise _failure(error) from error

    def row(self, query: str, *values: Value) -> Row | None:
        """The one row that a query finds, if any."""
        try:
            return cast("Row | None", self._db.execute(query, values).fetchone())
        except sqlite3.Error as error:
            raise _failure(error) from error

    def rows(self, query: str) -> Iterator[Row]:
        """All rows that a query finds, as they are asked for."""
        try:
            # Not `yield from`: it would close the cursor of a database that may be closed already.
            for row in self._db.execute(query):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            raise _failure(error) from error

    def close(self) -> None:
        """Drop everything. Idempotent."""
        self._db.close()

    def __enter__(self) -> TempDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _failure(error: sqlite3.Error) -> LocalFailure:
    return LocalFailure(f"temporary file: {error}", hint="temporary files go where TMPDIR says")
