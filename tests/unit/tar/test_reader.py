"""The tar reader: every form that layers come in, and nothing that is not sound."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from support import tars
from support.tars import END, base256, directory, extension, file, header, long_link, long_name, padded, pax, tar

from dist_tool.errors import InvalidContent, LimitExceeded
from dist_tool.tar.limits import Limits
from dist_tool.tar.reader import Entry, TarReader


def reader_of(stream: bytes, step: int = 1 << 20, limits: Limits | None = None) -> TarReader:
    source = io.BytesIO(stream)
    return TarReader(lambda: source.read(step), limits or Limits())


def read(stream: bytes, step: int = 1 << 20, limits: Limits | None = None) -> list[tuple[Entry, bytes]]:
    reader = reader_of(stream, step, limits)
    entries = []
    for entry in reader:
        pieces = []
        while piece := reader.read():
            pieces.append(bytes(piece))
        entries.append((entry, b"".join(pieces)))
    return entries


def only(stream: bytes, **kwargs: Any) -> Entry:
    ((entry, _),) = read(stream, **kwargs)
    return entry


# Formats


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("step", [1, 100, 512, 513, 1 << 20])
def test_what_tarfile_writes_is_read(form: int, step: int) -> None:
    out = io.BytesIO()
    names = ["plain", "d" * 80 + "/" + "f" * 90]
    if form != tarfile.USTAR_FORMAT:
        names += ["long/" * 60 + "name", "umlaut-ä", "newline\n"]
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.mtime = 700 * number, 0o4711, 1000 + number, 1234567890
            archive.addfile(member, io.BytesIO(bytes([number]) * member.size))
    entries = read(out.getvalue(), step)
    assert [entry.name.decode() for entry, _ in entries] == names
    for number, (entry, data) in enumerate(entries):
        assert data == bytes([number]) * 700 * number
        assert (entry.kind, entry.mode, entry.uid, entry.mtime) == (b"0", 0o4711, 1000 + number, 1234567890 * 10**9)


def test_all_kinds_are_told_apart() -> None:
    stream = tar(
        file("f"),
        tars.hard_link("h", "f"),
        tars.symlink("s", "/t"),
        tars.char_device("c", 5, 1),
        tars.block_device("b", 8, 70_000),
        directory("d/"),
        tars.fifo("p"),
    )
    entries = [entry for entry, _ in read(stream)]
    assert [entry.kind for entry in entries] == [b"0", b"1", b"2", b"3", b"4", b"5", b"6"]
    assert (entries[1].link, entries[2].link) == (b"f", b"/t")
    assert (entries[3].device, entries[4].device) == ((5, 1), (8, 70_000))


def test_v7_header_has_no_prefix_and_marks_directories_by_their_slash() -> None:
    stream = tar(
        header("old", b"\0", size=3, magic=tars.V7, prefix=b"ignored") + padded(b"abc"),
        header("dir/", b"\0", magic=tars.V7),
    )
    (one, data), (two, _) = read(stream)
    assert (one.name, one.kind, data) == (b"old", b"0", b"abc")
    assert (two.name, two.kind) == (b"dir/", b"5")


def test_contiguous_files_are_files() -> None:
    assert only(tar(header("f", b"7"))).kind == b"0"


def test_ustar_prefix_is_joined_and_gnu_has_none() -> None:
    assert only(tar(header("name", prefix=b"some/dir"))).name == b"some/dir/name"
    assert only(tar(header("name", prefix=b"some/dir", magic=tars.GNU))).name == b"name"


def test_names_without_final_nul_fill_their_field() -> None:
    entry = only(tar(header("n" * 100, b"2", link="l" * 100)))
    assert (entry.name, entry.link) == (b"n" * 100, b"l" * 100)


def test_names_end_at_their_first_nul() -> None:
    assert only(tar(header(b"name\0rest"))).name == b"name"


def test_names_are_bytes() -> None:
    assert only(tar(file(b"caf\xe9/\xff"))).name == b"caf\xe9/\xff"


def test_long_names_are_read() -> None:
    name, link = b"n/" * 300, b"l/" * 400
    entry = only(tar(long_link(link), long_name(name), header("short", b"2", link="short")))
    assert (entry.name, entry.link) == (name, link)


def test_pax_records_win_over_the_header() -> None:
    records = {
        "path": "päth",
        "size": "5",
        "uid": "3000000",
        "gid": "4294967294",
        "mtime": "1700000000.123456789123",
        "atime": "1700000001.5",
        "SCHILY.xattr.security.capability": b"\1\0=\n\xff",
        "uname": "ignored",
    }
    ((entry, data),) = read(tar(pax(records), header("h", size=1), padded(b"12345")))
    assert (entry.name, entry.size, data) == ("päth".encode(), 5, b"12345")
    assert (entry.uid, entry.gid) == (3_000_000, 4_294_967_294)
    assert (entry.mtime, entry.atime) == (1_700_000_000_123_456_789, 1_700_000_001_500_000_000)
    assert entry.xattrs == {b"security.capability": b"\1\0=\n\xff"}


def test_pax_records_concern_the_next_entry_only() -> None:
    first, second = (entry for entry, _ in read(tar(pax({"path": "long"}), header("a"), header("b"))))
    assert (first.name, second.name) == (b"long", b"b")


def test_empty_pax_values_leave_the_header() -> None:
    assert only(tar(pax({"path": "", "mtime": ""}), header("h", mtime=7))).name == b"h"


def test_last_record_of_a_key_and_last_header_of_an_entry_count() -> None:
    assert only(tar(pax([("path", "a"), ("path", "b")]), header("h"))).name == b"b"
    assert only(tar(pax({"path": "a"}), pax({"path": "c"}), header("h"))).name == b"c"


def test_global_pax_headers_are_ignored() -> None:
    """behaviours G23; a global `path` would rename every entry."""
    assert only(tar(pax({"path": "evil", "size": "9"}, b"g"), file("f", b"data"))).name == b"f"


def test_pax_size_decides_where_the_next_header_is() -> None:
    """CVE-2025-62518: an entry inside the data of another must not come out."""
    inner = header("hidden")
    stream = tar(pax({"size": str(len(inner))}), header("outer", size=0), inner, file("after"))
    assert [entry.name for entry, _ in read(stream)] == [b"outer", b"after"]


def test_pax_size_does_not_concern_extension_headers() -> None:
    stream = tar(pax({"size": "3"}), long_name("renamed"), header("f", size=0), padded(b"abc"), file("after"))
    assert [(entry.name, data) for entry, data in read(stream)] == [(b"renamed", b"abc"), (b"after", b"")]


def test_size_of_what_has_no_data_is_ignored() -> None:
    """As in all other readers: the next block is a header."""
    stream = tar(header("d", b"5", size=4096), header("h", b"1", link="f", size=99), file("after"))
    assert [entry.name for entry, _ in read(stream)] == [b"d", b"h", b"after"]


def test_base256_numbers_are_read() -> None:
    entry = only(tar(header("f", uid=base256(2**40, 8), mtime=base256(2**33, 12), size=base256(0, 12))))
    assert (entry.uid, entry.mtime, entry.size) == (2**40, 2**33 * 10**9, 0)


@pytest.mark.parametrize("mtime", [base256(-5, 12), base256(2**62, 12)])
def test_times_that_no_file_can_have_become_the_epoch(mtime: bytes) -> None:
    """behaviours G16."""
    assert only(tar(header("f", mtime=mtime))).mtime == 0
    assert only(tar(pax({"mtime": "-1.5"}), header("f"))).mtime == 0


@pytest.mark.parametrize("field", [b"0000644\0", b" 644 \0\0", b"644\0", b"00000644", b"   644  "])
def test_numbers_may_be_padded_in_all_customary_ways(field: bytes) -> None:
    assert only(tar(header("f", mode=field))).mode == 0o644


def test_empty_number_is_zero() -> None:
    assert only(tar(header("f", uid=bytes(8)))).uid == 0


def test_checksum_of_signed_bytes_is_accepted() -> None:
    block = tars.summed(header(b"caf\xe9"), signed=True)
    assert block != header(b"caf\xe9")
    assert only(tar(block)).name == b"caf\xe9"


# Sparse files


def sparse_entry(parts: list[tuple[int, bytes]], size: int) -> tuple[bytes, int]:
    stored = b"".join(data for _, data in parts)
    return padded(stored), len(stored)


PARTS = [(512, b"a" * 700), (4096, b"b" * 5)]
EXTENTS = ((512, 700), (4096, 5))


def old_sparse(extents: list[tuple[int, int]], size: int, stored: bytes, *, magic: bytes = tars.GNU) -> bytes:
    def pairs(some: list[tuple[int, int]], room: int) -> bytes:
        return b"".join(tars.octal(a, 12) + tars.octal(b, 12) for a, b in some).ljust(24 * room, b"\0")

    block = bytearray(header("sparse", b"S", size=len(stored), magic=magic))
    block[386:482] = pairs(extents[:4], 4)
    rest = extents[4:]
    block[482] = bool(rest)
    block[483:495] = tars.octal(size, 12)
    out = tars.summed(bytes(block))
    while rest:
        some, rest = rest[:21], rest[21:]
        out += pairs(some, 21) + bytes([bool(rest)]) + bytes(7)
    return out + padded(stored)


def test_old_gnu_sparse_file_is_read() -> None:
    data, stored = sparse_entry(PARTS, 10_000)
    ((entry, content),) = read(tar(old_sparse(list(EXTENTS), 10_000, data[:stored])))
    assert (entry.kind, entry.size, entry.sparse) == (b"0", 10_000, EXTENTS)
    assert content == data[:stored]


def test_old_gnu_sparse_map_may_continue_in_blocks() -> None:
    extents = [(1000 * n, 1) for n in range(60)]
    entry, following = (entry for entry, _ in read(tar(old_sparse(extents, 60_000, b"x" * 60), file("after"))))
    assert entry.sparse == tuple(extents)
    assert following.name == b"after"


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_pax_sparse_file_is_read(version: str) -> None:
    data, stored = sparse_entry(PARTS, 10_000)
    numbers = [str(number) for extent in EXTENTS for number in extent]
    if version == "1.0":
        records = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "real"),
            ("GNU.sparse.realsize", "10000"),
        ]
        table = padded("\n".join([str(len(EXTENTS)), *numbers, ""]).encode())
        data, stored = table + data, len(table) + stored
    else:
        records = [("GNU.sparse.size", "10000"), ("GNU.sparse.numblocks", "2"), ("GNU.sparse.name", "real")]
        if version == "0.1":
            records.append(("GNU.sparse.map", ",".join(numbers)))
        else:
            for offset, length in EXTENTS:
                records += [("GNU.sparse.offset", str(offset)), ("GNU.sparse.numbytes", str(length))]
    stream = tar(pax(records), header("GNUSparseFile.0/real", size=stored), data, file("after"))
    (entry, content), (following, _) = read(stream)
    assert (entry.name, entry.size, entry.sparse) == (b"real", 10_000, EXTENTS)
    assert content == b"a" * 700 + b"b" * 5
    assert following.name == b"after"


@pytest.mark.parametrize(
    ("extents", "size", "stored"),
    [
        ([(0, 5), (3, 5)], 20, 10),  # overlap
        ([(10, 5), (0, 5)], 20, 10),  # order
        ([(0, 10)], 5, 10),  # past the end
        ([(0, 5)], 20, 10),  # stored more than mapped
        ([(0, 15)], 20, 10),  # mapped more than stored
    ],
)
def test_sparse_maps_that_do_not_fit_are_refused(extents: list[tuple[int, int]], size: int, stored: int) -> None:
    with pytest.raises(InvalidContent, match="sparse"):
        read(tar(old_sparse(extents, size, b"x" * stored)))


def test_sparse_maps_are_bounded() -> None:
    """CVE-2025-58183."""
    block = b"".join(tars.octal(n, 12) + tars.octal(0, 12) for n in range(21)) + b"\1" + bytes(7)
    endless = old_sparse([(0, 1)] * 5, 100, b"")[:512] + block * 3000
    with pytest.raises(LimitExceeded, match="sparse"):
        read(endless)
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    table = b"1000000\n" + b"0\n" * (1 << 20)
    with pytest.raises(LimitExceeded, match="sparse"):
        read(tar(pax(records), header("f", size=len(table)), padded(table)))


@pytest.mark.parametrize(
    "records",
    [
        [("GNU.sparse.map", "0,5,9"), ("GNU.sparse.size", "9")],
        [("GNU.sparse.map", "0,x"), ("GNU.sparse.size", "9")],
        [("GNU.sparse.map", "0,-5"), ("GNU.sparse.size", "9")],
        [("GNU.sparse.map", "0,0")],
        [("GNU.sparse.numbytes", "5"), ("GNU.sparse.offset", "0"), ("GNU.sparse.size", "9")],
    ],
)
def test_damaged_pax_sparse_maps_are_refused(records: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidContent):
        read(tar(pax(records), header("f", size=5), padded(b"12345")))


# The end


@pytest.mark.parametrize(
    ("end", "complete"),
    [(END, True), (bytes(512), True), (bytes(10240), True), (END + b"rest", True), (b"", False)],
)
def test_stream_is_read_to_its_very_end(end: bytes, complete: bool) -> None:
    """behaviours E17: the diff ID covers what follows the end marker."""
    source = io.BytesIO(tar(file("f"), end=end))
    reader = TarReader(lambda: source.read(512))
    assert [entry.name for entry in reader] == [b"f"]
    assert reader.complete is complete
    assert source.read() == b""


def test_empty_stream_has_no_entries_and_no_end_marker() -> None:
    reader = reader_of(b"")
    assert list(reader) == []
    assert not reader.complete


def test_content_that_nobody_reads_is_skipped() -> None:
    reader = reader_of(tar(file("a", b"x" * 3000), file("b")), step=700)
    assert [entry.name for entry in reader] == [b"a", b"b"]


def test_content_is_handed_out_without_copying() -> None:
    stream = tar(file("a", b"x" * 3000))
    reader = TarReader(iter([stream, b""]).__next__)
    next(iter(reader))
    assert reader.read().obj is stream


# Damage


@pytest.mark.parametrize("length", [1, 511, 513, 1023, 1024, 1500, 2047])
def test_cut_streams_are_refused(length: int) -> None:
    stream = file("f", b"x" * 1400)
    assert len(stream) == 2048
    with pytest.raises(InvalidContent, match="ends in the middle"):
        read(stream[:length])


@pytest.mark.parametrize("stream", [file("f", b"x")[:700], file("f", b"x") + b"x" * 100, long_name(b"n")])
def test_errors_name_the_stream(stream: bytes) -> None:
    with pytest.raises(InvalidContent, match=r"^the archive ends "):
        list(TarReader(iter([stream, b""]).__next__))
    with pytest.raises(InvalidContent, match=r"^blob 7 ends "):
        list(TarReader(iter([stream, b""]).__next__, stream_name="blob 7"))


def test_stream_that_ends_after_an_extended_header_is_refused() -> None:
    for end in (b"", END):
        with pytest.raises(InvalidContent, match="extended header"):
            read(tar(file("f"), pax({"path": "x"}), end=end))


def test_damaged_header_is_not_the_end() -> None:
    """security 0.1: tarfile takes one past the first for the end of the archive."""
    for bit in range(8 * 257):
        block = bytearray(header("second"))
        block[bit // 8] ^= 1 << bit % 8
        if 148 * 8 <= bit < 156 * 8:
            continue
        with pytest.raises(InvalidContent):
            read(tar(file("first"), bytes(block), file("third")))


def test_zero_block_among_headers_is_refused() -> None:
    with pytest.raises(InvalidContent, match="zero block"):
        read(tar(file("a"), bytes(512), file("b")))


@pytest.mark.parametrize("kind", [b"A", b"D", b"M", b"N", b"V", b"8", b"z", b"\xff"])
def test_unknown_types_are_refused(kind: bytes) -> None:
    with pytest.raises(InvalidContent, match="unknown type"):
        read(tar(header("f", kind)))


@pytest.mark.parametrize("field", ["mode", "uid", "gid", "mtime", "size"])
@pytest.mark.parametrize("value", [b"8", b"0x1", b"1_0", b"-1", b"+1", b"1 1", " ٣".encode(), b"0o7"])
def test_bad_numbers_are_refused(field: str, value: bytes) -> None:
    with pytest.raises(InvalidContent, match="number"):
        read(tar(header("f", **{field: value})))


def test_negative_sizes_are_refused() -> None:
    """CVE-2025-8194."""
    with pytest.raises(InvalidContent, match="negative"):
        read(tar(header("f", size=base256(-1, 12))))


def test_numbers_over_63_bits_are_refused() -> None:
    with pytest.raises(InvalidContent, match="63 bits"):
        read(tar(header("f", size=base256(2**70, 12))))


@pytest.mark.parametrize(
    "data",
    [
        b"0 a=b\n",  # CVE-2019-20907: a zero length loops for ever
        b"-6 a=b\n",
        b"6 a=b\n6 a",
        b"7 a=b\n",
        b"5 a=b\n",
        b"6 a=b ",
        b"5 ab\n",
        b"5 =b\n",
        b"06x a=b\n",
        b"a=b\n",
        b"\0\0\0\0",
        b"9" * 30 + b" a=b\n",
        b"8 a\0b=c\n",
        "٦ a=b\n".encode(),
    ],
)
@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_damaged_extended_headers_are_refused(data: bytes, kind: bytes) -> None:
    with pytest.raises(InvalidContent):
        read(tar(extension(kind, data), file("f")))


@pytest.mark.parametrize(
    "records",
    [
        {"size": "-1"},
        {"size": "1e3"},
        {"size": "1_0"},
        {"size": "9" * 5000},
        {"size": str(2**63)},
        {"uid": "-1"},
        {"gid": "x"},
        {"mtime": "now"},
        {"mtime": "1.5.5"},
        {"mtime": "9" * 5000},
        {"path": b"a\0b"},
        {"linkpath": b"a\0b"},
        {"SCHILY.xattr.": "value"},
    ],
)
def test_bad_pax_values_are_refused(records: dict[str, bytes | str]) -> None:
    with pytest.raises(InvalidContent):
        read(tar(pax(records), header("f")))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_extensions_are_bounded(kind: bytes) -> None:
    """CVE-2022-2879, security 0.1: a 200 MiB record costs 628 MB elsewhere."""
    with pytest.raises(LimitExceeded, match="1048576"):
        read(tar(header("x", kind, size=(1 << 20) + 1)))


def test_thousands_of_extended_headers_in_a_row_are_just_read() -> None:
    """security 0.1: 2000 of them raise RecursionError elsewhere."""
    assert only(tar(pax({"path": "p"}) * 2000, header("f"))).name == b"p"


def test_entries_are_limited_extensions_included() -> None:
    stream = tar(pax({"path": "p"}), header("f"), file("g"))
    assert len(read(stream, limits=Limits(entries=3))) == 2
    with pytest.raises(LimitExceeded, match="2 entries"):
        read(stream, limits=Limits(entries=2))


def test_declared_sizes_are_limited_before_anything_is_written() -> None:
    with pytest.raises(LimitExceeded, match="1000 bytes"):
        read(tar(file("a", b"x" * 600), file("b", b"x" * 401)), limits=Limits(size=1000))


def test_holes_count_as_size() -> None:
    with pytest.raises(LimitExceeded, match="1000 bytes"):
        read(tar(old_sparse([(0, 1)], 1001, b"x")), limits=Limits(size=1000))
