"""Bytes in flight: raw bodies, resuming over cuts, verifying, and the pump to the output.

The order is always source -> `ResumingReader` -> `Verifier` -> sink. Only what has passed a
`Verifier` counts as the object.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import IO, Protocol, cast, runtime_checkable

from dist_tool.api import Notice, Report, unheard
from dist_tool.errors import DigestMismatch, DistError, LimitExceeded, ProtocolError, SizeMismatch, Truncated
from dist_tool.retry import Attempts, Retry
from dist_tool.spec.digest import Digest
from dist_tool.verifier import Verifier

CHUNK = 1 << 20  # bytes moved at a time; also what is withheld until the whole is verified
SMALL = 4 << 20  # objects up to this size are verified before their first byte is written
_PROGRESS = 1 << 20  # bytes that count as progress between two failures (behaviours B40)


class File(Protocol):
    """What a `Body` reads from, a binary file or a part of one."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""

    def close(self) -> None:
        """Let go."""


class Body:
    """Raw, unverified bytes of one object, with what their source declares of them.

    `offset` is where in the object the next byte lies; `total` the size of the whole object
    in bytes, None where the source does not say; `limit` the most bytes that such an object may
    have, None for any; `source` names the place for messages. `validator` is what the source
    needs to know, when it opens the same name again, that it is still the same: "" for nothing.
    `lost` is told what ended the body too early; True means that to open again is to ask another
    place, or is counted by whoever is told: it is no further try of this one. `ended`: it has not
    failed, there was no more of it.
    """

    limit: int | None = None
    validator: str = ""
    ended = False
    lost: Callable[[DistError], bool] | None = None

    def __init__(
        self,
        file: File | None = None,
        *,
        offset: int = 0,
        total: int | None = None,
        source: str = "",
        media_type: str = "",
    ) -> None:
        self._file = file
        self.offset = offset
        self.total = total
        self.source = source
        self.media_type = media_type

    def readinto(self, view: memoryview) -> int:
        """Fill a part of `view` with what is there; 0 at the end, and only there.

        Raises Truncated where the file cannot be read on.
        """
        if self._file is None:
            return 0
        try:
            data = self._file.read(len(view))
        except OSError as error:
            raise Truncated(f"{self.source}: {error.strerror or error}") from error
        view[: len(data)] = data
        return len(data)

    def reopen_past_end(self) -> bool:
        """False: an end that is declared or local is the end."""
        return False

    def close(self) -> None:
        """Let go of the source. Idempotent."""
        if self._file is not None:
            self._file.close()


def as_body(raw: IO[bytes] | Body, offset: int, source: str = "the remote") -> Body:
    """What a fetcher returned, as a Body: a plain binary file begins where it was asked to."""
    return raw if isinstance(raw, Body) else Body(raw, offset=offset, source=source)


class Readable(Protocol):
    """Where `pump` and `VerifiedReader` read from."""

    def readinto(self, view: memoryview, /) -> int:
        """Fill a part of `view`; 0 at the end."""

    def reopen_past_end(self) -> bool:
        """True where the end may have been a silent cut and there is more to read."""

    def close(self) -> None:
        """Let go."""


class Judge(Protocol):
    """What `ResumingReader` must know of those who take its bytes: a `Verifier`, or a writer's stand-in."""

    digest: Digest | None
    size: int | None
    source: str

    def snapshot(self) -> tuple[int, bytes]:
        """How many bytes were taken, and their hash so far."""


class ResumingReader:
    """One object's bytes from a source that may be cut: reopens at the offset reached.

    `reopen(offset)` starts again at the source's front door (fresh authorisation, fresh
    redirect: behaviours B24) and returns a Body that begins at `offset` or earlier; earlier
    bytes are skipped after comparing them with those that went by (B26). What `reopen` raises
    is final: a source does its own retries. `limit` in bytes bounds the whole object.
    """

    def __init__(
        self,
        reopen: Callable[[int], Body],
        verifier: Judge,
        retry: Retry,
        *,
        report: Report = unheard,
        limit: int | None = None,
    ) -> None:
        self._reopen = reopen
        self._verifier = verifier
        # The judge may lag behind by what is buffered. A digest makes up for that at the end;
        # without one, what is compared after a cut must be every byte that went by.
        self._seen = None if verifier.digest else Verifier(None)
        self._attempts = Attempts(retry, report)
        self._report = report
        self._limit = limit
        self._body: Body | None = None
        self._mark = 0
        self._asked_past_end = False
        self._declared: int | None = None
        self.offset = 0
        self.media_type = ""

    @property
    def total(self) -> int | None:
        """The size of the whole in bytes: what a source declared, else what is expected."""
        return self._verifier.size if self._declared is None else self._declared

    def start_at(self, offset: int) -> None:
        """Begin at `offset`: what is before it was taken in an earlier session."""
        self.offset = self._mark = offset

    def open(self) -> None:
        """Make the first request now, so that what can fail early does.

        Raises SizeMismatch where the source declares another size than expected (B17),
        LimitExceeded where it declares more than the limit, and what opening raises.
        """
        if self._body is None:
            self._connect()

    def _connect(self) -> Body:
        body = self._reopen(self.offset)
        if self.offset == 0:
            self._declared = None  # whoever declared it has given nothing
        try:
            self._admit(body)
        except BaseException:
            body.close()
            raise
        self._body = body
        return body

    def _admit(self, body: Body) -> None:
        """Compare what the source declares with what is known already."""
        self._verifier.source = body.source or self._verifier.source
        self.media_type = body.media_type
        self._limit = min((limit for limit in (self._limit, body.limit) if limit is not None), default=None)
        if body.offset > self.offset:
            raise ProtocolError(f"{body.source} answered from byte {body.offset} on, asked from {self.offset}")
        if body.total is None:
            return
        if self.total is not None and body.total != self.total:
            raise SizeMismatch(f"{body.source} declares {body.total} bytes, expected {self.total}")
        if body.total < self.offset:
            raise DigestMismatch(f"{body.source} has {body.total} bytes, {self.offset} were there before")
        self._bound(body.total, body)
        self._declared = body.total

    def _bound(self, size: int, body: Body) -> None:
        if self._limit is not None and size > self._limit:
            hint = "" if self._limit == body.limit else "see --max-size"
            raise LimitExceeded(f"{body.source}: more than the limit of {self._limit} bytes", hint=hint)

    def readinto(self, view: memoryview, /) -> int:
        """Fill a part of `view`; 0 at the end of the object. Raises when it is cut for good."""
        while True:
            body = self._body or self._connect()
            try:
                if body.offset < self.offset:
                    self._skip(body)
                return self._read(body, view)
            except DistError as error:
                self._lose(body, error)

    def _lose(self, body: Body, error: DistError) -> None:
        """Let go of a body that came to `error`. Waits before another try of it; raises where there is to be none."""
        self.close()
        if self.offset - self._mark >= _PROGRESS:
            self._attempts.progressed()
            self._mark = self.offset
        if body.lost is None or not body.lost(error):
            self._attempts.failed(error)

    def _read(self, body: Body, view: memoryview) -> int:
        got = body.readinto(view)
        body.ended = not got
        if body.ended and self._declared is not None and self.offset < self._declared:
            raise self._truncated(body)
        if self._seen is not None:
            self._seen.update(view[:got])
        self.offset += got
        body.offset += got
        self._bound(self.offset, body)
        return got

    def _truncated(self, body: Body) -> Truncated:
        return Truncated(f"{body.source} ended after {self.offset} of {self.total} bytes")

    def _skip(self, body: Body) -> None:
        """Read past what was delivered already, and see that it is the same."""
        count, digest = (self._seen or self._verifier).snapshot()
        comparable = body.offset == 0
        check = Verifier(self._verifier.digest)
        buffer = memoryview(bytearray(CHUNK))
        while body.offset < self.offset:
            end = count if body.offset < count else self.offset
            got = body.readinto(buffer[: min(CHUNK, end - body.offset)])
            if not got:
                body.ended = True
                raise Truncated(f"{body.source} ended after {body.offset} bytes, {self.offset} were there before")
            check.update(buffer[:got])
            body.offset += got
            if comparable and body.offset == count and check.snapshot()[1] != digest:
                raise DigestMismatch(f"{body.source} gives other bytes than before for the same object")

    def reopen_past_end(self) -> bool:
        """Where no length was declared, an end may have been a cut: go on, if there may be more.

        To be asked only where the digest says that something is missing. An end before the expected
        size is a cut like any other, and raises as `readinto` does. Where no size is expected, what
        follows is asked for once: a source that has nothing more says so, by an empty body or an error.
        """
        if self._body is not None and self._declared is None and self.offset < (self.total or 0):
            self._lose(self._body, self._truncated(self._body))
            return True
        if self.total is not None or self._asked_past_end:
            return False
        self._asked_past_end = True
        self.close()
        self._report(Notice("info", "the connection ended before the content did; asking for the rest"))
        try:
            self._connect()
        except DistError:
            return False
        total: int | None = self.total  # known now, if the source told
        return total is not None and total > self.offset

    def close(self) -> None:
        """Let go of the source. Idempotent."""
        if self._body is not None:
            self._body.close()
            self._body = None


class VerifiedReader(io.RawIOBase):
    """A binary file that never ends cleanly unless size and digest match.

    What was read before the end is not verified yet: the end is the verdict.
    """

    def __init__(self, source: Readable, verifier: Verifier) -> None:
        self._source = source
        self._verifier = verifier
        self._ended = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Fill a part of `buffer`. Raises DataLoss at the end of a wrong object."""
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
        """Let go of the source. Idempotent."""
        self._source.close()
        super().close()


Sink = Callable[[memoryview], None]


@runtime_checkable
class Draft(Protocol):
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
