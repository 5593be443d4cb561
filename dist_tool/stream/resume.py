"""Reading one object from a source that may be cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dist_tool.errors import Cancelled, DigestMismatch, DistError, LimitExceeded, ProtocolError, SizeMismatch, Truncated
from dist_tool.oci.digest import Digest
from dist_tool.run import NO_RUN, Notice, Run
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.retry import Attempts, Retry, received
from dist_tool.stream.verify import Verifier

_PROGRESS = 1 << 20  # bytes that count as progress between two failures (behaviours B40)


class PartialHash(Protocol):
    """What `ResumingReader` must know of those who take its bytes: a `Verifier`, or a writer's stand-in."""

    digest: Digest | None
    size: int | None
    source: str

    def snapshot(self) -> tuple[int, bytes]:
        """How many bytes were taken, and their hash so far."""


Lost = Callable[[DistError, Body, bool], bool]


def _never(error: DistError, body: Body, ended: bool) -> bool:  # noqa: ARG001  the signature of `Lost`
    return False


class ResumingReader:
    """One object's bytes from a source that may be cut: reopens at the offset reached.

    `reopen(offset)` starts again at the source's front door (fresh authorisation, fresh
    redirect: behaviours B24) and returns a Body that begins at `offset` or earlier; earlier
    bytes are skipped after comparing them with those that went by (B26). What `reopen` raises
    is final: a source does its own retries. `limit` in bytes bounds the whole object.

    `lost(error, body, ended)` is called when a body could not be read on; `ended`: it did not
    fail, it was shorter than expected. It returns True if the next `reopen` asks another source,
    or if the caller counts the failure: then it is no further attempt here.
    """

    def __init__(
        self,
        reopen: Callable[[int], Body],
        verifier: PartialHash,
        retry: Retry,
        *,
        run: Run = NO_RUN,
        limit: int | None = None,
        lost: Lost = _never,
    ) -> None:
        self._reopen = reopen
        self._lost = lost
        self._ended = False
        self._verifier = verifier
        # The judge may lag behind by what is buffered. A digest makes up for that at the end;
        # without one, what is compared after a cut must be every byte that went by.
        self._seen = None if verifier.digest else Verifier(None)
        self._attempts = Attempts(retry, run)
        self._run = run
        self._limit = limit
        self._body: Body | None = None
        self._mark = 0
        self._asked_past_end = False
        self._restarted = False
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
            with self._attempts:
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
        self._body, self._ended = body, False
        self._restarted = body.offset < self.offset
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
        self._run.check()
        with self._attempts:
            while True:
                body = self._body or self._connect()
                try:
                    if body.offset < self.offset:
                        self._skip(body)
                    return self._read(body, view)
                except DistError as error:
                    self._leave(body, error)

    def _leave(self, body: Body, error: DistError) -> None:
        """Let go of a body that came to `error`. Waits before another try of it; raises where there is to be none."""
        self.close()
        if self._restarted and self._ended:
            error = error.with_(retryable=False)  # it began again, and came to an end again: there is no more of it
        if self.offset - self._mark >= _PROGRESS:
            self._attempts.progressed()
            self._mark = self.offset
        if not self._lost(error, body, self._ended):
            self._attempts.failed(error)

    def _read(self, body: Body, view: memoryview) -> int:
        got = body.readinto(view)
        received(got)
        self._ended = not got
        if self._ended and self._declared is not None and self.offset < self._declared:
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
                self._ended = True
                raise Truncated(f"{body.source} ended after {body.offset} bytes, {self.offset} were there before")
            received(got)
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
            with self._attempts:
                self._leave(self._body, self._truncated(self._body))
            return True
        if self.total is not None or self._asked_past_end:
            return False
        self._asked_past_end = True
        self.close()
        self._run.report(Notice("info", "the connection ended before the content did; asking for the rest"))
        try:
            self.open()
        except Cancelled:
            raise
        except DistError:
            return False
        total: int | None = self.total  # known now, if the source told
        return total is not None and total > self.offset

    def close(self) -> None:
        """Let go of the source. Idempotent."""
        if self._body is not None:
            self._body.close()
            self._body = None
