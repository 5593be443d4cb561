"""Labels of blobs, in a SQLite database in the store (behaviours F12, F13).

It uses a rollback journal, not a write-ahead log: the latter needs shared memory, which network
file systems lack, and write permission even to read. SQLite's locks and journal handle kills
and power cuts. Without the database, no blob has labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dist_tool.errors import InvalidArgument, LocalFailure
from dist_tool.oci.digest import Digest
from dist_tool.store import files
from dist_tool.store.blobs import Blobs, missing

if TYPE_CHECKING:
    from sqlite3 import Connection

GC_ROOT = "containerd.io/gc.root"
GC_EXPIRE = "containerd.io/gc.expire"
GC_REF = "containerd.io/gc.ref.content"
LONGEST = 4096
_BUSY_S = 60.0
_OWNER = "check the owner and the permissions of the file"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS labels (digest TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
    " PRIMARY KEY (digest, key)) WITHOUT ROWID"
)
_HAS = "SELECT 1 FROM labels WHERE digest = ? LIMIT 1"
_PUT = "INSERT OR REPLACE INTO labels VALUES (?, ?, ?)"


def check(labels: Mapping[str, str]) -> None:
    """Raise InvalidArgument for an empty key, invalid UTF-8, or a label over 4096 bytes (behaviours F12)."""
    for key, value in labels.items():
        if not key:
            raise InvalidArgument("the key of a label is empty", hint="expected KEY=VALUE")
        try:
            size = len(key.encode()) + len(value.encode())
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"label {key[:40]!r} is not valid UTF-8") from error
        if size > LONGEST:
            raise InvalidArgument(f"label {key[:40]!r}: key and value together exceed the limit of {LONGEST} bytes")


def label_blob(blobs: Blobs, store: Labels, digest: Digest, labels: Mapping[str, str], *, replace: bool) -> None:
    """Update the labels of a blob, or replace all of them, and mark it as used. Raises NotFound, InvalidArgument."""
    with files.failing(f"cannot label {digest}"), blobs.locked(exclusive=False):
        if not blobs.freshen(digest, None):
            raise missing(digest)
        if replace:
            store.set(digest, labels)
        else:
            store.update(digest, labels)


class Labels:
    """The database, opened for each operation. All methods raise LocalFailure if it cannot be used."""

    def __init__(self, path: str) -> None:
        self.path = path

    def of(self, digest: Digest) -> dict[str, str]:
        """The labels of one blob."""
        rows = self._rows("SELECT key, value FROM labels WHERE digest = ?", str(digest))
        return {row[0]: row[1] for row in rows}

    def everything(self) -> dict[str, dict[str, str]]:
        """The labels of all blobs, by digest."""
        found: dict[str, dict[str, str]] = {}
        for digest, key, value in self._rows("SELECT digest, key, value FROM labels"):
            found.setdefault(digest, {})[key] = value
        return found

    def set(self, digest: Digest, labels: Mapping[str, str]) -> None:
        """Replace all labels of a blob."""
        check(labels)
        with self._writing() as db:
            db.execute("DELETE FROM labels WHERE digest = ?", (str(digest),))
            db.executemany(_PUT, [(str(digest), key, value) for key, value in labels.items() if value])

    def update(self, digest: Digest, labels: Mapping[str, str]) -> None:
        """Set the given labels of a blob; an empty value removes one."""
        check(labels)
        with self._writing() as db:
            for key, value in labels.items():
                db.execute("DELETE FROM labels WHERE digest = ? AND key = ?", (str(digest), key))
                if value:
                    db.execute(_PUT, (str(digest), key, value))

    def forget(self, digests: Iterable[Digest]) -> None:
        """Remove all labels of these blobs. The database is opened for writing only if it has any of them."""
        gone = [(str(digest),) for digest in digests]
        with self._reading() as db:
            labelled = [row for row in gone if db and db.execute(_HAS, row).fetchone()]
        if labelled:
            with self._writing() as db:
                db.executemany("DELETE FROM labels WHERE digest = ?", labelled)

    def check(self, labels: Mapping[str, str]) -> None:
        """Check that labels can be set, before their blob is added.

        Raises InvalidArgument as `check`, LocalFailure if a database of another user makes every write fail.
        """
        check(labels)
        if os.path.lexists(self.path) and not os.access(self.path, os.W_OK):
            raise LocalFailure(f"the labels in {self.path} cannot be changed", hint=_OWNER)

    def _rows(self, query: str, *values: str) -> list[tuple[str, ...]]:
        with self._reading() as db:
            return db.execute(query, values).fetchall() if db else []

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """The database, None if it has no labels. Opened for writing if possible: a kill may have left a journal."""
        if not os.path.lexists(self.path):
            yield None
            return
        with self._open("rw" if os.access(self.path, os.W_OK) else "ro") as db:
            # A kill between creating the file and the first label leaves a database without tables.
            has_table = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'labels'").fetchone()
            yield db if has_table else None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._create()
        with self._open("rw") as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(_SCHEMA)
            yield db
            db.execute("COMMIT")

    def _create(self) -> None:
        """Create the file with the permissions that the umask gives: SQLite itself would use 0644."""
        if not os.path.lexists(self.path):
            with files.failing(f"cannot create {self.path}"):
                os.close(files.create(self.path))

    @contextmanager
    def _open(self, mode: str) -> Iterator[Connection]:
        import sqlite3
        from urllib.parse import quote

        db = None
        try:
            name = quote(os.fsencode(self.path))  # a path need not be UTF-8
            db = sqlite3.connect(f"file:{name}?mode={mode}", timeout=_BUSY_S, isolation_level=None, uri=True)
            db.execute("PRAGMA trusted_schema = OFF")  # a downloaded layout may contain a hostile database
            # EXTRA also syncs the directory after the journal was unlinked. Without that a power cut brings the
            # journal back, and the next process rolls an acknowledged change back with it.
            db.execute("PRAGMA synchronous = EXTRA")
            yield db
        except sqlite3.Error as error:
            hint = "" if os.access(self.path, os.R_OK | os.W_OK) else _OWNER
            raise LocalFailure(f"the labels in {self.path} cannot be used: {error}", hint=hint) from error
        finally:
            if db is not None:
                db.close()
