"""Export and cat: what is in an image, without unpacking it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from support.content import flip, write_blob
from support.exporting import DIRECTORY_TIMES, exported, layout_of
from support.layers import apply, image_of, needs_root, opened
from support.tars import (
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
from support.trees import differences, shape, snapshot

from dist_tool.errors import DataLoss, DistError, InvalidArgument, InvalidContent, LimitExceeded, NotFound, UnsafePath
from dist_tool.images.cat import cat
from dist_tool.images.export import export
from dist_tool.tar.limits import Limits


def content(layout: Path, *paths: str, asked: list[str] | None = None) -> bytes:
    out = io.BytesIO()
    with opened(layout, asked=asked) as (image, source):
        cat(image, source, [path.encode("utf-8", "surrogateescape") for path in paths], lambda data: out.write(data))
    return out.getvalue()


# Everything that a tar can say, in layers that change each other.
RICH = (
    tar(
        directory("./", mode=0o711, mtime=3),
        directory("d", mode=0o1777, uid=5, gid=6, mtime=4, xattrs={"user.d": b"x"}),
        file("d/f", b"data" * 1000, mode=0o4755, uid=3_000_000, mtime=2**33, xattrs={"user.f": b"\0\xff"}),
        hard_link("d/h", "d/f"),
        symlink("d/l", "f" * 150, mtime=5),
        fifo("p"),
        char_device("c", 5, 1),
        file("long/" * 40 + "name", b"deep"),
        file(b"caf\xe9", b"bytes"),
        file("kept-name", b"old"),
        hard_link("other-name", "kept-name"),
        pax({"mtime": "1.25"}) + header("fraction"),
        pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "3000"})
        + header("sparse", size=512 + 6)
        + padded(b"2\n512\n3\n2000\n3\n")
        + padded(b"onetwo"),
        file("gone/a"),
        symlink("s", "d"),
    ),
    tar(
        file("kept-name", b"new"),
        whiteout("gone"),
        file("s/through", b"a link"),
        directory("d", mode=0o700, mtime=9),
        hard_link("third-name", "other-name"),
    ),
    tar(opaque("long"), file("long/new"), whiteout("other-name"), file("type/now"), directory("empty", mode=0o500)),
)


def test_exported_tree_is_the_unpacked_tree(tmp_path: Path) -> None:
    applied, extracted = tmp_path / "applied", tmp_path / "extracted"
    apply(applied, *RICH)
    apply(extracted, exported(layout_of(tmp_path, *RICH)))
    # Parents that no layer mentions have no time of their own.
    implied = {"long", "type"}
    one, other = (
        {path: node for path, node in snapshot(root).items() if path not in implied} for root in (applied, extracted)
    )
    assert differences(one, other) == []
    assert shape(extracted)["sparse"] == bytes(512) + b"one" + bytes(1485) + b"two" + bytes(997)
    assert snapshot(extracted)["d/f"].links == ("d/f", "d/h")


def test_exported_tar_is_read_by_tarfile(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(exported(layout_of(tmp_path, *RICH)))) as archive:
        members = {member.name: member for member in archive}
    assert (members["d/f"].uid, members["d/f"].mode, members["d/f"].mtime) == (3_000_000, 0o4755, 2**33)
    assert members["d/h"].islnk()
    assert members["d/l"].linkname == "f" * 150
    assert members["fraction"].mtime == 1.25
    assert members["third-name"].isreg()
    assert not any(name.rpartition("/")[2].startswith(".wh.") for name in members)


def test_directories_come_last_each_before_what_is_in_it(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(exported(layout_of(tmp_path, *DIRECTORY_TIMES)))) as archive:
        names = [member.name for member in archive]
    assert names == [
        *("d/sub/f", "d-x/later", "top"),
        *(".", "up", "d", "d/up", "d/sub", "d/sub/abs", "d/sub/empty", "d/sub/empty/late"),
        *("d-x", "d-x/up", "d.links", "d.links/plain", "d.links/shared"),
    ]


def test_nothing_of_a_damaged_image_is_exported(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, *RICH)
    blob = image_of(*RICH).layers[2]
    write_blob(layout, blob).write_bytes(flip(blob.data, 8 * len(blob.data) - 40))
    written: list[bytes] = []
    with opened(layout) as (image, source):
        with pytest.raises(DataLoss):
            export(image, source, lambda data: written.append(bytes(data)))
        with pytest.raises(DataLoss):
            cat(image, source, [b"kept-name"], lambda data: written.append(bytes(data)))
    assert written == []


@pytest.mark.parametrize(
    "entries",
    [symlink("/", "x"), file(".wh..."), hard_link("h", "nothing"), file("a") + file("a/b"), file("a/.wh.b/c")],
)
def test_invalid_layers_are_not_exported(tmp_path: Path, entries: bytes) -> None:
    with pytest.raises(InvalidContent):
        exported(layout_of(tmp_path, tar(entries)))


def slow_links(count: int) -> bytes:
    """Symlinks of so many components, which a name leads through."""
    step = b"d/../" * (count // 78)
    return directory("d") + b"".join(symlink(f"l{n}", step + b"l%d" % (n + 1)) for n in range(38)) + directory("l38")


# Entries that unpacking refuses as root: what a file system cannot have.
IMPOSSIBLE = {
    "negative uid": file("f", uid=-5),
    "negative gid": directory("d", gid=-1),
    "uid of all ones": symlink("s", "t", uid=2**32 - 1),
    "gid over 32 bits": fifo("p", gid=2**32),
    "root directory": directory("./", uid=-5),
    "device": char_device("c", 2**13, 0),
    "negative device": char_device("c", 1, -1),
    "symlink to nothing": symlink("s", ""),
    "long symlink": symlink("s", "x" * 4096),
    "long name": file("n" * 256),
    "long directory": file("d/" + "n" * 256 + "/f"),
    "long link": file("f") + hard_link("n" * 256, "f"),
    "long way": slow_links(22_000) + file("l0/f"),
}
POSSIBLE = {
    "largest id": file("f", uid=2**32 - 2, gid=2**32 - 2),
    "largest device": char_device("c", 0xFFF, 0xFFFFF),
    "longest symlink": symlink("s", "x" * 4095),
    "longest name": file("n" * 255),
    "owner of a hard link": file("f") + hard_link("h", "f", uid=-5),
    "owner of a whiteout": file(".wh.f", uid=-5),
    "rather long way": slow_links(18_000) + file("l0/f"),
}


@needs_root
@pytest.mark.parametrize("entries", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_export_refuses_the_entries_that_unpack_refuses(tmp_path: Path, entries: bytes) -> None:
    with pytest.raises(InvalidContent) as applied:
        apply(tmp_path / "applied", tar(entries), tar(whiteout("f")))
    written: list[bytes] = []
    layout = layout_of(tmp_path, tar(entries), tar(whiteout("f")))
    with opened(layout) as (image, source), pytest.raises(InvalidContent) as refused:
        export(image, source, lambda data: written.append(bytes(data)))
    assert written == []
    assert type(refused.value) is type(applied.value)


@needs_root
@pytest.mark.parametrize("entries", POSSIBLE.values(), ids=POSSIBLE)
def test_export_takes_the_entries_that_unpack_takes(tmp_path: Path, entries: bytes) -> None:
    applied, extracted = tmp_path / "applied", tmp_path / "extracted"
    apply(applied, tar(directory("./", mtime=1), entries))
    apply(extracted, exported(layout_of(tmp_path, tar(directory("./", mtime=1), entries))))
    one, other = snapshot(applied), snapshot(extracted)
    assert differences(one, other) == []


def test_cat_ends_where_symlinks_are_too_long(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, tar(directory("./"), slow_links(50_000), file("l38/f")))
    with pytest.raises(UnsafePath, match="too many components"):
        content(layout, "l0/f")
    assert content(layout, "l38/f") == b""


def test_export_keeps_to_limits(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded):
        exported(layout_of(tmp_path, *RICH), Limits(entries=3))


def test_image_without_layers_is_an_empty_tar(tmp_path: Path) -> None:
    assert exported(layout_of(tmp_path)) == bytes(1024)


# Cat

PLAIN = (
    tar(directory("./"), directory("etc"), file("etc/a", b"low"), file("etc/b", b"base"), directory("usr"),
        directory("usr/lib"), file("usr/lib/os-release", b"release"),
        symlink("etc/os-release", "../usr/lib/os-release"),
        symlink("lib", "/usr/lib"), hard_link("etc/linked", "etc/b")),
    tar(directory("./"), directory("etc"), file("etc/a", b"middle"), whiteout("etc/b")),
    tar(directory("./"), directory("etc"), file("etc/c", b"top"), hard_link("etc/d", "etc/c")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected", "layers"),
    [
        ("etc/c", b"top", 1),
        ("/etc/c", b"top", 1),
        ("./etc/../etc//c", b"top", 1),
        ("etc/d", b"top", 1),
        ("etc/a", b"middle", 2),
        ("etc/linked", b"base", 3),
        ("etc/os-release", b"release", 3),
        ("lib/os-release", b"release", 3),
        ("../../etc/c", b"top", 1),
    ],
)
def test_file_is_found_reading_no_more_layers_than_it_takes(
    tmp_path: Path, path: str, expected: bytes, layers: int
) -> None:
    asked: list[str] = []
    assert content(layout_of(tmp_path, *PLAIN), path, asked=asked) == expected
    assert len(asked) == layers


def test_whiteout_ends_the_search(tmp_path: Path) -> None:
    asked: list[str] = []
    with pytest.raises(NotFound, match="etc/b"):
        content(layout_of(tmp_path, *PLAIN), "etc/b", asked=asked)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "upper",
    [
        directory("./") + directory("d") + opaque("d"),
        directory("./") + whiteout("d"),
        directory("./") + file("d", b"now a file"),
        directory("./") + symlink("d", "elsewhere"),
    ],
)
def test_upper_layers_hide_files_of_lower_layers(tmp_path: Path, upper: bytes) -> None:
    asked: list[str] = []
    layout = layout_of(tmp_path, tar(directory("./"), directory("d"), file("d/f", b"below")), tar(upper))
    if b"elsewhere" not in upper:
        with pytest.raises(NotFound):
            content(layout, "d/f", asked=asked)
        assert len(asked) == 1
    else:
        with pytest.raises(NotFound):
            content(layout, "d/f")


def test_several_files_come_in_the_order_asked_for(tmp_path: Path) -> None:
    assert content(layout_of(tmp_path, *PLAIN), "etc/c", "etc/a", "etc/c", "etc/os-release") == b"topmiddletoprelease"


def test_nothing_is_written_if_one_file_is_missing(tmp_path: Path) -> None:
    out = io.BytesIO()
    with opened(layout_of(tmp_path, *PLAIN)) as (image, source), pytest.raises(NotFound):
        cat(image, source, [b"etc/a", b"etc/none"], lambda data: out.write(data))
    assert out.getvalue() == b""


@pytest.mark.parametrize("path", ["etc", "/", "fifo"])
def test_cat_refuses_what_is_not_a_regular_file(tmp_path: Path, path: str) -> None:
    layout = layout_of(tmp_path, tar(directory("./"), directory("etc"), fifo("fifo")))
    with pytest.raises(InvalidArgument, match="not a regular file"):
        content(layout, path)


def test_symlinks_stay_inside_and_loops_end(tmp_path: Path) -> None:
    layout = layout_of(
        tmp_path,
        tar(directory("./"), symlink("out", "../../../../etc/passwd"), symlink("a", "b"), symlink("b", "a"),
            directory("etc"), file("etc/passwd", b"the image's")),
    )  # fmt: skip
    assert content(layout, "out") == b"the image's"
    with pytest.raises(UnsafePath, match="40 symlinks"):
        content(layout, "a")


def test_layer_that_names_a_file_through_a_link_below_is_understood(tmp_path: Path) -> None:
    """Such layers do not mention their directories: the text of their names does not decide."""
    layout = layout_of(
        tmp_path,
        tar(
            directory("./"),
            directory("usr"),
            directory("usr/lib"),
            file("usr/lib/x", b"old"),
            symlink("lib", "usr/lib"),
        ),
        tar(file("lib/x", b"new")),
    )
    assert content(layout, "usr/lib/x") == b"new"
    assert content(layout, "lib/x") == b"new"
    with pytest.raises(NotFound):
        content(layout, "lib/y")
    with pytest.raises(InvalidArgument):
        content(layout, "usr")


LOWER = tar(directory("./"), directory("d"), file("d/f", b"OLD"), directory("real"), file("real/f", b"REAL"))


@pytest.mark.parametrize(
    ("path", "expected", "layers"),
    [
        pytest.param(
            "h",
            b"OLD",
            (LOWER, tar(directory("./"), directory("d"), hard_link("h", "d/f"), file("d/f", b"NEW"))),
            id="link to a lower file that its layer then replaces",
        ),
        pytest.param(
            "h",
            b"OLD",
            (LOWER, tar(directory("./"), directory("d"), hard_link("h", "d/f"), whiteout("d/f"))),
            id="link to a lower file that its layer then whites out",
        ),
        pytest.param(
            "h",
            b"OLD",
            (LOWER, tar(directory("./"), directory("d"), hard_link("h", "d/f"), opaque("d"))),
            id="link to a lower file that an opaque marker then hides",
        ),
        pytest.param(
            "h",
            b"REAL",
            (tar(directory("./"), directory("real"), file("real/f", b"REAL"), symlink("s", "real/f"),
                 hard_link("h", "s")),),
            id="link to a symlink",
        ),
        pytest.param(
            "h/f",
            b"REAL",
            (tar(directory("./"), directory("real"), file("real/f", b"REAL"), symlink("s", "real"),
                 hard_link("h", "s")),),
            id="link to a symlink as a parent",
        ),
        pytest.param(
            "h",
            b"REAL",
            (tar(directory("./"), directory("real"), file("real/f", b"REAL"), symlink("s", "real"),
                 hard_link("h", "s/f")),),
            id="link target through a symlinked directory",
        ),
        pytest.param(
            "h",
            b"REAL",
            (LOWER, tar(directory("./"), symlink("s", "real"), hard_link("h", "s/f"))),
            id="link target through a symlinked directory, in a lower layer",
        ),
        pytest.param(
            "h",
            b"REAL",
            (tar(directory("./"), directory("real"), file("real/f", b"REAL"), symlink("s", "real/f")),
             tar(directory("./"), hard_link("h", "s"), file("s", b"NEW"))),
            id="link to a lower symlink that its layer then replaces",
        ),
        pytest.param(
            "h2",
            b"OLD",
            (LOWER, tar(directory("./"), directory("d"), hard_link("h", "d/f"), file("d/f", b"NEW"),
                        hard_link("h2", "h"))),
            id="link to a link to a lower file that its layer then replaces",
        ),
    ],
)  # fmt: skip
def test_cat_of_a_hard_link_gives_the_file_that_unpack_links_to(
    tmp_path: Path, path: str, expected: bytes, layers: tuple[bytes, ...]
) -> None:
    apply(tmp_path / "applied", *layers)
    assert (tmp_path / "applied" / path).read_bytes() == expected
    assert content(layout_of(tmp_path, *layers), path) == expected


def test_cat_of_a_hard_link_within_its_layer_reads_that_layer_only(tmp_path: Path) -> None:
    asked: list[str] = []
    upper = tar(directory("./"), directory("d"), file("d/f", b"NEW"), hard_link("h", "d/f"), hard_link("i", "h"))
    assert content(layout_of(tmp_path, LOWER, upper), "i", asked=asked) == b"NEW"
    assert len(asked) == 1


def test_cat_refuses_a_link_to_what_comes_later_in_its_layer_as_unpack_does(tmp_path: Path) -> None:
    layers = (LOWER, tar(directory("./"), hard_link("h", "later"), file("later", b"x")))
    with pytest.raises(InvalidContent, match="which does not exist"):
        apply(tmp_path / "applied", *layers)
    with pytest.raises(InvalidContent, match="which does not exist"):
        content(layout_of(tmp_path, *layers), "h")


def test_sparse_file_is_whole(tmp_path: Path) -> None:
    data = content(layout_of(tmp_path, RICH[0]), "sparse")
    assert data == bytes(512) + b"one" + bytes(1485) + b"two" + bytes(997)


def test_errors_are_ours(tmp_path: Path) -> None:
    with pytest.raises(DistError):
        content(layout_of(tmp_path), "etc/passwd")
