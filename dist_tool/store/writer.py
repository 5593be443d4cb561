"""One write into the store: hashed while it is written, published by one rename."""

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

_PIECE = 512 << 10  # what is read, hashed and written while it is in the processor's cache
_SLOW = 16 << 10  # a TLS record's worth; who gives less at once has no more at hand
_WRITE_BACK = 8 << 20  # what the disk is told to begin with at a time
_WORTH_A_THREAD = 256 << 10  # smaller pieces are hashed sooner than handed over


class DiskWriter:
    """A `Writer` on a locked ingest. Not for two threads at once.

    After a failed write or sync only `close` is of use: what is on disk is counted and hashed anew by the next opening.
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
        """Continue what is there, or begin. Everything there is hashed again (behaviours F5).

        It begins anew where the ingest is another's or incomplete, where another total was
        announced, or where more bytes than that or all of them, and wrong ones, are there.
        """
        total = self._desc.size or 0 if self._desc else 0
        status = self._directory.status()
        if status is None or status.ref != ref or (total and status.total and total != status.total):
            self._directory.begin(ref, total)
            status = self._directory.status()
        if status is None:
            raise LocalFailure(f"the ingest of {ref!r} could not be begun")
        self._status = status
        self._data = self._open_data()
        self._rehash()
        # What an earlier session announced binds where nothing better is known: a digest is.
        self._limit = total or (0 if self._desc else status.total)
        if self._is_hopeless():
            self.truncate()
        if total:
            self.expect(total)

    def _open_data(self) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._directory.data, flags)
        except PermissionError:  # made read-only by hand or by another tool; it is ours to write
            mode = os.stat(self._directory.data, follow_symlinks=False).st_mode
            os.chmod(self._directory.data, (mode & 0o777) | 0o600)
            return os.open(self._directory.data, flags)

    def _rehash(self) -> None:
        size = os.fstat(self._data).st_size  # the status may be older than what was written
        buffer = memoryview(bytearray(min(_PIECE, size + 1)))
        while got := os.readv(self._data, [buffer]):
            self._hasher.update(buffer[:got])
            self._offset += got

    def _is_hopeless(self) -> bool:
        """True where what is there cannot become what is wanted: it would fail for ever (F7)."""
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
        """The digest of what was written so far; after a commit, of the blob."""
        if self._background is not None:
            self._background.drain()
        return Digest(self._algorithm, self._hasher.hexdigest())

    def status(self) -> Status:
        """Where the write stands."""
        updated = self._status.updated_at
        if not self.closed:
            updated = max(updated, os.fstat(self._data).st_mtime_ns / 1e9)
        return self._status._replace(offset=self._offset, updated_at=updated, active=not self.closed)

    def expect(self, total: int) -> None:
        """Set the size in bytes that the write is to have, 0 for not known; the latest counts."""
        self._limit = total
        if total != self._status.total:
            with files.failing("cannot note the expected size"):
                self._directory.expect(total)
            self._status = self._status._replace(total=total)

    # Writing

    def write(self, data: bytes | memoryview, /) -> int:
        """Append all of `data`; it may be reused at once.

        Raises SizeMismatch, and forgets what was written, where it becomes more than announced;
        LocalFailure for a full disk and the like.
        """
        view = memoryview(data).cast("B")
        self._append(view)
        if self._background is not None and not isinstance(data, bytes):
            self._background.drain()
        return len(view)

    def fill(self, source: ByteSource, *, direct: bool = False) -> int:
        """Append all that `source` gives; returns how many bytes that were.

        The fast way for large content: while one piece is hashed, the next is read and written.
        `direct` is for what nobody reads back soon. Raises what `source` raises.
        """
        from mmap import mmap  # its memory begins at a page, as writes past the cache ask

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
        """Append the next piece, False at the end.

        A source that gives little at a time is written as it comes, so that others see progress
        and a kill costs little; what was read when it fails or is interrupted is kept.
        """
        filled, got = 0, _SLOW
        try:
            while filled < len(buffer) and got >= _SLOW:
                got = source.readinto(buffer[filled:]) or 0
                filled += got
        finally:
            self._append(buffer[:filled])
        return got > 0

    def _append(self, view: memoryview) -> None:
        """Write and hash at once; a large `view` must stay as it is until the hash has it."""
        if self.closed:
            raise ValueError("write to a closed writer")
        if self._broken:
            raise LocalFailure("an earlier write failed", hint="open the ingest again to go on")
        if self._limit and self._offset + len(view) > self._limit:
            self.truncate()
            raise SizeMismatch(f"more than the expected {self._limit} bytes arrived")
        if self._background is None and len(view) >= _WORTH_A_THREAD:
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
        except BaseException:  # also an interrupt: hash and file may have parted
            self._broken = True
            raise
        self._offset += len(view)
        if self._offset - self._written_back >= _WRITE_BACK:
            files.start_writing_back(self._data, self._written_back, self._offset - self._written_back)
            self._written_back = self._offset

    def truncate(self) -> None:
        """Forget what was written and begin again at byte 0."""
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
        """Verify, publish atomically and close (behaviours F6). Returns what was committed.

        Raises SizeMismatch where there is less than expected: that may have been a cut, so what
        is there stays for the next opening. Raises SizeMismatch or DigestMismatch for all other
        disagreement, AlreadyExists (its `object_id` is the digest) if the content was there: it was
        replaced, as it may have been damaged, and nothing of the write remains. Raises
        InvalidArgument and LocalFailure for labels that cannot be set, before anything is
        committed; LocalFailure if the disk fails.
        """
        if self.closed:
            raise ValueError("commit of a closed writer")
        if self._broken:
            raise LocalFailure("an earlier write failed", hint="open the ingest again to go on")
        wanted = desc or self._desc
        try:
            if labels:
                self._labels.check(labels)
            self._finish_hash()
            digest = self._verified(wanted)
            self._sync()
            self._publish(digest)
            if labels:
                label_blob(self._blobs, self._labels, digest, labels, replace=True)
        finally:
            self.abandon()
        return Descriptor(digest, self._offset, wanted.media_type) if wanted else Descriptor(digest, self._offset)

    def _verified(self, wanted: Descriptor | None) -> Digest:
        """The digest of what was written, once it agrees with what is `wanted`."""
        size = wanted.size if wanted and wanted.size is not None else self._limit or None
        if size is not None and self._offset < size:
            raise SizeMismatch(f"{self._offset} bytes were written, expected {size}")
        try:
            if size is not None and self._offset > size:
                raise SizeMismatch(f"{self._offset} bytes were written, expected {size}")
            if wanted is None:
                return self.digest()
            actual = self._digest_as(wanted.digest.algorithm)
            if actual != wanted.digest:
                raise DigestMismatch(f"wrong content: expected {wanted.digest}, got {actual} ({self._offset} bytes)")
        except DistError:
            self._discard()  # kept, it would fail again for ever (behaviours F7)
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

        A failed fsync may have lost pages that later reads still show, and the next fsync would
        succeed: such data cannot be trusted again, so it goes.
        """
        try:
            with suppress(OSError):
                os.utime(self._data)  # the blob is created now, however old the first byte
            with files.failing("cannot make the content durable"):
                files.sync(self._data)
        except LocalFailure:
            self._discard()
            raise

    def _publish(self, digest: Digest) -> None:
        with files.failing(f"cannot add {digest} to the store"):
            replaced = self._blobs.admit(self._directory.data, digest, self._offset)
        with suppress(OSError):  # protection from accidents only; umask decides who may read
            # A blob that others could read stays readable for them.
            mode = os.fstat(self._data).st_mode | (replaced.st_mode if replaced else 0)
            os.fchmod(self._data, mode & 0o444)
        self._discard()
        if replaced:
            raise AlreadyExists("the content is in the store already").with_facts(object_id=str(digest))

    def _discard(self) -> None:
        """Drop the ingest. Whatever cannot be removed now is gc's, and begins anew if reopened."""
        with suppress(OSError):
            self._directory.remove()

    def close(self) -> None:
        """Let go without commit; what is written stays for a later session. Idempotent.

        Not synced: a power cut may cost the progress, and the next opening hashes what is there.
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
        """Let go of the file and the lock, and nothing else. Idempotent."""
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
