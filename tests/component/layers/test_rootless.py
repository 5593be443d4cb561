"""Applying without root: what an ordinary user can have, and what is said of the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.attack_run import place_for
from support.user import NOBODY, run_as_user


@pytest.fixture
def here() -> Iterator[Path]:
    with place_for(NOBODY if os.geteuid() == 0 else os.geteuid()) as path:
        yield path


def test_unwritable_directories_are_filled_and_end_up_as_the_layer_says(here: Path) -> None:
    """behaviours G17."""
    found = run_as_user(
        """
        apply(root, tar(directory("./", mode=0o555), directory("a", mode=0o555), directory("a/b", mode=0, mtime=5),
                        file("a/b/c", b"x", mode=0o400), directory("a/b/d", mode=0o111)))
        result = {path: node.mode for path, node in snapshot(root).items()}
        os.chmod(root + "/a/b", 0o700)
        result["content"] = open(root + "/a/b/c").read()
        """,
        here,
    )
    assert found == {".": 0o555, "a": 0o555, "a/b": 0, "content": "x"}


def test_unwritable_directories_of_lower_layers_are_filled_and_restored(here: Path) -> None:
    found = run_as_user(
        """
        apply(root, tar(directory("./", mode=0o555), directory("a", mode=0o555, mtime=5), file("a/old"),
                        directory("a/s", mode=0), file("a/s/t/u")))
        apply(root, tar(file("a/new"), whiteout("a/old"), whiteout("a/s")))
        result = {"modes": {path: node.mode for path, node in snapshot(root).items()},
                  "times": os.stat(root + "/a").st_mtime}
        """,
        here,
    )
    assert found == {"modes": {".": 0o555, "a": 0o555, "a/new": 0o644}, "times": 5.0}


def test_unwritable_directories_in_which_a_whiteout_removes_something_are_restored(here: Path) -> None:
    found = run_as_user(
        """
        apply(root, tar(directory("a", mode=0o555, mtime=5), directory("a/b", mode=0o511, mtime=6),
                        directory("a/b/c"), file("a/old"), file("a/b/old")))
        apply(root, tar(file("a/b/c/new"), whiteout("a")))
        result = {path: [node.mode, node.mtime // 10**9] for path, node in snapshot(root).items() if path in "a/b"}
        os.chmod(root + "/a", 0o755)
        os.chmod(root + "/a/b", 0o755)
        result["names"] = sorted(shape(root))
        """,
        here,
    )
    assert found == {"a": [0o555, 5], "a/b": [0o511, 6], "names": ["a", "a/b", "a/b/c", "a/b/c/new"]}


def test_unreadable_parents_are_walked_into(here: Path) -> None:
    found = run_as_user(
        """
        apply(root, tar(directory("a", mode=0), directory("a/b", mode=0), file("a/b/c")))
        apply(root, tar(file("a/b/d"), symlink("l", "a/b"), file("l/e")))
        for path in ("a", "a/b"):
            os.chmod(f"{root}/{path}", 0o700)
        result = sorted(shape(root))
        """,
        here,
    )
    assert found == ["a", "a/b", "a/b/c", "a/b/d", "a/b/e", "l"]


def test_owners_are_not_kept_and_that_is_told_once(here: Path) -> None:
    """behaviours G22."""
    found = run_as_user(
        """
        heard = Heard()
        apply(root, tar(file("a"), file("b", uid=5), file("c", gid=6)), report=heard)
        result = {"texts": heard.texts, "owners": [list(node.owner) == [os.getuid(), os.getgid()]
                                                   for node in snapshot(root).values()]}
        """,
        here,
    )
    assert found["texts"] == ["owners are not set: this requires root or an ID map (first: b, 5:0)"]
    assert all(found["owners"])


def test_an_id_map_to_oneself_needs_no_rights_and_others_are_refused(here: Path) -> None:
    found = run_as_user(
        """
        options = ApplyOptions(uid_map=(IdRange(0, os.getuid(), 1),), gid_map=(IdRange(0, os.getgid(), 1),))
        heard = Heard()
        apply(root, tar(file("a"), symlink("l", "a"), fifo("p")), options=options, report=heard)
        result = {"texts": heard.texts}
        try:
            apply(root, tar(file("b", uid=1)), options=options)
        except InvalidContent as error:
            result["unmapped"] = str(error)
        try:
            apply(root, tar(file("b")), options=ApplyOptions(uid_map=(IdRange(0, 0, 1),)))
        except DistError as error:
            result["forbidden"] = error.exit_code
        """,
        here,
    )
    assert found["texts"] == []
    assert "no uid map covers 1" in found["unmapped"]
    assert found["forbidden"] == 9


def test_owners_are_recorded_for_rootlesscontainers_on_request(here: Path) -> None:
    found = run_as_user(
        """
        heard = Heard()
        apply(root, tar(file("root"), file("user", mode=0o400, uid=1000, gid=300), directory("d", uid=5)),
              options=ApplyOptions(rootlesscontainers=True), report=heard)
        result = {"texts": heard.texts,
                  "xattrs": {path: [[name, value.hex()] for name, value in node.xattrs]
                             for path, node in snapshot(root).items() if path != "."}}
        """,
        here,
    )
    assert found["texts"] == []
    assert found["xattrs"] == {
        "root": [],
        "user": [["user.rootlesscontainers", "08e80710ac02"]],
        "d": [["user.rootlesscontainers", "080510ffffffff0f"]],
    }


def test_devices_are_skipped_and_fifos_made(here: Path) -> None:
    """behaviours G21."""
    found = run_as_user(
        """
        heard = Heard()
        apply(root, tar(char_device("dev/null"), fifo("p"), block_device("dev/sda")), report=heard)
        result = {"texts": heard.texts, "shape": shape(root)}
        """,
        here,
    )
    assert found == {
        "texts": ["devices are skipped (first: dev/null)"],
        "shape": {"dev": None, "p": "fifo"},
    }


def test_attributes_that_take_root_are_told_once(here: Path) -> None:
    found = run_as_user(
        """
        heard = Heard()
        layer = tar(*(file(name, b"x", xattrs={"security.capability": bytes(20), "user.x": b"1"}) for name in "ab"))
        apply(root, layer, report=heard)
        result = {"count": len(heard), "xattrs": [name for name, _ in snapshot(root)["a"].xattrs]}
        """,
        here,
    )
    assert found == {"count": 1, "xattrs": ["user.x"]}


def test_files_are_replaced_in_directories_of_any_mode(here: Path) -> None:
    found = run_as_user(
        """
        apply(root, tar(directory("d", mode=0o500), file("d/f", b"old", mode=0), directory("d/s", mode=0),
                        file("d/s/deep/er", b"x")))
        apply(root, tar(file("d/f", b"new"), file("d/s", b"file now")))
        result = {path: value.decode() if value else value for path, value in shape(root).items()}
        """,
        here,
    )
    assert found == {"d": None, "d/f": "new", "d/s": "file now"}


def test_staged_tree_with_an_unwritable_root_is_put_in_place_and_discarded(here: Path) -> None:
    found = run_as_user(
        """
        from dist_tool.rootfs.staging import staged
        from dist_tool.layers.changeset import apply_layer
        layer = tar(directory("./", mode=0o555), directory("d", mode=0), file("d/f"))
        with staged(root, force=False) as stage:
            apply_layer(io.BytesIO(layer).read, stage.root)
        mode = os.stat(root).st_mode & 0o7777
        try:
            with staged(here + "/other", force=False) as stage:
                apply_layer(io.BytesIO(layer).read, stage.root)
                raise KeyError
        except KeyError:
            pass
        result = [mode, os.listdir(here)]
        """,
        here,
    )
    assert found == [0o555, ["root"]]


def test_empty_directory_of_ones_own_in_a_parent_of_another_user_is_filled(here: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make the parent")
    (here / "parent").mkdir()
    for name in ("target", "unwritable"):
        (here / "parent" / name).mkdir()
        os.chown(here / "parent" / name, NOBODY, NOBODY)
    (here / "parent" / "unwritable").chmod(0o555)
    found = run_as_user(
        """
        from dist_tool.rootfs.staging import staged
        from dist_tool.layers.changeset import apply_layer
        layer = tar(directory("./", mode=0o555, mtime=5), directory("d", mode=0o555), file("d/f"), symlink("l", "d"))
        target = here + "/parent/target"
        with staged(target, force=False) as stage:
            apply_layer(io.BytesIO(layer).read, stage.root)
        result = {"times": os.stat(target).st_mtime, "modes": {p: n.mode for p, n in snapshot(target).items()}}
        for name in ("other", "unwritable"):
            try:
                with staged(here + "/parent/" + name, force=False):
                    result[name] = "built"
            except LocalFailure as error:
                result[name] = str(error).partition("parent/")[2]
        """,
        here,
    )
    assert found == {
        "times": 5.0,
        "modes": {".": 0o555, "d": 0o555, "d/f": 0o644, "l": 0o777},
        "other": "other: Permission denied: make its parent directory writable",
        "unwritable": "unwritable: Permission denied: make its parent directory writable",
    }
    assert os.listdir(here / "parent" / "target") != []
