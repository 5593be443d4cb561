"""Applying one layer to a directory (image-spec layer.md, "Applying Changesets"; behaviours G)."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from dist_tool.errors import DigestMismatch, InvalidContent, LocalFailure, UnsafePath
from dist_tool.layers.compression import Read
from dist_tool.layers.decompressor import LayerStream
from dist_tool.layers.metadata import Metadata
from dist_tool.layers.names import WHITEOUT, check_parents, is_metadata, whiteout_target
from dist_tool.layers.omissions import Omissions
from dist_tool.layers.options import ApplyOptions
from dist_tool.oci.digest import Digest
from dist_tool.rootfs.failures import failure
from dist_tool.rootfs.names import below, clean, shown
from dist_tool.rootfs.root import Attributes, Root, RootDirectory
from dist_tool.rootfs.spill import SpillDict
from dist_tool.run import Report, unheard
from dist_tool.tar import reader as tarstream
from dist_tool.tar.reader import Entry, TarReader

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST_MAJOR, _LARGEST_MINOR = 0xFFF, 0xFFFFF  # what Linux has room for


class Applied(NamedTuple):
    """What was applied: the digest of the uncompressed layer, its size in bytes, its headers."""

    diff_id: Digest
    size: int
    entries: int


def apply_layer(
    read: Read,
    root: int,
    options: ApplyOptions | None = None,
    *,
    diff_id: Digest | None = None,
    report: Report = unheard,
) -> Applied:
    """Apply the layer that `read(n)` gives to the directory open as `root`.

    gzip, zstd and plain tar are told apart by content. Raises DigestMismatch where the
    uncompressed layer is not `diff_id`, InvalidContent, UnsafePath and LimitExceeded for what
    must not be applied, LocalFailure for what this machine refuses, and what `read` raises.
    What was applied before an error stays: whoever wants all or nothing applies to a directory
    of its own.
    """
    options = options or ApplyOptions()
    with LayerStream(read, options.limits, diff_id.algorithm if diff_id else "sha256") as stream:
        reader = TarReader(stream.next, options.limits)
        apply_entries(reader, root, options, report)
        actual = stream.digest()
    if diff_id is not None and actual != diff_id:
        raise DigestMismatch(f"the uncompressed layer is {actual}, expected {diff_id}")
    if diff_id is None and not reader.complete:
        raise InvalidContent("the layer has no end marker: it is cut short", hint="--diff-id takes it if it is whole")
    return Applied(actual, stream.count, reader.entries)


def apply_entries(reader: TarReader, root: int, options: ApplyOptions, report: Report = unheard) -> None:
    """Apply what the reader gives; raises as `apply_layer` does."""
    try:
        tree = Root(root, owner=options.parent_owner(), use_openat2=options.use_openat2)
    except OSError as error:
        raise failure(error, b"") from error
    changes = Changeset(reader, tree, options, Omissions(report))
    try:
        changes.apply()
    finally:
        changes.close()
        tree.close()


class Changeset:
    """One layer on its way into a root."""

    def __init__(self, reader: TarReader, root: Root, options: ApplyOptions, omissions: Omissions) -> None:
        self._reader = reader
        self._root = root
        self._options = options
        self._omissions = omissions
        self._metadata = Metadata(options, omissions)
        self._skipped = SpillDict()
        self._path = b""
        self._creators = {
            tarstream.FILE: self._file,
            tarstream.LINK: self._hard_link,
            tarstream.SYMLINK: self._symlink,
            tarstream.CHAR: self._device,
            tarstream.BLOCKDEV: self._device,
            tarstream.FIFO: self._fifo,
        }

    def apply(self) -> None:
        """Apply every entry, then the attributes of directories."""
        try:
            for entry in self._reader:
                self._path = entry.name
                self._entry(entry)
                self._root.settle()
            self._finish()
        except OSError as error:
            raise failure(error, self._path) from error

    def close(self) -> None:
        """Forget what was skipped. Idempotent."""
        self._skipped.close()

    def _entry(self, entry: Entry) -> None:
        path = self._path = clean(entry.name, self._options.limits.depth)
        parent_path, _, base = path.rpartition(b"/")
        if WHITEOUT in path:
            if is_metadata(path):
                return
            check_parents(path, parent_path)
            if base.startswith(WHITEOUT):
                self._whiteout(path, parent_path, base)
                return
        if not path:
            self._top(entry)
            return
        parent = self._root.directory(parent_path, create=True)
        assert parent is not None
        if entry.kind == tarstream.DIRECTORY:
            self._directory(entry, parent, base)
        else:
            self._root.mark(parent, base)
            self._creators[entry.kind](entry, parent, base)

    # Whiteouts

    def _whiteout(self, path: bytes, parent_path: bytes, base: bytes) -> None:
        """Hide what lower layers have: never what this one does, in whatever order (behaviours G4)."""
        target = whiteout_target(path, base)
        parent = self._root.directory(parent_path)
        if parent is None:
            return
        if target:
            self._root.remove(parent, target, self._root.is_own)
        else:
            self._root.remove_contents(parent, self._root.is_own)

    # Directories

    def _top(self, entry: Entry) -> None:
        if entry.kind != tarstream.DIRECTORY:
            raise UnsafePath(f"{shown(entry.name)}: the root can only be a directory")  # CVE-2021-29136
        self._later(entry, b"")

    def _directory(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """A directory that is there keeps its content; anything else gives way (behaviours G7)."""
        self._root.mark(parent, name)
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                self._root.remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent.fd)
        self._later(entry, below(parent.path, name))

    def _later(self, entry: Entry, path: bytes) -> None:
        """Attributes of a directory are set when nothing is going to change it any more."""
        owner, xattrs = self._metadata.owner(entry, path), self._metadata.xattrs(entry, path)
        self._root.later(path, Attributes(entry.mode, owner, (entry.atime, entry.mtime), xattrs))

    def _finish(self) -> None:
        for path, (mode, owner, times, xattrs) in self._root.deepest_first():
            self._path = path
            fd = self._root.open_real(path)
            try:
                if owner is not None:
                    self._metadata.set_owner(fd, owner, path)
                if xattrs is not None:
                    self._metadata.replace_xattrs(fd, xattrs, path)
                self._set_mode_and_times(fd, path, mode, times)
            finally:
                os.close(fd)

    def _set_mode_and_times(self, fd: int, path: bytes, mode: int, times: tuple[int, int] | None) -> None:
        try:
            os.fchmod(fd, mode)
            if times is not None:
                os.utime(fd, ns=times)
        except PermissionError:  # a directory that was there before, and is somebody else's
            self._omissions.note("times", path)

    # Everything else. Each creates what must not be there, and makes room where it is.

    def _file(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        except FileExistsError:
            self._root.remove(parent, name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        try:
            if entry.sparse is None:
                self._write(fd)
            else:
                self._write_extents(fd, entry.sparse, entry.size)
            self._describe(fd, entry)
        finally:
            os.close(fd)

    def _write(self, fd: int) -> None:
        read, write = self._reader.read, os.write
        while view := read():
            written = write(fd, view)
            while written < len(view):
                view = view[written:]
                written = write(fd, view)

    def _write_extents(self, fd: int, extents: tuple[tuple[int, int], ...], size: int) -> None:
        """A sparse file: its stored extents, with holes between them (behaviours G23)."""
        os.ftruncate(fd, size)
        view = memoryview(b"")
        for offset, length in extents:
            end = offset + length
            while offset < end:
                view = view or self._reader.read()
                written = os.pwrite(fd, view[: end - offset], offset)
                view = view[written:]
                offset += written

    def _describe(self, fd: int, entry: Entry) -> None:
        """What an open file gets once its content is there."""
        metadata = self._metadata
        owner = metadata.owner(entry, self._path)
        if owner is not None:
            metadata.set_owner(fd, owner, self._path)
        if entry.xattrs or self._options.rootlesscontainers:
            metadata.set_xattrs(fd, metadata.xattrs(entry, self._path), self._path)
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.atime, entry.mtime))

    def _symlink(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """The target is kept as it is written, wherever it points (behaviours G14)."""
        if not entry.link:
            raise InvalidContent(f"{shown(self._path)}: a symlink to nothing")
        try:
            os.symlink(entry.link, name, dir_fd=parent.fd)
        except FileExistsError:
            self._root.remove(parent, name)
            os.symlink(entry.link, name, dir_fd=parent.fd)
        owner = self._metadata.owner(entry, self._path)
        if owner is not None:
            self._metadata.set_owner(name, owner, self._path, parent.fd)
        if entry.xattrs:
            self._xattrs_at(entry, parent, name)
        os.utime(name, ns=(entry.atime, entry.mtime), dir_fd=parent.fd, follow_symlinks=False)

    def _xattrs_at(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """No call sets attributes relative to a descriptor: its name in /proc does (behaviours G11)."""
        target = b"/proc/self/fd/%d/%b" % (parent.fd, name)
        self._metadata.set_xattrs(target, self._metadata.xattrs(entry, self._path), self._path)

    def _hard_link(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """Links the name itself, never what it points to, and sets nothing (CVE-2021-32760; G12, G13)."""
        target = clean(entry.link, self._options.limits.depth)
        if target in self._skipped:
            self._skip(self._path)
            return
        source_path, _, source = target.rpartition(b"/")
        directory = self._root.directory(source_path)
        try:
            if directory is None or not source:
                raise FileNotFoundError(errno.ENOENT, "")
            info = os.stat(source, dir_fd=directory.fd, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                raise InvalidContent(f"{shown(self._path)}: a hard link to {shown(target)}, which is a directory")
            self._link((directory, source), (parent, name), info)
        except FileNotFoundError as error:  # never there, or in a directory that the link replaces
            raise InvalidContent(f"{shown(self._path)}: a hard link to {shown(target)}, which is not there") from error

    def _link(
        self, source: tuple[RootDirectory, bytes], new: tuple[RootDirectory, bytes], info: os.stat_result
    ) -> None:
        directory, name = new
        try:
            _link(source, new)
        except FileExistsError:
            existing = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            if os.path.samestat(existing, info):
                return  # the same file already; removing it first could remove the target
            self._root.remove(directory, name)
            _link(source, new)

    def _fifo(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        self._node(entry, parent, name, stat.S_IFIFO, 0)

    def _device(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """Devices take root, and a user may not want them at all (behaviours G21)."""
        major, minor = entry.device
        if not (0 <= major <= _LARGEST_MAJOR and 0 <= minor <= _LARGEST_MINOR):
            raise InvalidContent(f"{shown(self._path)}: the device {major}:{minor} is out of range")
        choice = self._options.devices
        if choice == "placeholder":
            self._placeholder(entry, parent, name)
        elif choice == "skip" or (choice == "auto" and os.geteuid() != 0):
            self._root.remove(parent, name)
            self._skip(self._path)
        else:
            kind = stat.S_IFCHR if entry.kind == tarstream.CHAR else stat.S_IFBLK
            try:
                self._node(entry, parent, name, kind, os.makedev(major, minor))
            except PermissionError as error:  # root of a user namespace may not
                if choice == "create":
                    raise LocalFailure(
                        f"{shown(self._path)}: devices cannot be created here", hint="see --devices"
                    ) from error
                self._skip(self._path)

    def _skip(self, path: bytes) -> None:
        self._skipped.put(path)
        self._omissions.note("device", path)

    def _placeholder(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        self._omissions.note("placeholder", self._path)
        self._file(entry, parent, name)
        os.chmod(b"/proc/self/fd/%d/%b" % (parent.fd, name), 0)

    def _node(self, entry: Entry, parent: RootDirectory, name: bytes, kind: int, device: int) -> None:
        try:
            os.mknod(name, kind | 0o600, device, dir_fd=parent.fd)
        except FileExistsError:
            self._root.remove(parent, name)
            os.mknod(name, kind | 0o600, device, dir_fd=parent.fd)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
        try:
            owner = self._metadata.owner(entry, self._path)
            if owner is not None:
                self._metadata.set_owner(name, owner, self._path, parent.fd)
            if entry.xattrs:
                self._xattrs_at(entry, parent, name)
            os.chmod(f"/proc/self/fd/{fd}", entry.mode)
        finally:
            os.close(fd)
        os.utime(name, ns=(entry.atime, entry.mtime), dir_fd=parent.fd, follow_symlinks=False)


def _link(source: tuple[RootDirectory, bytes], new: tuple[RootDirectory, bytes]) -> None:
    os.link(source[1], new[1], src_dir_fd=source[0].fd, dst_dir_fd=new[0].fd, follow_symlinks=False)
