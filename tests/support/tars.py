"""Tar streams byte by byte: what tarfile would refuse to write is what a reader must be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict, Unpack, cast

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
Name = str | bytes


class PlainFields(TypedDict, total=False):
    """Fields of a header, device numbers excepted: a number, or the bytes to put there."""

    mode: int | bytes
    uid: int | bytes
    gid: int | bytes
    size: int | bytes
    mtime: int | bytes
    prefix: bytes
    magic: bytes


class Fields(PlainFields, total=False):
    """Fields of a header."""

    major: int | bytes
    minor: int | bytes


def encoded(name: Name) -> bytes:
    return name if isinstance(name, bytes) else name.encode()


def padded(data: bytes) -> bytes:
    """`data` up to a whole number of blocks."""
    return data + bytes(-len(data) % BLOCK)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """A number as GNU tar writes it where octal digits do not suffice."""
    return (value + (1 << (8 * width)) if value < 0 else value | 1 << (8 * width - 1)).to_bytes(width, "big")


def summed(block: bytes, *, signed: bool = False) -> bytes:
    """The header with the right checksum."""
    blank = block[:148] + b" " * 8 + block[156:]
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in blank)
    return blank[:148] + b"%06o\0 " % total + blank[156:]


def header(name: Name, kind: bytes = b"0", *, link: Name = b"", **fields: Unpack[Fields]) -> bytes:
    """One header."""
    given = cast("Mapping[str, int | bytes]", fields)

    def field(key: str, width: int, default: int | bytes = 0) -> bytes:
        value = given.get(key, default)
        if isinstance(value, int):
            largest = 8 ** (width - 1)
            return octal(value, width) if 0 <= value < largest else base256(value, width)
        return value.ljust(width, b"\0")

    block = b"".join(
        (
            encoded(name)[:100].ljust(100, b"\0"),
            field("mode", 8, 0o755 if kind == b"5" else 0o644),
            field("uid", 8),
            field("gid", 8),
            field("size", 12),
            field("mtime", 12, 1_600_000_000),
            b" " * 8,
            kind,
            encoded(link)[:100].ljust(100, b"\0"),
            fields.get("magic", USTAR),
            bytes(64),
            field("major", 8),
            field("minor", 8),
            field("prefix", 155, b""),
            bytes(12),
        )
    )
    return summed(block)


def record(key: Name, value: Name) -> bytes:
    """One PAX record, its length included in its length."""
    body = b" " + encoded(key) + b"=" + encoded(value) + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def extension(kind: bytes, data: bytes) -> bytes:
    return header("././@LongLink", kind, size=len(data), mode=0) + padded(data)


def pax(records: Mapping[str, Name] | Iterable[tuple[Name, Name]], kind: bytes = b"x") -> bytes:
    """An extended header of these records."""
    items = records.items() if isinstance(records, Mapping) else records
    return extension(kind, b"".join(record(key, value) for key, value in items))


def long_name(name: Name) -> bytes:
    return extension(b"L", encoded(name) + b"\0")


def long_link(name: Name) -> bytes:
    return extension(b"K", encoded(name) + b"\0")


def _named(name: Name, link: Name = b"", xattrs: Mapping[str, bytes] | None = None) -> bytes:
    """The extended header that an entry needs."""
    records: dict[str, Name] = {}
    if len(encoded(name)) > 100:
        records["path"] = name
    if len(encoded(link)) > 100:
        records["linkpath"] = link
    records.update({f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()})
    return pax(records) if records else b""


def file(
    name: Name, data: bytes = b"", *, xattrs: Mapping[str, bytes] | None = None, **fields: Unpack[Fields]
) -> bytes:
    fields.setdefault("size", len(data))
    return _named(name, xattrs=xattrs) + header(name, b"0", **fields) + padded(data)


def directory(name: Name, *, xattrs: Mapping[str, bytes] | None = None, **fields: Unpack[Fields]) -> bytes:
    return _named(name, xattrs=xattrs) + header(name, b"5", **fields)


def symlink(name: Name, target: Name, **fields: Unpack[Fields]) -> bytes:
    fields.setdefault("mode", 0o777)
    return _named(name, target) + header(name, b"2", link=target, **fields)


def hard_link(name: Name, target: Name, **fields: Unpack[Fields]) -> bytes:
    return _named(name, target) + header(name, b"1", link=target, **fields)


def char_device(name: Name, major: int = 1, minor: int = 3, **fields: Unpack[PlainFields]) -> bytes:
    return header(name, b"3", major=major, minor=minor, **fields)


def block_device(name: Name, major: int = 7, minor: int = 0, **fields: Unpack[PlainFields]) -> bytes:
    return header(name, b"4", major=major, minor=minor, **fields)


def fifo(name: Name, **fields: Unpack[Fields]) -> bytes:
    return header(name, b"6", **fields)


def whiteout(path: str) -> bytes:
    """What removes `path` of lower layers."""
    parent, slash, name = path.rpartition("/")
    return file(f"{parent}{slash}.wh.{name}")


def opaque(path: str) -> bytes:
    """What removes all that lower layers have in the directory `path`."""
    return file(f"{path}/.wh..wh..opq" if path else ".wh..wh..opq")


def tar(*parts: bytes, end: bytes = END) -> bytes:
    """Entries one after the other, and the end marker."""
    return b"".join(parts) + end
