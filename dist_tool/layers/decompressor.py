"""Decompression and hashing in a separate thread, a limited number of pieces ahead of the reader.

zlib, zstd, hashlib and system calls release the GIL, so reading, decompressing and hashing
overlap with writing files.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Semaphore

from dist_tool.layers.compression import Read, decompress
from dist_tool.oci.digest import Digest, new_hasher
from dist_tool.tar.limits import DEFAULT_LIMITS, Limits
from dist_tool.threads import start_thread

_AHEAD = 16  # pieces; limits memory to this number times compression.OUTPUT
_CLOSE_S = 2.0  # then a thread that is still waiting for its source is abandoned (it is a daemon)


class LayerStream:
    """A layer's uncompressed stream and its digest (no digest if `algorithm` is None).

    A context manager: `close` ends the thread. `next` raises the errors of the thread.
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
        except BaseException as error:  # raised in the reader's thread
            last = error
        self._queue.put(last)

    def next(self) -> bytes:
        """The next piece; empty at the end. Raises the errors of reading and decompressing."""
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
        """The next piece, decompressed synchronously because no thread could be started."""
        piece = next(self._pieces, b"")
        if self._hasher is not None:
            self._hasher.update(piece)
        return piece

    def digest(self) -> Digest:
        """The digest of the uncompressed stream; valid only after its end (behaviours E17)."""
        assert self._algorithm is not None
        assert self._hasher is not None
        return Digest(self._algorithm, self._hasher.hexdigest())

    def close(self) -> None:
        """End the thread; give up waiting for it after `_CLOSE_S` seconds. Idempotent."""
        self._stop()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def finish(self) -> None:
        """End the thread, with no time limit. Afterwards nothing reads the source."""
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
