"""Digest and size verification. Bytes count as an object only after its `Verifier` accepted them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from dist_tool.errors import DigestMismatch, SizeMismatch, UnexpectedSize
from dist_tool.oci.digest import Digest, new_hasher
from dist_tool.stream.body import Readable

if TYPE_CHECKING:
    from threading import Thread


class Verifier:
    """Hashes and counts bytes, and compares them with the expected digest and size. The only check.

    After `start_background`, hashing overlaps reading and writing: hashlib and sockets release
    the interpreter's lock. If `digest` is None (not known), only the size is checked.
    """

    def __init__(self, digest: Digest | None, size: int | None = None, *, source: str = "") -> None:
        self.digest = digest
        self.size = size
        self.source = source
        self.count = 0
        # Bytes without an expected digest are hashed too, to report their digest.
        self._hasher = digest.hasher() if digest else new_hasher("sha256")
        self._background: BackgroundHash | None = None
        self._inline = False

    def update(self, view: memoryview | bytes) -> None:
        """Hash and count the next bytes. Raises SizeMismatch as soon as there are too many.

        In background mode, `view` must not change until the next `update` returns.
        """
        self.count += len(view)
        if self.size is not None and self.count > self.size:
            raise SizeMismatch(f"more than the expected {self.size} bytes arrived{self._from()}")
        if self._background is not None:
            self._background.submit(view)
        else:
            self._hasher.update(view)

    def start_background(self) -> None:
        """Hash in a separate thread from now on, if one can be started."""
        if self._background is None and not self._inline:
            self._background = BackgroundHash.started(self._hasher.update)
            self._inline = self._background is None

    def finish_background(self) -> None:
        """Wait for the thread and end it. Idempotent."""
        if self._background is not None:
            self._background.finish()
            self._background = None

    def snapshot(self) -> tuple[int, bytes]:
        """The number of bytes so far, and their hash."""
        if self._background is not None:
            self._background.drain()
        return self.count, self._hasher.copy().digest()

    def matches(self) -> bool:
        """True if the object is complete: by its digest, or by its size if no digest is known."""
        if self.digest is None:
            return self.size is None or self.count == self.size
        return self.digest == self.actual()

    def check(self) -> None:
        """Raise DigestMismatch, SizeMismatch or UnexpectedSize unless the bytes are the object."""
        actual = self.actual()
        if self.size is not None and self.count != self.size:
            if self.digest == actual:
                raise unexpected(self.count, self.size)
            raise SizeMismatch(f"{self.count} bytes arrived, expected {self.size}{self._from()}")
        if self.digest not in (None, actual):
            raise DigestMismatch(
                f"wrong content{self._from()}: expected {self.digest}, got {actual} ({self.count} bytes)",
                hint="the bytes were withheld or are incomplete; do not use them",
            )

    def actual(self) -> Digest:
        """The digest of the bytes so far."""
        self.finish_background()
        return Digest(self.digest.algorithm if self.digest else "sha256", self._hasher.hexdigest())

    def _from(self) -> str:
        return f" from {self.source}" if self.source else ""


def unexpected(count: int, size: int) -> UnexpectedSize:
    """The error for an object with the right digest but `count` bytes instead of `size`."""
    return UnexpectedSize(
        f"the digest matches, but the content has {count} bytes, expected {size}",
        hint="correct the expected size, or leave it out",
    )


class BackgroundHash:
    """A thread that hashes one chunk while the next is read and the one before is written.

    `submit` returns when every earlier chunk is hashed: their buffers may be reused.
    """

    def __init__(self, update: Callable[[memoryview | bytes], None]) -> None:
        from queue import SimpleQueue
        from threading import Semaphore

        self._queue: SimpleQueue[memoryview | bytes | None] = SimpleQueue()
        self._idle = Semaphore(1)
        self._update = update
        self._thread: Thread | None = None

    @classmethod
    def started(cls, update: Callable[[memoryview | bytes], None]) -> BackgroundHash | None:
        """A new instance with its thread; None if no thread can be started."""
        from dist_tool.threads import start_thread

        made = cls(update)
        made._thread = start_thread(made._run, name="dist-hash")
        return made if made._thread else None

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._update(item)
            self._idle.release()

    def submit(self, view: memoryview | bytes) -> None:
        """Hash `view` next."""
        self._idle.acquire()
        self._queue.put(view)

    def drain(self) -> None:
        """Wait until everything submitted is hashed."""
        self._idle.acquire()
        self._idle.release()

    def finish(self) -> None:
        """Wait for all chunks and end the thread."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()


class VerifiedReader(io.RawIOBase):
    """A binary file that ends without an error only if size and digest match.

    Bytes that were read are verified only once the end is reached.
    """

    def __init__(self, source: Readable, verifier: Verifier) -> None:
        self._source = source
        self._verifier = verifier
        self._ended = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Read bytes into `buffer`. Raises DataLoss at the end of a wrong object."""
        view = memoryview(buffer).cast("B")
        if self._ended or not len(view):
            return 0
        got = self._source.readinto(view)
        while not got and not self._verifier.matches() and self._source.reopen_past_end():
            got = self._source.readinto(view)
        if got:
            self._verifier.update(view[:got])
        else:
            self._verifier.check()
            self._ended = True
        return got

    def close(self) -> None:
        """Close the source. Idempotent."""
        self._source.close()
        super().close()
