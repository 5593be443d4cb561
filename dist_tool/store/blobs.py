"""`blobs/<algorithm>/<encoded>`: looking up, opening, and adding by one rename."""

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

_RECENT_S = 60.0  # younger names may not be on disk yet: every kernel writes back sooner
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class OpenBlob(Body):
    """An open blob, unverified: every read that matters goes through `verify.open_verified`."""

    def __init__(self, file: io.FileIO, offset: int, total: int) -> None:
        super().__init__(file, offset=offset, total=total, source="the store")
        self._raw = file

    def readinto(self, view: memoryview) -> int:
        """Fill a part of `view`; 0 at the end."""
        with files.failing("cannot read from the store"):
            return self._raw.readinto(view) or 0

    def fileno(self) -> int:
        """The file descriptor, for reading at an offset."""
        return self._raw.fileno()


def missing(digest: Digest) -> NotFound:
    """The error for a blob that is not here."""
    return NotFound(f"{digest} is not in the store")


def info_time(found: os.stat_result) -> float:
    """When a blob was last used, in seconds since the epoch: containerd keeps it as atime (F3)."""
    return max(found.st_atime_ns, found.st_mtime_ns) / 1e9


_Identity = tuple[Digest, int, int, int]  # digest, device, inode, mtime of one file


def _identity(digest: Digest, found: os.stat_result) -> _Identity:
    return digest, found.st_dev, found.st_ino, found.st_mtime_ns


class Blobs:
    """The blobs of the store at `root`. Reading takes no lock and no right to write."""

    def __init__(self, root: str, run: Run = NO_RUN) -> None:
        self._root = root
        self._run = run
        self._damaged: set[_Identity] = set()

    def path(self, digest: Digest) -> str:
        """Where the blob is or would be. Only parsed digests make paths (behaviours A11, R7)."""
        return os.path.join(self._root, "blobs", digest.algorithm, digest.encoded)

    def locked(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """The store's lock: shared to claim a blob, exclusive to remove one."""
        return locks.held(os.path.join(self._root, locks.LOCK_NAME), exclusive=exclusive)

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None if it is absent."""
        found = self.stat(digest)
        return found.st_size if found else None

    def stat(self, digest: Digest) -> os.stat_result | None:
        """The status of a blob's file, None where there is none. Links are no blobs."""
        with files.failing(f"cannot look up {digest}"):
            return self._found(digest)

    def _found(self, digest: Digest) -> os.stat_result | None:
        found = files.regular(self.path(digest))
        return None if found is None or _identity(digest, found) in self._damaged else found

    def distrust(self, digest: Digest) -> None:
        """Treat the present file of a blob, found damaged, as absent until another replaces it."""
        with files.failing(f"cannot look up {digest}"):
            found = files.regular(self.path(digest))
        if found is not None:
            self._damaged.add(_identity(digest, found))

    def open(self, desc: Descriptor, offset: int = 0, *, is_use: bool = True) -> OpenBlob:
        """The blob's bytes from `offset`, not verified. Raises NotFound, LocalFailure.

        Without `is_use` the time of the last use stays, as far as the system and the owner permit.
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
        """The names of blobs, in no order. What is no digest is passed over."""
        for algorithm in files.names(os.path.join(self._root, "blobs")):
            directory = os.path.join(self._root, "blobs", algorithm)
            try:
                names = files.names(directory)
            except LocalFailure as error:
                if not isinstance(error.__cause__, PermissionError):
                    raise
                self._run.report(Notice("warning", f"{directory} belongs to another user and is passed over"))
                continue
            for encoded in names:
                with suppress(InvalidArgument):
                    yield Digest.parse(f"{algorithm}:{encoded}")

    def claim(self, desc: Descriptor) -> bool:
        """True where the blob is here, and then it is marked as used and durable.

        A file of another size than `desc` says is what a crash of another tool leaves: it does
        not count, and the commit replaces it.
        """
        if self.stat(desc.digest) is None:
            return False
        with files.failing(f"cannot look up {desc.digest}"):
            try:
                with self.locked(exclusive=False):
                    is_here = self.freshen(desc.digest, desc.size)
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
                found = self.stat(desc.digest)  # a store that we may not change, only use
                return found is not None and desc.size in (None, found.st_size)
            if is_here:
                self._harden(desc.digest)
        return is_here

    def freshen(self, digest: Digest, size: int | None) -> bool:
        """Mark a blob as used, so that gc's grace begins anew; False where it is not here.

        The caller has the store's lock. Raises OSError.
        """
        found = self._found(digest)
        if found is None or (size is not None and found.st_size != size):
            return False
        try:
            os.utime(self.path(digest), ns=(time.time_ns(), found.st_mtime_ns))
        except PermissionError:  # another user's blob: reading it counts as a use at least once a day (relatime)
            with suppress(OSError):
                self._read_a_byte(digest)
        return True

    def _read_a_byte(self, digest: Digest) -> None:
        fd = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)

    def _harden(self, digest: Digest) -> None:
        """Whoever is told that a blob is here may rely on it: sync one that is young.

        The process that renamed it into place may not have come to that yet.
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
        """Rename verified, synced `data` to its blob; returns the file of that size that it replaced, if any.

        A blob that is here already is replaced all the same: it may be damaged, which only reading
        all of it would show. Its labels stay. Raises OSError.
        """
        target = self.path(digest)
        room = os.path.dirname(target)
        files.make_directory(room)
        if digest.algorithm != "sha256":  # whose directory is as old as the store
            files.sync_directory(os.path.dirname(room))
        with self.locked(exclusive=False):
            here = self._found(digest)
            os.rename(data, target)
        files.sync_directory(room)
        return here if here is not None and here.st_size == size else None

    def remove(self, digest: Digest) -> None:
        """Remove a blob. The caller has the store's lock, exclusive. Raises NotFound, OSError."""
        try:
            os.unlink(self.path(digest))
        except (FileNotFoundError, NotADirectoryError):
            raise missing(digest) from None
