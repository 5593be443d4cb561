"""Applying one layer to a directory (image-spec layer.md, "Applying Changesets"; behaviours G)."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from dist_tool.errors import DigestMismatch, InvalidContent, LocalFailure, UnsafePath
from dist_tool.layers.compression import SNIFFED, Read, sniff
from dist_tool.layers.decompressor import LayerStream
from dist_tool.layers.metadata import Metadata
from dist_tool.layers.names import whiteouts
from dist_tool.layers.omissions import Omissions
from dist_tool.layers.options import ApplyOptions
from dist_tool.layers.possible import check_device, check_target
from dist_tool.oci.digest import Digest
from dist_tool.rootfs.failures import failure
from dist_tool.rootfs.inode import opened_inode
from dist_tool.rootfs.names import below, clean, shown
from dist_tool.rootfs.root import Attributes, Root, RootDirectory
from dist_tool.rootfs.spill import SpillDict
from dist_tool.run import NO_RUN, Run
from dist_tool.tar import reader as tarstream
from dist_tool.tar.reader import Entry, TarReader

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Applied(NamedTuple):
    """Result of applying a layer: diff ID, uncompressed size in bytes, number of tar headers."""

    diff_id: Digest
    size: int
    entries: int


def apply_layer(
    read: Read,
    root: int,
    options: ApplyOptions | None = None,
    *,
    diff_id: Digest | None = None,
    run: Run = NO_RUN,
    skipped: SpillDict | None = None,
) -> Applied:
    """Apply the layer read with `read(n)` to the directory open as `root`.

    gzip, zstd and plain tar are detected by content. Raises DigestMismatch if the digest of the
    uncompressed layer is not `diff_id`; InvalidContent, UnsafePath and LimitExceeded for content
    that must not be applied; LocalFailure for errors of this machine; and the errors of `read`.
    Not atomic: entries applied before an error remain. For all or nothing, apply to a new directory.
    `skipped` passes the paths of skipped devices from one layer of an image to the next, because
    they may be targets of hard links in later layers.
    """
    options = options or ApplyOptions()
    head = _Head(read, run)
    with LayerStream(head.read, options.limits, diff_id.algorithm if diff_id else "sha256") as stream:
        reader = TarReader(stream.next, options.limits, stream_name="the layer")
        apply_entries(reader, root, options, run, skipped)
        actual = stream.digest()
    if diff_id is not None and actual != diff_id:
        raise DigestMismatch(f"the uncompressed layer has the digest {actual}, expected {diff_id}")
    if diff_id is None and not reader.complete and sniff(head.bytes) == "plain":
        # The end of a compressed stream was already checked.
        raise InvalidContent(
            "the layer has no end marker and may be truncated", hint="to accept it, give its digest with --diff-id"
        )
    return Applied(actual, stream.count, reader.entries)


def own_root(root: int, options: ApplyOptions) -> None:
    """Set the owner of a new root directory to mapped root, like parents without an entry. Raises LocalFailure."""
    owner = options.parent_owner()
    if owner is None or owner == (os.geteuid(), os.getegid()):
        return
    try:
        os.chown(b"/proc/self/fd/%d" % root, *owner)
    except OSError as error:
        raise failure(error, b"") from error


class _Head:
    """Records the first bytes of a stream as it is read. Each read checks `run` for a timeout or cancellation."""

    def __init__(self, read: Read, run: Run) -> None:
        self._read = read
        self._run = run
        self.bytes = b""

    def read(self, size: int, /) -> bytes:
        self._run.check()
        data = self._read(size)
        if len(self.bytes) < SNIFFED:
            self.bytes += data[: SNIFFED - len(self.bytes)]
        return data


def apply_entries(
    reader: TarReader, root: int, options: ApplyOptions, run: Run = NO_RUN, skipped: SpillDict | None = None
) -> None:
    """Apply the entries of the reader. Raises the errors of `apply_layer`."""
    try:
        tree = Root(root, owner=options.parent_owner(), use_openat2=options.use_openat2)
    except OSError as error:
        raise failure(error, b"") from error
    own = SpillDict()
    try:
        Changeset(reader, tree, options, Omissions(run.report), own if skipped is None else skipped).apply()
    finally:
        own.close()
        tree.close()


class Changeset:
    """Applies one layer to a root."""

    def __init__(
        self, reader: TarReader, root: Root, options: ApplyOptions, omissions: Omissions, skipped: SpillDict
    ) -> None:
        self._reader = reader
        self._root = root
        self._options = options
        self._omissions = omissions
        self._metadata = Metadata(options, omissions)
        self._skipped = skipped
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
        """Apply every entry, then set the attributes of directories."""
        try:
            for entry in self._reader:
                self._path = entry.name
                self._entry(entry)
                self._root.settle()
            self._finish()
        except OSError as error:
            raise failure(error, self._path) from error

    def _entry(self, entry: Entry) -> None:
        path = self._path = clean(entry.name, self._options.limits.depth)
        parent_path, _, base = path.rpartition(b"/")
        removed = whiteouts(path, parent_path, base)
        if removed is not None:
            for target in removed:
                self._whiteout(parent_path, target)
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

    def _whiteout(self, parent_path: bytes, target: bytes) -> None:
        """Remove names of lower layers, never those of this layer, in whatever order they come (behaviours G4)."""
        parent = self._root.directory(parent_path)
        if parent is None:
            return
        if target:
            self._root.remove(parent, target, self._root.is_own)
            if not self._root.is_own(parent.path, target):
                self._skipped.drop(below(parent.path, target))
        else:
            self._root.remove_contents(parent, self._root.is_own)

    # Directories

    def _top(self, entry: Entry) -> None:
        if entry.kind != tarstream.DIRECTORY:
            raise UnsafePath(f"{shown(entry.name)}: the root can only be a directory")  # CVE-2021-29136
        self._later(entry, b"")

    def _directory(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """An existing directory keeps its content; anything else is replaced (behaviours G7)."""
        self._root.mark(parent, name)
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                self._root.remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent.fd)
        self._later(entry, below(parent.path, name))

    def _later(self, entry: Entry, path: bytes) -> None:
        """Schedule the attributes of a directory, which are set after all changes in it."""
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
        except PermissionError:  # an existing directory of another user
            self._omissions.note("times", path)

    # Other types. Each creates a new file, and replaces an existing one.

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
        """Set the metadata of an open file, after its content was written."""
        metadata = self._metadata
        owner = metadata.owner(entry, self._path)
        if owner is not None:
            metadata.set_owner(fd, owner, self._path)
        if entry.xattrs or self._options.rootlesscontainers:
            metadata.set_xattrs(fd, metadata.xattrs(entry, self._path), self._path)
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.atime, entry.mtime))

    def _symlink(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """The target is stored unchanged, wherever it points (behaviours G14)."""
        check_target(self._path, entry.link)
        try:
            os.symlink(entry.link, name, dir_fd=parent.fd)
        except FileExistsError:
            self._root.remove(parent, name)
            os.symlink(entry.link, name, dir_fd=parent.fd)
        with opened_inode(parent.fd, name, stat.S_IFLNK) as inode:
            self._describe_inode(inode, entry)

    def _describe_inode(self, inode: bytes, entry: Entry) -> None:
        """Set the metadata of a symlink, FIFO or device."""
        owner = self._metadata.owner(entry, self._path)
        if owner is not None:
            self._metadata.set_owner(inode, owner, self._path)
        if entry.xattrs:
            self._metadata.set_xattrs(inode, self._metadata.xattrs(entry, self._path), self._path)
        if entry.kind != tarstream.SYMLINK:
            os.chmod(inode, entry.mode)
        os.utime(inode, ns=(entry.atime, entry.mtime))

    def _hard_link(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """Link the target without following symlinks; set no metadata (CVE-2021-32760; behaviours G12, G13)."""
        target = clean(entry.link, self._options.limits.depth)
        source_path, _, source = target.rpartition(b"/")
        directory = self._root.directory(source_path)
        try:
            if directory is None or not source:
                raise FileNotFoundError(errno.ENOENT, "")
            info = os.stat(source, dir_fd=directory.fd, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                raise InvalidContent(f"{shown(self._path)}: hard link to {shown(target)}, which is a directory")
            self._link((directory, source), (parent, name), info)
        except FileNotFoundError as error:  # missing, or in a directory that the link replaces
            if directory is not None and below(directory.path, source) in self._skipped:
                self._skip(parent, name)
                return
            raise InvalidContent(f"{shown(self._path)}: hard link to {shown(target)}, which does not exist") from error

    def _link(
        self, source: tuple[RootDirectory, bytes], new: tuple[RootDirectory, bytes], info: os.stat_result
    ) -> None:
        directory, name = new
        try:
            _link(source, new)
        except FileExistsError:
            existing = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            if os.path.samestat(existing, info):
                return  # already the same file; removing it could remove the target
            self._root.remove(directory, name)
            _link(source, new)

    def _fifo(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        self._node(entry, parent, name, stat.S_IFIFO, 0)

    def _device(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        """Create, replace or skip a device: creating needs root, and is optional (behaviours G21)."""
        check_device(self._path, entry)
        choice = self._options.devices
        if choice == "placeholder":
            self._placeholder(entry, parent, name)
        elif choice == "skip" or (choice == "auto" and os.geteuid() != 0):
            self._skip(parent, name)
        else:
            kind = stat.S_IFCHR if entry.kind == tarstream.CHAR else stat.S_IFBLK
            try:
                self._node(entry, parent, name, kind, os.makedev(*entry.device))
            except PermissionError as error:  # also for root in a user namespace
                if choice == "create":
                    raise LocalFailure(
                        f"{shown(self._path)}: cannot create the device", hint="run as root, or see --devices"
                    ) from error
                self._skip(parent, name)

    def _skip(self, parent: RootDirectory, name: bytes) -> None:
        """Skip a device or a hard link to one. A file of that name in lower layers is removed nevertheless."""
        self._root.remove(parent, name)
        self._skipped.put(below(parent.path, name))
        self._omissions.note("device", self._path)

    def _placeholder(self, entry: Entry, parent: RootDirectory, name: bytes) -> None:
        self._omissions.note("placeholder", self._path)
        entry.mode = 0
        self._file(entry, parent, name)

    def _node(self, entry: Entry, parent: RootDirectory, name: bytes, kind: int, device: int) -> None:
        try:
            os.mknod(name, kind | 0o600, device, dir_fd=parent.fd)
        except FileExistsError:
            self._root.remove(parent, name)
            os.mknod(name, kind | 0o600, device, dir_fd=parent.fd)
        with opened_inode(parent.fd, name, kind, device) as inode:
            self._describe_inode(inode, entry)


def _link(source: tuple[RootDirectory, bytes], new: tuple[RootDirectory, bytes]) -> None:
    os.link(source[1], new[1], src_dir_fd=source[0].fd, dst_dir_fd=new[0].fd, follow_symlinks=False)
