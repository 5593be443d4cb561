"""Members of a tar archive, indexed once and read in place: no file is ever extracted.

A name in an archive is only used as a dictionary key (behaviours R8, E20; CVE-2007-4559).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from io import FileIO
from posixpath import dirname, normpath
from typing import NamedTuple

from dist_tool.errors import DistError, InvalidContent, LocalFailure, NotFound, UnsafePath, printable
from dist_tool.files import NotRegularFile, open_regular, write_all
from dist_tool.layers.compression import decompress, sniff
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.spool import unnamed_file
from dist_tool.tar.limits import Limits
from dist_tool.tar.reader import FILE, LINK, SYMLINK, Entry, TarReader

_PIECE = 16 << 10  # bytes read at a time while headers are indexed


class Member(NamedTuple):
    """The position of a file's bytes in the archive. `link` is the cleaned name of a link's target, "" for a file."""

    offset: int
    size: int
    link: str = ""


class Members:
    """An open archive: its members by cleaned name; of several with the same name, the last."""

    def __init__(self, path: str) -> None:
        self.where = "standard input" if path == "-" else path
        with _errors_name(self.where):
            self._file = _open_plain_tar(path)
            try:
                self._members = dict(self._index())
            except BaseException:
                self._file.close()
                raise

    def _index(self) -> Iterator[tuple[str, Member]]:
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)

        def seek_past(count: int) -> None:
            if self._file.seek(count, os.SEEK_CUR) > size:
                raise InvalidContent("the archive ends in the middle of an entry")

        # The file is already uncompressed, so its own size is the only limit.
        reader = TarReader(lambda: self._file.read(_PIECE) or b"", Limits(size=1 << 62), seek_past=seek_past)
        for entry in reader:
            name = _cleaned(entry.name)
            if entry.kind == FILE and entry.sparse is None:
                yield name, Member(reader.offset, entry.size)
            elif entry.kind in (LINK, SYMLINK):
                yield name, Member(0, 0, _target(name, entry))
        if not reader.entries:
            raise InvalidContent("the archive has no entries")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def find(self, name: str) -> Member:
        """A file, through at most one link. Raises NotFound; UnsafePath for a link to a link (ggcr #2232)."""
        member = self._members.get(_cleaned(os.fsencode(name)))
        if member is None:
            raise NotFound(f"no {printable(name, 200)!r} in {self.where}")
        if not member.link:
            return member
        target = self._members.get(member.link)
        if target is None:
            raise NotFound(f"{printable(name, 200)!r} in {self.where} links to a missing file")
        if target.link:
            raise UnsafePath(f"{printable(name, 200)!r} in {self.where} is a link to a link")
        return target

    def open(self, member: Member, offset: int = 0) -> Body:
        """A file's bytes from `offset`."""
        return _MemberBody(self._file, member, min(offset, member.size), self.where)

    def close(self) -> None:
        """Close the archive."""
        self._file.close()


class _MemberBody(Body):
    """Reads at its own position, so bodies of one archive are independent."""

    def __init__(self, file: FileIO, member: Member, offset: int, where: str) -> None:
        super().__init__(offset=offset, total=member.size, source=where)
        self._archive = file
        self._position = member.offset + offset
        self._end = member.offset + member.size

    def readinto(self, view: memoryview) -> int:
        try:
            got = os.preadv(self._archive.fileno(), [view[: self._end - self._position]], self._position)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "the archive is closed"
            raise LocalFailure(f"{self.source}: {reason}") from error
        self._position += got
        return got


def _cleaned(name: bytes) -> str:
    """A name without `./`, `//` and outer slashes; one that leads out keeps its `..` and matches no member."""
    return normpath(os.fsdecode(name).lstrip("/") or ".")


def _target(name: str, entry: Entry) -> str:
    """The target of a link: a symbolic link's is relative to its directory, a hard link's to the archive."""
    link = os.fsdecode(entry.link)
    if entry.kind == SYMLINK and not link.startswith("/"):
        link = f"{dirname(name)}/{link}"
    return _cleaned(os.fsencode(link)) if link else ".."


class _errors_name:  # noqa: N801  reads as a statement
    """Context manager that adds the name of the archive to errors."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            raise LocalFailure(f"{self._where}: {error.strerror}") from error
        if isinstance(error, DistError) and self._where not in error.what:
            raise error.with_(what=f"{self._where}: {error.what}") from error.cause


def _open_plain_tar(path: str) -> FileIO:
    """Open an archive as a seekable, uncompressed file; standard input and compressed archives are spooled."""
    if path == "-":
        with FileIO(sys.__stdin__.fileno() if sys.__stdin__ else 0, closefd=False) as source:
            return _spooled(source)
    try:
        descriptor = open_regular(path, follow_links=True)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except NotRegularFile as error:
        raise UnsafePath(f"{path} is not a regular file", hint="archive::- reads standard input") from error
    file = FileIO(descriptor)
    try:
        if sniff(os.pread(descriptor, 6, 0)) == "plain":
            return file
        with file:
            return _spooled(file)
    except BaseException:
        file.close()
        raise


def _spooled(source: FileIO) -> FileIO:
    """The content of `source`, uncompressed, in an unnamed temporary file."""
    file = unnamed_file()  # not a `Spool`: bodies read the descriptor at their own positions
    try:
        for piece in decompress(lambda size: source.read(size) or b"", stream_name="the archive"):
            write_all(file.fileno(), memoryview(piece))
    except BaseException:
        file.close()
        raise
    return file


def read_member(members: Members, member: Member, limit: int) -> bytes:
    """The bytes of a small file, at most `limit`."""
    body = members.open(member)
    data = bytearray(min(limit, member.size))
    view = memoryview(data)
    filled = 0
    while filled < len(data) and (got := body.readinto(view[filled : filled + CHUNK])):
        filled += got
    return bytes(data[:filled])
