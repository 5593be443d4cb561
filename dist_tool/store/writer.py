"""Writer of the store on disk: data is hashed while it is written, and published by one rename."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from dist_tool.api import Status
from dist_tool.errors import AlreadyExists, DigestMismatch, DistError, LocalFailure, SizeMismatch
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest, new_hasher
from dist_tool.store import files
from dist_tool.store.direct_io import BLOCK, PIECE, DirectFile
from dist_tool.store.labels import Labels, label_blob
from dist_tool.stream.verify import BackgroundHash

if TYPE_CHECKING:
    from dist_tool.store.blobs import Blobs
    from dist_tool.store.ingest import IngestDirectory
    from dist_tool.stream.copy import ByteSource

_PIECE = 512 << 10  # bytes; small enough to be read, hashed and written while in the processor's cache
_SHORT_READ = 16 << 10  # one TLS record; after a shorter read the source has no more data ready
_WRITE_BACK = 8 << 20  # bytes per start of writeback
_THREAD_MIN = 256 << 10  # bytes; for smaller pieces the handover to a thread takes longer than the hash


class DiskWriter:
    """A `Writer` on a locked ingest. For one thread at a time.

    After a failed write or sync only `close` is of use; the next `open` counts and hashes the bytes on disk again.
    """

    def __init__(
        self, blobs: Blobs, labels: Labels, directory: IngestDirectory, lock: int, desc: Descriptor | None
    ) -> None:
        self._blobs = blobs
        self._labels = labels
        self._directory = directory
        self._lock = lock
        self._desc = desc
        self._data = -1
        self._algorithm = desc.digest.algorithm if desc else "sha256"
        self._hasher = new_hasher(self._algorithm)
        self._background: BackgroundHash | None = None
        self._direct: DirectFile | None = None
        self._offset = 0
        self._written_back = 0
        self._limit = 0
        self._broken = False
        self._status = Status("", 0, 0, 0.0, 0.0)

    # Opening

    def open(self, ref: str) -> None:
        """Resume the ingest, or start one. Existing bytes are hashed again (behaviours F5).

        Starts over if the ingest is incomplete or has another ref, if another total was expected,
        or if the existing bytes cannot become the content: too many, or complete with a wrong digest.
        """
        total = self._desc.size or 0 if self._desc else 0
        status = self._directory.status()
        if status is None or status.ref != ref or (total and status.total and total != status.total):
            self._directory.begin(ref, total)
            status = self._directory.status()
        if status is None:
            raise LocalFailure(f"cannot start the ingest of {ref!r}")
        self._status = status
        self._data = self._open_data()
        self._rehash()
        # The total of an earlier session applies only if this one has no digest.
        self._limit = total or (0 if self._desc else status.total)
        if self._cannot_match():
            self.truncate()
        if total:
            self.expect(total)

    def _open_data(self) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._directory.data, flags)
        except PermissionError:  # made read-only by the user or by another tool
            mode = os.stat(self._directory.data, follow_symlinks=False).st_mode
            os.chmod(self._directory.data, (mode & 0o777) | 0o600)
            return os.open(self._directory.data, flags)

    def _rehash(self) -> None:
        size = os.fstat(self._data).st_size  # the status may be older than what was written
        buffer = memoryview(bytearray(min(_PIECE, size + 1)))
        while got := os.readv(self._data, [buffer]):
            self._hasher.update(buffer[:got])
            self._offset += got

    def _cannot_match(self) -> bool:
        """True if the existing bytes cannot become the expected content: every commit would fail (behaviours F7)."""
        if not self._limit or self._offset < self._limit:
            return False
        return self._offset > self._limit or (self._desc is not None and self.digest() != self._desc.digest)

    # State

    @property
    def offset(self) -> int:
        """Bytes written so far, those of an earlier session included."""
        return self._offset

    @property
    def closed(self) -> bool:
        """True after commit and close."""
        return self._data < 0

    def digest(self) -> Digest:
        """The digest of the bytes written so far; after a commit, that of the blob."""
        if self._background is not None:
            self._background.drain()
        return Digest(self._algorithm, self._hasher.hexdigest())

    def status(self) -> Status:
        """The state of the write."""
        updated = self._status.updated_at
        if not self.closed:
            updated = max(updated, os.fstat(self._data).st_mtime_ns / 1e9)
        return self._status._replace(offset=self._offset, updated_at=updated, active=not self.closed)

    def expect(self, total: int) -> None:
        """Set the expected size in bytes, 0 for none; the last call counts."""
        self._limit = total
        if total != self._status.total:
            with files.failing("cannot record the expected size"):
                self._directory.expect(total)
            self._status = self._status._replace(total=total)

    # Writing

    def write(self, data: bytes | memoryview, /) -> int:
        """Append all of `data`; returns its size in bytes. The buffer may be reused at once.

        Raises SizeMismatch, and drops all bytes, if there are more than expected; LocalFailure
        for a full disk and the like.
        """
        view = memoryview(data).cast("B")
        self._append(view)
        if self._background is not None and not isinstance(data, bytes):
            self._background.drain()
        return len(view)

    def fill(self, source: ByteSource, *, direct: bool = False) -> int:
        """Append all bytes of `source`; returns their number.

        The fast path for large content: while one piece is hashed, the next is read and written.
        `direct` uses O_DIRECT, for content that is not read back soon. Raises as `write`, and the
        errors of `source`.
        """
        from mmap import mmap  # page-aligned memory, as O_DIRECT requires

        before = self._offset
        buffers = [memoryview(mmap(-1, PIECE if direct else _PIECE)) for _ in range(2)]
        with self._direct_writes() if direct else nullcontext():
            while self._fill_piece(source, buffers[0][: len(buffers[0]) - self._offset % BLOCK]):
                buffers.reverse()
        if self._background is not None:
            self._background.drain()
        return self._offset - before

    @contextmanager
    def _direct_writes(self) -> Iterator[None]:
        self._direct = DirectFile(self._data)
        try:
            yield
        finally:
            direct, self._direct = self._direct, None
            with files.failing("cannot write to the store"):
                direct.end()

    def _fill_piece(self, source: ByteSource, buffer: memoryview) -> bool:
        """Append the next piece; False at the end.

        Data of a slow source is written as it arrives, so that other processes see progress and a
        kill loses little. Bytes read before an error or an interrupt of the source are written too.
        """
        filled, got = 0, _SHORT_READ
        try:
            while filled < len(buffer) and got >= _SHORT_READ:
                got = source.readinto(buffer[filled:]) or 0
                filled += got
        finally:
            self._append(buffer[:filled])
        return got > 0

    def _append(self, view: memoryview) -> None:
        """Write and hash `view`; a large one must not change until the hash thread has processed it."""
        if self.closed:
            raise ValueError("write to a closed writer")
        if self._broken:
            raise LocalFailure("an earlier write failed", hint="open the ingest again to continue")
        if self._limit and self._offset + len(view) > self._limit:
            self.truncate()
            raise SizeMismatch(f"more than the expected {self._limit} bytes arrived")
        if self._background is None and len(view) >= _THREAD_MIN:
            self._background = BackgroundHash.started(self._hasher.update)
        if self._background is not None:
            self._background.submit(view)
        else:
            self._hasher.update(view)
        try:
            with files.failing(f"cannot write to the store after {self._offset} bytes"):
                if self._direct is not None:
                    self._direct.write(view, self._offset)
                else:
                    files.write_all(self._data, view)
        except BaseException:  # also an interrupt: hash and file may now differ
            self._broken = True
            raise
        self._offset += len(view)
        if self._offset - self._written_back >= _WRITE_BACK:
            files.start_writing_back(self._data, self._written_back, self._offset - self._written_back)
            self._written_back = self._offset

    def truncate(self) -> None:
        """Drop all bytes and restart at byte 0."""
        self._finish_hash()
        with files.failing("cannot truncate the ingest"):
            os.ftruncate(self._data, 0)
            os.lseek(self._data, 0, os.SEEK_SET)
        self._hasher = new_hasher(self._algorithm)
        self._offset = self._written_back = 0
        self._broken = False

    def _finish_hash(self) -> None:
        if self._background is not None:
            self._background.finish()
            self._background = None

    # The end

    def commit(self, desc: Descriptor | None = None, *, labels: Mapping[str, str] | None = None) -> Descriptor:
        """Verify, publish atomically and close (behaviours F6). Returns the descriptor of the blob.

        Raises SizeMismatch if there is less than expected: the transfer may have been cut, so the
        bytes stay for a later session. Raises SizeMismatch or DigestMismatch for any other mismatch;
        the bytes are then dropped. Raises AlreadyExists (its `object_id` is the digest) if the blob
        existed: it was replaced, because it may have been damaged, and the ingest is gone. Raises
        InvalidArgument and LocalFailure for labels that cannot be set, before anything is
        committed; LocalFailure if the disk fails.
        """
        if self.closed:
            raise ValueError("commit of a closed writer")
        if self._broken:
            raise LocalFailure("an earlier write failed", hint="open the ingest again to continue")
        expected = desc or self._desc
        try:
            if labels:
                self._labels.check(labels)
            self._finish_hash()
            digest = self._verified(expected)
            self._sync()
            self._publish(digest)
            if labels:
                label_blob(self._blobs, self._labels, digest, labels, replace=True)
        finally:
            self.abandon()
        return Descriptor(digest, self._offset, expected.media_type) if expected else Descriptor(digest, self._offset)

    def _verified(self, expected: Descriptor | None) -> Digest:
        """The digest of the written bytes, if it and the size match `expected`. Raises as `commit`."""
        size = expected.size if expected and expected.size is not None else self._limit or None
        if size is not None and self._offset < size:
            raise SizeMismatch(f"{self._offset} bytes were written, expected {size}")
        try:
            if size is not None and self._offset > size:
                raise SizeMismatch(f"{self._offset} bytes were written, expected {size}")
            if expected is None:
                return self.digest()
            actual = self._digest_as(expected.digest.algorithm)
            if actual != expected.digest:
                raise DigestMismatch(f"wrong content: expected {expected.digest}, got {actual} ({self._offset} bytes)")
        except DistError:
            self._discard()  # every later commit would fail too (behaviours F7)
            raise
        return actual

    def _digest_as(self, algorithm: str) -> Digest:
        if algorithm != self._algorithm:
            self._algorithm, self._hasher, self._offset = algorithm, new_hasher(algorithm), 0
            with files.failing("cannot read the ingest"):
                os.lseek(self._data, 0, os.SEEK_SET)
                self._rehash()
        return self.digest()

    def _sync(self) -> None:
        """Make the content durable before its name exists.

        After a failed fsync, pages may be lost on disk although reads still return them, and the
        next fsync would succeed: the data can no longer be trusted, so the ingest is removed.
        """
        try:
            with suppress(OSError):
                os.utime(self._data)  # the time of creation of the blob is that of the commit
            with files.failing("cannot make the content durable"):
                files.sync(self._data)
        except LocalFailure:
            self._discard()
            raise

    def _publish(self, digest: Digest) -> None:
        with files.failing(f"cannot add {digest} to the store"):
            replaced = self._blobs.admit(self._directory.data, digest, self._offset)
        with suppress(OSError):  # read-only as a protection against accidents; umask decides who may read
            # A replaced blob that others could read stays readable for them.
            mode = os.fstat(self._data).st_mode | (replaced.st_mode if replaced else 0)
            os.fchmod(self._data, mode & 0o444)
        self._discard()
        if replaced:
            raise AlreadyExists("the content is already in the store").with_facts(object_id=str(digest))

    def _discard(self) -> None:
        """Remove the ingest. What cannot be removed now is left to gc, and starts over if opened again."""
        with suppress(OSError):
            self._directory.remove()

    def close(self) -> None:
        """Release the ref without a commit; the bytes stay for a later session. Idempotent.

        The bytes are not synced: a power cut may lose them, and the next `open` hashes what is left.
        """
        if self.closed:
            return
        try:
            if self._offset or self._broken:
                with suppress(OSError):
                    self._directory.touch()
            else:
                self._discard()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file and the lock, and leave the ingest unchanged. Idempotent."""
        self._finish_hash()
        for fd in (self._data, self._lock):
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self._data = self._lock = -1

    def __enter__(self) -> DiskWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
