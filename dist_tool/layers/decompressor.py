"""Decompression in a thread of its own, at most a few pieces ahead of whoever reads.

The interpreter's lock is free while zlib, zstd, hashlib and the system work, so that reading,
decompressing and hashing overlap with writing files.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Semaphore

from dist_tool.layers.compression import Read, decompress
from dist_tool.oci.digest import Digest, new_hasher
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits
from dist_tool.threads import start_thread

_AHEAD = 16  # pieces: bounds memory to this many times compression.OUTPUT
_CLOSE_S = 2.0  # a thread that waits for a silent source is left behind (it is a daemon)


class LayerStream:
    """A layer's uncompressed bytes, and the digest over all of them, none when `algorithm` is None.

    A context manager: `close` ends the thread. What the thread raised comes out of `next`.
    """

    def __init__(self, read: Read, limits: Limits = DEFAULT_LIMITS, algorithm: str | None = "sha256") -> None:
        self._hasher = None if algorithm is None else new_hasher(algorithm)
        self._algorithm = algorithm
        self._pieces = decompress(read, limits)
        self._queue: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._room = Semaphore(_AHEAD)
        self._stopped = False
        self._ended = False
        self.count = 0
        self._thread = start_thread(self._run, name="dist-decompress")

    def _run(self) -> None:
        last: bytes | BaseException = b""
        try:
            for piece in self._pieces:
                if self._hasher is not None:
                    self._hasher.update(piece)
                self._room.acquire()
                if self._stopped:
                    return
                self._queue.put(piece)
        except BaseException as error:  # handed to the reader, whatever it is
            last = error
        self._queue.put(last)

    def next(self) -> bytes:
        """The next piece; none at the end. Raises what reading and decompressing raise."""
        if self._ended:
            return b""
        piece = self._queue.get() if self._thread else self._decompressed()
        if isinstance(piece, BaseException):
            self._ended = True
            raise piece
        self._room.release()
        self.count += len(piece)
        self._ended = not piece
        return piece

    def _decompressed(self) -> bytes:
        """The next piece, decompressed here and now: there was no thread to be had."""
        piece = next(self._pieces, b"")
        if self._hasher is not None:
            self._hasher.update(piece)
        return piece

    def digest(self) -> Digest:
        """The digest of everything read; only meaningful after the end (behaviours E17)."""
        assert self._algorithm is not None
        assert self._hasher is not None
        return Digest(self._algorithm, self._hasher.hexdigest())

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._stop()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def finish(self) -> None:
        """End the thread however long it waits for its source, which nothing reads any more then."""
        self._stop()
        if self._thread is not None:
            self._thread.join()

    def _stop(self) -> None:
        self._stopped = True
        self._ended = True
        self._room.release()

    def __enter__(self) -> LayerStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
