"""Names by the million: memory does not grow with them, and a full disk is one message."""

from __future__ import annotations

import pytest
from support.entries import entry

from dist_tool.errors import LocalFailure
from dist_tool.layers.merged_tree import MergedTree
from dist_tool.rootfs.temp_database import TempDatabase
from dist_tool.tar.limits import Limits


def test_a_scratch_holds_a_cache_of_a_fixed_size() -> None:
    with TempDatabase("") as scratch:
        assert scratch.row("PRAGMA cache_size") == (-4096,)


def test_a_full_disk_is_a_failure_of_this_machine() -> None:
    with TempDatabase("CREATE TABLE t (a BLOB); PRAGMA max_page_count = 20;") as scratch:
        with pytest.raises(LocalFailure, match="temporary file: ") as caught:
            scratch.run("INSERT INTO t VALUES (?)", bytes(1 << 20))
        assert "TMPDIR" in caught.value.hint


def test_names_of_any_bytes_come_back_as_they_were() -> None:
    names = [b"caf\xe9", b"\xff\xfe", "größe".encode(), b"a b\n", b"'; DROP TABLE names; --"]
    with MergedTree(Limits()) as tree:
        made = []
        for name in names:
            made.append(entry(""))
            made[-1].name = name + b"/" + name
        tree.add_layer(iter(made))
        assert [path for _, path in tree.leaves()] == [name + b"/" + name for name in names]
        assert {member.path for member in tree.members()} == {b"", *names}


def test_rows_that_are_abandoned_outlive_their_database() -> None:
    db = TempDatabase("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1), (2);")
    rows = db.rows("SELECT x FROM t")
    assert next(rows) == (1,)
    db.close()
    rows.close()  # type: ignore[attr-defined]
