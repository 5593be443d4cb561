"""Applying layers: behaviours G, one test a line of it."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.layers import OUR_THREADS, Heard, apply, held, needs_root
from support.tars import (
    block_device,
    char_device,
    directory,
    fifo,
    file,
    hard_link,
    header,
    opaque,
    padded,
    pax,
    symlink,
    tar,
    whiteout,
)
from support.trees import shape, snapshot

from dist_tool.errors import DigestMismatch, InvalidArgument, InvalidContent, LimitExceeded, LocalFailure
from dist_tool.layers.changeset import apply_layer
from dist_tool.layers.compression import _zstd_module
from dist_tool.layers.options import ApplyOptions, IdRange, parse_id_range
from dist_tool.oci.digest import Digest
from dist_tool.rootfs.root import Root
from dist_tool.tar.limits import Limits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def info(path: Path) -> os.stat_result:
    return path.lstat()


# The stream


def test_diff_id_is_the_digest_of_the_whole_uncompressed_stream(root: Path) -> None:
    """behaviours E17: padding after the end marker included."""
    layer = tar(file("f", b"data"), end=bytes(10240))
    applied = apply(root, gzip.compress(layer))
    assert applied.diff_id == Digest.of(layer)
    assert applied.size == len(layer)


def test_expected_diff_id_is_checked(root: Path) -> None:
    layer = tar(file("f", b"data"))
    apply(root, layer, diff_id=Digest.of(layer, "sha512"))
    with pytest.raises(DigestMismatch, match="uncompressed layer"):
        apply(root, layer + bytes(512), diff_id=Digest.of(layer))


def test_layer_without_end_marker_needs_a_diff_id(root: Path) -> None:
    """behaviours G26: nothing else tells a cut at a member's boundary from the end."""
    layer = tar(file("f", b"data"), end=b"")
    with pytest.raises(InvalidContent, match="may be truncated"):
        apply(root, layer)
    assert apply(root, layer, diff_id=Digest.of(layer)).entries == 1


def test_damage_behind_the_end_marker_is_found(root: Path) -> None:
    blob = gzip.compress(tar(file("f"), end=bytes(100_000)))
    with pytest.raises(InvalidContent, match="gzip"):
        apply(root, blob[:-1])


def test_what_reading_raises_comes_out(root: Path) -> None:
    def read(size: int) -> bytes:
        raise LocalFailure("the pipe broke")

    root.mkdir()
    with held(root) as fd, pytest.raises(LocalFailure, match="the pipe broke"):
        apply_layer(read, fd)


def test_no_thread_is_left_after_an_error(root: Path) -> None:
    layer = gzip.compress(tar(file("..", b"x"), file("f", os.urandom(40 << 20))), compresslevel=0)
    with pytest.raises(InvalidContent):
        apply(root, layer)
    assert [thread.name for thread in threading.enumerate() if thread.name in OUR_THREADS] == []


def test_no_descriptor_is_left(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    apply(root, tar(*(file(f"d{n}/f") for n in range(200)), symlink("l", "d1"), file("l/g")))
    with pytest.raises(InvalidContent):
        apply(root, tar(*(file(f"d{n}/f") for n in range(200)), file("d1/f/g")))
    assert os.listdir("/proc/self/fd") == before


# Metadata


def test_modes_times_and_contents_are_set_whatever_the_umask(root: Path) -> None:
    """behaviours G15-G17."""
    old = os.umask(0o077)
    try:
        apply(
            root,
            tar(
                directory("d", mode=0o1777, mtime=1),
                file("d/f", b"data", mode=0o4755, mtime=2),
                file("d/empty", mode=0, mtime=3),
                symlink("d/l", "f", mtime=4),
                fifo("d/p", mode=0o622, mtime=5),
            ),
        )
    finally:
        os.umask(old)
    modes = {path: (node.mode, node.mtime // 10**9) for path, node in snapshot(root).items() if path != "."}
    assert modes == {
        "d": (0o1777, 1),
        "d/f": (0o4755, 2),
        "d/empty": (0, 3),
        "d/l": (0o777, 4),
        "d/p": (0o622, 5),
    }


def test_fractions_of_seconds_are_kept(root: Path) -> None:
    apply(root, tar(pax({"mtime": "1700000000.123456789"}), header("f")))
    assert info(root / "f").st_mtime_ns == 1_700_000_000_123_456_789


def test_directory_times_come_after_their_content(root: Path) -> None:
    apply(root, tar(directory("./", mtime=7), directory("a/", mtime=5), directory("a/b", mtime=6), file("a/b/c")))
    assert [info(root / path).st_mtime for path in (".", "a", "a/b")] == [7, 5, 6]


def test_last_word_on_a_directory_counts(root: Path) -> None:
    apply(root, tar(directory("d", mode=0o700, mtime=1), file("d/f"), directory("d", mode=0o711, mtime=2)))
    assert (stat.S_IMODE(info(root / "d").st_mode), info(root / "d").st_mtime) == (0o711, 2)
    assert (root / "d/f").exists()


def test_parents_without_an_entry_are_made(root: Path) -> None:
    """behaviours G8: 0755, whatever the umask."""
    old = os.umask(0o077)
    try:
        apply(root, tar(file("a/b/c")))
    finally:
        os.umask(old)
    assert [stat.S_IMODE(info(root / path).st_mode) for path in ("a", "a/b")] == [0o755, 0o755]


@pytest.mark.parametrize("marker", [whiteout("d"), opaque("d"), opaque(".")], ids=["whiteout", "opaque", "root"])
def test_directories_in_which_a_whiteout_removes_something_keep_their_times(root: Path, marker: bytes) -> None:
    """Of those that stay, since the layer puts something below them."""
    lower = (directory("d", mtime=5), directory("d/e", mtime=6), file("d/e/x"), file("d/gone"), file("d/e/k/l"))
    apply(root, tar(*lower), tar(file("d/e/k/new"), marker))
    assert sorted(shape(root)) == ["d", "d/e", "d/e/k", "d/e/k/new"]
    assert [info(root / path).st_mtime for path in ("d", "d/e")] == [5, 6]


def test_directories_that_the_layer_does_not_mention_keep_their_times(root: Path) -> None:
    lower = tar(directory("d", mode=0o750, mtime=5), file("d/gone"), directory("e", mtime=6), file("e/x/y"))
    apply(root, lower, tar(whiteout("d/gone"), file("d/new"), opaque("e")))
    assert shape(root) == {"d": None, "d/new": b"", "e": None}
    assert [info(root / path).st_mtime for path in ("d", "e")] == [5, 6]
    assert stat.S_IMODE(info(root / "d").st_mode) == 0o750


@needs_root
def test_owners_are_numeric_and_set_on_everything(root: Path) -> None:
    """behaviours G22."""
    owner = {"uid": 4_000_000_000, "gid": 77}
    apply(
        root,
        tar(
            directory("d", **owner),
            file("d/f", mode=0o6755, **owner),
            symlink("d/l", "f", **owner),
            fifo("d/p", **owner),
            char_device("d/c", 1, 3, **owner),
        ),
    )
    for path, node in snapshot(root).items():
        assert path == "." or node.owner == (4_000_000_000, 77), path
    assert stat.S_IMODE(info(root / "d/f").st_mode) == 0o6755


@needs_root
def test_owner_of_all_ones_is_refused(root: Path) -> None:
    """To the kernel it means "leave the owner alone"."""
    with pytest.raises(InvalidContent, match="out of range"):
        apply(root, tar(pax({"uid": str(2**32 - 1)}), header("f")))


@needs_root
def test_id_maps_move_owners(root: Path) -> None:
    options = ApplyOptions(uid_map=(IdRange(0, 100_000, 1000),), gid_map=(IdRange(0, 200_000, 10), IdRange(50, 7, 1)))
    apply(root, tar(file("f", uid=5, gid=9), file("a/b", gid=50)), options=options)
    assert snapshot(root)["f"].owner == (100_005, 200_009)
    assert snapshot(root)["a/b"].owner == (100_000, 7)
    assert snapshot(root)["a"].owner == (100_000, 200_000)
    with pytest.raises(InvalidContent, match="no gid map covers 51"):
        apply(root, tar(file("f", gid=51)), options=options)


@pytest.mark.parametrize("text", ["", "0", "0:x", "0:0:0", "-1:0:1", "0:0:1:2", "0:4294967295", "٣:0:1", "0: 1:1"])
def test_bad_id_maps_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="ID map"):
        parse_id_range(text)


def test_id_maps_are_read() -> None:
    assert parse_id_range("0:100000:65536") == IdRange(0, 100_000, 65_536)
    assert parse_id_range("5:6") == IdRange(5, 6, 1)


@needs_root
def test_capabilities_survive_the_owner(root: Path) -> None:
    """behaviours G15: chown clears them."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    apply(root, tar(file("f", mode=0o755, uid=5, xattrs={"security.capability": capability})))
    assert os.getxattr(root / "f", "security.capability") == capability


def test_extended_attributes_are_set(root: Path) -> None:
    apply(
        root,
        tar(
            directory("d", xattrs={"user.on": b"directory"}),
            file("d/f", b"x", mode=0o444, xattrs={"user.on": b"\0\xff=\n", "user.empty": b""}),
        ),
    )
    nodes = snapshot(root)
    assert nodes["d"].xattrs == (("user.on", b"directory"),)
    assert nodes["d/f"].xattrs == (("user.empty", b""), ("user.on", b"\0\xff=\n"))


@needs_root
def test_attributes_of_other_machines_are_left_out_and_those_of_overlay_named(root: Path) -> None:
    """behaviours G18, G19."""
    heard = Heard()
    xattrs = dict.fromkeys(("trusted.x", "security.selinux", "user.overlay.opaque", "trusted.overlay.opaque"), b"y")
    apply(root, tar(file("f", xattrs=xattrs), file("g", xattrs=xattrs)), report=heard)
    assert snapshot(root)["f"].xattrs == ()
    assert [text for text in heard.texts if "overlay" in text] == [heard.texts[0]]
    assert len(heard) == 1


def test_refused_attributes_are_told_once_a_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOTSUP, "")

    monkeypatch.setattr(os, "setxattr", refuse)
    heard = Heard()
    apply(root, tar(*(file(f"f{n}", xattrs={"user.a": b"1", "user.b": b"2"}) for n in range(3))), report=heard)
    assert len(heard) == 2
    assert "f0, user.a not supported here" in heard.texts[0]


def test_attribute_that_no_system_has_room_for_is_the_layers_fault(root: Path) -> None:
    with pytest.raises(InvalidContent):
        apply(root, tar(file("f", xattrs={"user." + "n" * 300: b""})))


@pytest.mark.parametrize("compress", [gzip.compress, _zstd_module().compress])
def test_compressed_layer_needs_no_end_marker_and_a_plain_one_does(
    root: Path, compress: Callable[[bytes], bytes]
) -> None:
    layer = tar(file("f", b"x"), end=b"")
    apply(root, compress(layer))
    assert shape(root) == {"f": b"x"}
    with pytest.raises(InvalidContent, match="no end marker"):
        apply(root, layer)
    apply(root, layer, diff_id=Digest.of(layer))


# Devices and special files


@needs_root
def test_root_creates_devices(root: Path) -> None:
    apply(root, tar(char_device("c", 5, 1, mode=0o620), block_device("b", 8, 70_000)))
    nodes = snapshot(root)
    assert (nodes["c"].kind, nodes["c"].content, nodes["c"].mode) == ("char", "5:1", 0o620)
    assert (nodes["b"].kind, nodes["b"].content) == ("block", "8:70000")


def test_devices_are_skipped_and_told_once(root: Path) -> None:
    """behaviours G21; a hard link to what was skipped is skipped as well."""
    heard = Heard()
    layer = tar(char_device("dev/a"), block_device("dev/b"), hard_link("dev/c", "dev/a"))
    apply(root, tar(file("dev/a", b"lower")), layer, options=ApplyOptions(devices="skip"), report=heard)
    assert shape(root) == {"dev": None}
    assert heard.texts == ["devices are skipped (first: dev/a)"]


def test_hard_link_to_a_skipped_device_does_not_keep_the_file_of_a_lower_layer(root: Path) -> None:
    lower = tar(file("c", b"lower"), symlink("d", "dev"))
    layer = tar(char_device("dev/a"), hard_link("c", "d/a"))
    apply(root, lower, layer, options=ApplyOptions(devices="skip"))
    assert shape(root) == {"d": "-> dev", "dev": None}


def test_hard_link_to_a_file_that_replaced_a_skipped_device_is_made(root: Path) -> None:
    apply(root, tar(char_device("a"), file("a", b"file"), hard_link("b", "a")), options=ApplyOptions(devices="skip"))
    assert shape(root) == {"a": b"file", "b": b"file"}


def test_devices_become_placeholders(root: Path) -> None:
    heard = Heard()
    apply(root, tar(char_device("a", mode=0o666)), options=ApplyOptions(devices="placeholder"), report=heard)
    assert stat.S_IMODE(info(root / "a").st_mode) == 0
    (root / "a").chmod(0o400)
    assert shape(root) == {"a": b""}
    assert heard.texts == ["devices are replaced with empty files (first: a)"]


def test_devices_that_must_be_created_and_cannot_are_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EPERM, "")

    monkeypatch.setattr(os, "mknod", refuse)
    with pytest.raises(LocalFailure, match="devices"):
        apply(root, tar(char_device("a")), options=ApplyOptions(devices="create"))


def test_sparse_files_have_holes(root: Path) -> None:
    records = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "big",
        "GNU.sparse.realsize": str(64 << 20),
    }
    stored = padded(b"2\n1048576\n5\n33554432\n4\n") + b"there" + b"here"
    apply(root, tar(pax(records), header("x", size=len(stored)), padded(stored)))
    found = root / "big"
    assert info(found).st_size == 64 << 20
    assert info(found).st_blocks * 512 < 1 << 20
    with found.open("rb") as opened:
        opened.seek(1 << 20)
        assert opened.read(6) == b"there\0"
        opened.seek(32 << 20)
        assert opened.read(5) == b"here\0"


def test_files_larger_than_any_piece_are_whole(root: Path) -> None:
    data = os.urandom(3 << 20)
    apply(root, gzip.compress(tar(file("f", data)), 1))
    assert (root / "f").read_bytes() == data


# Changes


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("file", file("x", b"new")),
        ("directory", directory("x")),
        ("symlink", symlink("x", "target")),
        ("fifo", fifo("x")),
        ("link", hard_link("x", "other")),
    ],
)
@pytest.mark.parametrize("lower", [file("x", b"old"), file("x/y/z", b"old"), symlink("x", "other"), fifo("x")])
def test_everything_replaces_everything(root: Path, kind: str, entry: bytes, lower: bytes) -> None:
    """behaviours G7: only a directory keeps what is in a directory."""
    apply(root, tar(file("other", b"other"), lower), tar(entry))
    found = shape(root)
    expected = {"file": b"new", "directory": None, "symlink": "-> target", "fifo": "fifo", "link": b"other"}[kind]
    assert found.pop("other") == b"other"
    assert found.pop("x") == expected
    assert found == ({"x/y": None, "x/y/z": b"old"} if kind == "directory" and b"x/y/z" in lower else {})


def test_existing_directory_takes_the_new_attributes(root: Path) -> None:
    apply(root, tar(directory("d", mode=0o700, mtime=1), file("d/f")), tar(directory("d", mode=0o755, mtime=2)))
    assert (stat.S_IMODE(info(root / "d").st_mode), info(root / "d").st_mtime) == (0o755, 2)


def test_existing_directory_loses_the_extended_attributes_that_the_layer_does_not_give(root: Path) -> None:
    apply(root, tar(directory("d", xattrs={"user.a": b"1", "user.b": b"2"}), directory("e", xattrs={"user.a": b"1"})))
    apply(root, tar(directory("d", xattrs={"user.b": b"3"}), file("e/f")))
    assert snapshot(root)["d"].xattrs == (("user.b", b"3"),)
    assert snapshot(root)["e"].xattrs == (("user.a", b"1"),)


def test_hard_links_share_a_file_and_carry_no_attributes(root: Path) -> None:
    """behaviours G12, G13."""
    apply(root, tar(file("a", b"data", mode=0o640, mtime=3), hard_link("d/b", "./a", mode=0o777, mtime=9)))
    assert snapshot(root)["a"].links == ("a", "d/b")
    assert (stat.S_IMODE(info(root / "a").st_mode), info(root / "a").st_mtime) == (0o640, 3)


def test_missing_hard_link_target_is_named_with_the_link(root: Path) -> None:
    with pytest.raises(InvalidContent, match="d/b: hard link to no/such"):
        apply(root, tar(hard_link("d/b", "/no/such")))


# Whiteouts


def test_whiteout_removes_from_lower_layers(root: Path) -> None:
    lower = tar(file("d/f"), file("d/g"), file("e/f/g/h"), symlink("l", "d"))
    apply(root, lower, tar(whiteout("d/f"), whiteout("e/f"), whiteout("l")))
    assert shape(root) == {"d": None, "d/g": b"", "e": None}


@pytest.mark.parametrize("first", ["whiteout", "file"])
def test_whiteout_spares_its_own_layer_in_either_order(root: Path, first: str) -> None:
    """behaviours G4."""
    entries = [whiteout("f"), file("f", b"new")]
    apply(root, tar(file("f", b"old")), tar(*(entries if first == "whiteout" else entries[::-1])))
    assert shape(root) == {"f": b"new"}


@pytest.mark.parametrize("first", ["opaque", "entries"])
def test_opaque_marker_acts_as_if_first(root: Path, first: str) -> None:
    """behaviours G1."""
    entries = [opaque("d"), directory("d"), file("d/new", b"new"), file("d/sub/new", b"new")]
    lower = tar(file("d/old"), file("d/sub/old"), file("d/new", b"old"), file("other"))
    apply(root, lower, tar(*(entries if first == "opaque" else entries[1:] + entries[:1])))
    expected = {"d": None, "d/new": b"new", "d/sub": None, "d/sub/new": b"new", "other": b""}
    assert shape(root) == expected


def test_whiteout_of_a_directory_spares_what_its_layer_put_below(root: Path) -> None:
    apply(root, tar(file("d/old"), file("d/s/old")), tar(file("d/s/new"), whiteout("d")))
    assert shape(root) == {"d": None, "d/s": None, "d/s/new": b""}


def test_whiteout_knows_its_own_layer_through_symlinks(root: Path) -> None:
    apply(
        root, tar(directory("d"), symlink("l", "d"), file("d/old")), tar(file("l/new"), whiteout("d/new"), opaque("d"))
    )
    assert shape(root) == {"d": None, "d/new": b"", "l": "-> d"}


def test_whiteout_of_what_its_layer_removed_again_does_not_remember(root: Path) -> None:
    """The directory that a file replaced is gone, with all that was known of it."""
    layer = tar(file("d/x"), file("d"), directory("d"), whiteout("d/x"), directory("d/x"))
    apply(root, layer)
    assert shape(root) == {"d": None, "d/x": None}


def test_whiteout_markers_never_appear(root: Path) -> None:
    apply(root, tar(whiteout("a"), whiteout("d/b"), opaque("e")))
    assert shape(root) == {}


# Limits


def test_depth_of_names_is_limited(root: Path) -> None:
    options = ApplyOptions(limits=Limits(depth=3))
    apply(root, tar(file("a/b/c"), file("./a/../a/b//c/")), options=options)
    with pytest.raises(LimitExceeded, match="3 components"):
        apply(root, tar(file("a/b/c/d")), options=options)
    with pytest.raises(LimitExceeded, match="3 components"):
        apply(root, tar(hard_link("x", "a/b/c/d")), options=options)


def test_disk_full_is_a_local_failure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(LocalFailure, match=r"cannot write f: No space left on device.*free some space") as caught:
        apply(root, tar(file("f", b"data")))
    assert caught.value.exit_code == 9


# The cache of parents


class Counting(Root):
    """A root that counts how often it resolves."""

    resolved = 0


def test_parents_are_resolved_once_while_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with held(tmp_path) as fd:
        root = Root(fd)
        first = root.directory(b"a/b", create=True)
        assert root.directory(b"a/b") is first
        root.close()


@pytest.mark.parametrize("removed", ["directory", "symlink"])
def test_removing_a_directory_or_a_symlink_forgets_all_parents(tmp_path: Path, removed: str) -> None:
    """CVE-2025-47290."""
    with held(tmp_path) as fd:
        root = Root(fd)
        first = root.directory(b"a/b", create=True)
        top = root.directory(b"")
        assert first is not None
        assert top is not None
        if removed == "directory":
            (tmp_path / "x").mkdir()
        else:
            (tmp_path / "x").symlink_to("y")
        root.remove(top, b"x")
        assert root.directory(b"a/b") is not first
        os.fstat(first.fd)  # still open: the entry at hand may work there
        root.settle()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(first.fd)
        root.close()


def test_open_parents_are_bounded(tmp_path: Path) -> None:
    with held(tmp_path) as fd:
        root = Root(fd, cached=4)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(100):
            root.directory(b"d%d" % number, create=True)
            root.settle()
        assert len(os.listdir("/proc/self/fd")) <= before + 4
        root.close()


def test_pieces_arrive_while_the_rest_is_not_there_yet(root: Path) -> None:
    """A layer is applied as it comes: what is complete is on disk before the stream ends."""
    read_end, write_end = os.pipe()
    root.mkdir()

    def feed() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(tar(file("early", b"x"), end=b"") + header("late", size=1 << 20))
            pipe.flush()
            while not (root / "early").exists():
                time.sleep(0.001)
            pipe.write(padded(bytes(1 << 20)) + bytes(1024))

    feeder = threading.Thread(target=feed)
    feeder.start()
    with open(read_end, "rb", buffering=0) as pipe, held(root) as fd:
        apply_layer(lambda size: pipe.read(size) or b"", fd)
    feeder.join()
    assert sorted(shape(root)) == ["early", "late"]
