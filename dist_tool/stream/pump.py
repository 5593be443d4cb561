"""Copying an object from a source to a sink, with verification.

The order is always source -> `ResumingReader` -> `Verifier` -> sink. Bytes count as the object
only after a `Verifier` accepted them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast, runtime_checkable

from dist_tool.stream.body import CHUNK, Readable
from dist_tool.stream.verify import Verifier

SMALL = 4 << 20  # objects up to this size are verified before their first byte is written


Sink = Callable[[memoryview], object]


@runtime_checkable
class Rewindable(Protocol):
    """A `Sink` that can discard what was written to it."""

    def __call__(self, data: memoryview, /) -> None:
        """Append."""

    def restart(self) -> None:
        """Discard everything written so far: it was wrong."""


def pump(source: Readable, verifier: Verifier, sink: Sink, *, small: int = SMALL) -> int:
    """Copy one object to `sink`; returns its size in bytes.

    An object of up to `small` bytes is verified before its first byte is written. Of a larger
    one at least the last `CHUNK` bytes are withheld until it is verified, so that a wrong object is
    never written completely (docs/fetch.md, "The pipe"). Raises the errors of reading, verifying and `sink`.
    """
    held: list[memoryview] = []
    free: list[bytearray] = []
    waiting = 0
    streaming = False
    try:
        for chunk in _chunks(source, verifier, free):
            held.append(chunk)
            waiting += len(chunk)
            streaming = streaming or waiting > small
            if verifier.count > SMALL:
                verifier.start_background()
            while streaming and waiting - len(held[0]) >= CHUNK:
                done = held.pop(0)
                sink(done)
                waiting -= len(done)
                free.append(cast(bytearray, done.obj))
        verifier.check()
    finally:
        verifier.finish_background()
    for chunk in held:
        sink(chunk)
    return verifier.count


def _chunks(source: Readable, verifier: Verifier, free: list[bytearray]) -> Iterator[memoryview]:
    """The object in chunks of `CHUNK` bytes (the last is shorter), each passed to `verifier` first.

    Buffers are taken from `free` if it has any. A chunk returned to it is hashed already, because
    the verifier has accepted the next one.
    """
    ended = False
    while not ended:
        buffer = memoryview(free.pop() if free else bytearray(CHUNK))
        filled = 0
        while filled < CHUNK and not ended:
            got = source.readinto(buffer[filled:])
            filled += got
            ended = not got
        chunk = buffer[:filled]
        verifier.update(chunk)
        yield chunk
        if ended:
            ended = verifier.matches() or not source.reopen_past_end()
