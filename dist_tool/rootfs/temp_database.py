"""Private temporary SQLite database: in SQLite's page cache, with an unnamed file for the overflow.

An image may have millions of entries, all in one directory, so data that grows with them is not
stored in Python objects. SQLite creates the file in the directory for temporary files (TMPDIR) only
when the cache is full, and it disappears with the process, however that ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import cast

from dist_tool.errors import LocalFailure

Value = int | bytes | None
Row = tuple[Value, ...]
_SETTINGS = "PRAGMA cache_size = -4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"  # cache_size in KiB


class TempDatabase:
    """Private temporary database. Must be closed. All methods raise LocalFailure if the disk fails."""

    def __init__(self, schema: str) -> None:
        try:
            self._db = sqlite3.connect("", isolation_level=None)
            self._db.executescript(f"{_SETTINGS} {schema} BEGIN;")
        except sqlite3.Error as error:
            raise _failure(error) from error

    def run(self, statement: str, *values: Value) -> int:
        """Execute a statement. Returns the number of changed rows."""
        try:
            return self._db.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise _failure(error) from error

    def row(self, query: str, *values: Value) -> Row | None:
        """The first row of a query, or None."""
        try:
            return cast("Row | None", self._db.execute(query, values).fetchone())
        except sqlite3.Error as error:
            raise _failure(error) from error

    def rows(self, query: str) -> Iterator[Row]:
        """All rows of a query, fetched lazily."""
        try:
            # Not `yield from`: it would close the cursor, whose database may already be closed.
            for row in self._db.execute(query):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            raise _failure(error) from error

    def close(self) -> None:
        """Delete the database. Idempotent."""
        self._db.close()

    def __enter__(self) -> TempDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _failure(error: sqlite3.Error) -> LocalFailure:
    return LocalFailure(f"temporary file: {error}", hint="free some space, or set TMPDIR to another directory")
