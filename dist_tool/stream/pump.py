"""Bytes in flight: raw bodies, resuming over cuts, verifying, and the pump to the output.

The order is always source -> `ResumingReader` -> `Verifier` -> sink. Only what has passed a
`Verifier` counts as the object.
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
    """A `Sink` that can take back what was written to it."""

    def __call__(self, data: memoryview, /) -> None:
        """Append."""

    def restart(self) -> None:
        """Forget all of it: it was wrong."""


def pump(source: Readable, verifier: Verifier, sink: Sink, *, small: int = SMALL) -> int:
    """Move one object to `sink`; returns its size in bytes.

    Up to `small` bytes nothing is written before the whole is verified. Of a larger object the
    last `CHUNK` or more is withheld until then, so that a wrong object is never complete
    (design, "The pipe"). Raises what reading, verifying or `sink` raises.
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
    """The object in pieces of `CHUNK` bytes (the last is shorter), each noted by `verifier`.

    Buffers come from `free` where there are any. A chunk given back there has been hashed: the
    verifier took its successor.
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
