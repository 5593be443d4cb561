"""Blob files, `blobs/<algorithm>/<encoded>`: lookup, open, and atomic publication by rename."""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress

from dist_tool.errors import InvalidArgument, LocalFailure, NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.run import NO_RUN, Notice, Run
from dist_tool.store import files, locks
from dist_tool.stream.body import Body

_RECENT_S = 60.0  # a younger directory entry may not be on disk yet; every kernel writes back within this time
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class OpenBlob(Body):
    """An open blob, not verified. Use `verify.open_verified` to read content that is acted on."""

    def __init__(self, file: io.FileIO, offset: int, total: int) -> None:
        super().__init__(file, offset=offset, total=total, source="the store")
        self._raw = file

    def readinto(self, view: memoryview) -> int:
        """Read into `view`; returns the number of bytes, 0 at the end. Raises LocalFailure."""
        with files.failing("cannot read from the store"):
            return self._raw.readinto(view) or 0

    def fileno(self) -> int:
        """The file descriptor, for `pread`."""
        return self._raw.fileno()


def missing(digest: Digest) -> NotFound:
    """The error for a blob that is not in the store."""
    return NotFound(f"{digest} is not in the store")


def info_time(found: os.stat_result) -> float:
    """Time of last use of a blob, in seconds since the epoch. containerd stores it as atime (behaviours F3)."""
    return max(found.st_atime_ns, found.st_mtime_ns) / 1e9


_Identity = tuple[Digest, int, int, int]  # digest, device, inode, mtime of one file


def _identity(digest: Digest, found: os.stat_result) -> _Identity:
    return digest, found.st_dev, found.st_ino, found.st_mtime_ns


class Blobs:
    """The blobs of the store at `root`. Reading requires neither a lock nor write permission."""

    def __init__(self, root: str, run: Run = NO_RUN) -> None:
        self._root = root
        self._run = run
        self._damaged: set[_Identity] = set()

    def path(self, digest: Digest) -> str:
        """The path of a blob, present or not. Paths are built from parsed digests only (behaviours A11, R7)."""
        return os.path.join(self._root, "blobs", digest.algorithm, digest.encoded)

    def locked(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """Context manager that holds the store's lock: shared to claim a blob, exclusive to remove one."""
        return locks.held(os.path.join(self._root, locks.LOCK_NAME), exclusive=exclusive)

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None if it is absent."""
        found = self.stat(digest)
        return found.st_size if found else None

    def stat(self, digest: Digest) -> os.stat_result | None:
        """The `lstat` of a blob's file, None if it is absent, damaged (see `distrust`) or not a regular file."""
        with files.failing(f"cannot look up {digest}"):
            return self._found(digest)

    def _found(self, digest: Digest) -> os.stat_result | None:
        found = files.regular(self.path(digest))
        return None if found is None or _identity(digest, found) in self._damaged else found

    def distrust(self, digest: Digest) -> None:
        """Treat the current file of a damaged blob as absent, until another file replaces it."""
        with files.failing(f"cannot look up {digest}"):
            found = files.regular(self.path(digest))
        if found is not None:
            self._damaged.add(_identity(digest, found))

    def open(self, desc: Descriptor, offset: int = 0, *, is_use: bool = True) -> OpenBlob:
        """The blob's bytes from `offset`, not verified. Raises NotFound, LocalFailure.

        Without `is_use` the time of last use is not updated, if the system supports that and the
        user owns the file.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with files.failing(f"cannot open {desc.digest} in the store"):
            try:
                fd = (os.open if is_use else files.open_without_atime)(self.path(desc.digest), flags)
            except (FileNotFoundError, NotADirectoryError):
                raise missing(desc.digest) from None
            file = io.FileIO(fd)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise LocalFailure(f"{self.path(desc.digest)} is not a regular file")
                os.lseek(fd, offset, os.SEEK_SET)
            except BaseException:
                file.close()
                raise
        return OpenBlob(file, offset, found.st_size)

    def digests(self) -> Iterator[Digest]:
        """The digests of all files in `blobs/`, in no order. Names that are not digests are skipped.

        A directory of another user that cannot be listed is reported and skipped. Raises LocalFailure.
        """
        for algorithm in files.names(os.path.join(self._root, "blobs")):
            directory = os.path.join(self._root, "blobs", algorithm)
            try:
                names = files.names(directory)
            except LocalFailure as error:
                if not isinstance(error.__cause__, PermissionError):
                    raise
                self._run.report(Notice("warning", f"{directory} belongs to another user; skipped"))
                continue
            for encoded in names:
                with suppress(InvalidArgument):
                    yield Digest.parse(f"{algorithm}:{encoded}")

    def claim(self, desc: Descriptor) -> bool:
        """Mark a blob as used and make it durable; False if it is absent.

        A file whose size differs from that of `desc`, such as one left by a crash of another tool,
        counts as absent: the commit replaces it. In a store without write permission a blob is only
        looked up. Raises LocalFailure.
        """
        if self.stat(desc.digest) is None:
            return False
        with files.failing(f"cannot look up {desc.digest}"):
            try:
                with self.locked(exclusive=False):
                    is_present = self.freshen(desc.digest, desc.size)
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
                found = self.stat(desc.digest)  # no permission to write to this store
                return found is not None and desc.size in (None, found.st_size)
            if is_present:
                self._sync_recent(desc.digest)
        return is_present

    def freshen(self, digest: Digest, size: int | None) -> bool:
        """Mark a blob as used, which restarts its gc grace period; False if it is absent or not of `size` bytes.

        The caller holds the store's lock. Raises OSError.
        """
        found = self._found(digest)
        if found is None or (size is not None and found.st_size != size):
            return False
        try:
            os.utime(self.path(digest), ns=(time.time_ns(), found.st_mtime_ns))
        except PermissionError:  # another user's blob: a read updates its atime at least once a day (relatime)
            with suppress(OSError):
                self._read_a_byte(digest)
        return True

    def _read_a_byte(self, digest: Digest) -> None:
        fd = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)

    def _sync_recent(self, digest: Digest) -> None:
        """Sync a recent blob to disk before it is reported as present.

        The process that renamed the file may not have synced its directory yet.
        """
        path = self.path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if time.time() - os.fstat(fd).st_mtime > _RECENT_S:
                return
            files.sync(fd)
        finally:
            os.close(fd)
        files.sync_directory(os.path.dirname(path))

    def admit(self, data: str, digest: Digest, size: int) -> os.stat_result | None:
        """Rename the verified and synced file `data` to the path of its blob.

        An existing blob is replaced too: it may be damaged, and only a full read would show that.
        Its labels stay. Returns the status of the replaced file if it had `size` bytes. If
        processes commit the same content at once, several may get None. Raises OSError.
        """
        target = self.path(digest)
        directory = os.path.dirname(target)
        files.make_directory(directory)
        if digest.algorithm != "sha256":  # `blobs/sha256` was synced when the store was created
            files.sync_directory(os.path.dirname(directory))
        with self.locked(exclusive=False):
            replaced = self._found(digest)
            os.rename(data, target)
        files.sync_directory(directory)
        return replaced if replaced is not None and replaced.st_size == size else None

    def remove(self, digest: Digest) -> None:
        """Remove a blob. The caller holds the store's lock, exclusive. Raises NotFound, OSError."""
        try:
            os.unlink(self.path(digest))
        except (FileNotFoundError, NotADirectoryError):
            raise missing(digest) from None
