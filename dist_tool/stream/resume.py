"""Reading one object with resume: a cut body is reopened at the offset reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dist_tool.errors import Cancelled, DigestMismatch, DistError, LimitExceeded, ProtocolError, SizeMismatch, Truncated
from dist_tool.oci.digest import Digest
from dist_tool.run import NO_RUN, Notice, Run
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.retry import Attempts, Retry, received
from dist_tool.stream.verify import Verifier

_PROGRESS = 1 << 20  # bytes between two failures that count as progress (behaviours B40)


class PartialHash(Protocol):
    """The hash of the bytes delivered so far: a `Verifier`, or an adapter of a writer."""

    digest: Digest | None
    size: int | None
    source: str

    def snapshot(self) -> tuple[int, bytes]:
        """The number of bytes hashed, and their hash."""


Lost = Callable[[DistError, Body, bool], bool]


def _never(error: DistError, body: Body, ended: bool) -> bool:  # noqa: ARG001  the signature of `Lost`
    return False


class ResumingReader:
    """Reader of one object that reopens its source at the offset reached after a cut.

    `reopen(offset)` repeats the first request (fresh authorization, fresh redirect: behaviours
    B24) and returns a Body that begins at `offset` or earlier; earlier bytes are compared with
    those already delivered, then skipped (B26). Errors of `reopen` are final: a source does its
    own retries. `limit` in bytes bounds the whole object.

    `lost(error, body, ended)` is called when a body fails; `ended` means that it did not fail but
    was shorter than expected. It returns True if the next `reopen` uses another source, or if the
    caller counts the failure: then it does not count as an attempt here.
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
        # The verifier may lag behind by what is buffered. With a digest, the check at the end makes
        # up for that; without one, every delivered byte must be compared after a cut.
        self._delivered = None if verifier.digest else Verifier(None)
        self._attempts = Attempts(retry, run)
        self._run = run
        self._limit = limit
        self._body: Body | None = None
        self._progress_offset = 0
        self._reopened_past_end = False
        self._restarted = False
        self._declared: int | None = None
        self.offset = 0
        self.media_type = ""

    @property
    def total(self) -> int | None:
        """The size of the object in bytes: as declared by a source, else as expected."""
        return self._verifier.size if self._declared is None else self._declared

    def start_at(self, offset: int) -> None:
        """Begin at `offset`: the bytes before it were received in an earlier session."""
        self.offset = self._progress_offset = offset

    def open(self) -> None:
        """Make the first request now, to fail early.

        Raises SizeMismatch if the source declares another size than expected (B17),
        LimitExceeded if it declares more than the limit, and the errors of `reopen`.
        """
        if self._body is None:
            with self._attempts:
                self._connect()

    def _connect(self) -> Body:
        body = self._reopen(self.offset)
        if self.offset == 0:
            self._declared = None  # its source has delivered nothing
        try:
            self._accept(body)
        except BaseException:
            body.close()
            raise
        self._body, self._ended = body, False
        self._restarted = body.offset < self.offset
        return body

    def _accept(self, body: Body) -> None:
        """Compare the offset and size that the source declares with the expected ones."""
        self._verifier.source = body.source or self._verifier.source
        self.media_type = body.media_type
        self._limit = min((limit for limit in (self._limit, body.limit) if limit is not None), default=None)
        if body.offset > self.offset:
            raise ProtocolError(f"{body.source} answered from byte {body.offset}, requested from {self.offset}")
        if body.total is None:
            return
        if self.total is not None and body.total != self.total:
            raise SizeMismatch(f"{body.source} declares {body.total} bytes, expected {self.total}")
        if body.total < self.offset:
            raise DigestMismatch(f"{body.source} has {body.total} bytes, but {self.offset} were received before")
        self._check_limit(body.total, body)
        self._declared = body.total

    def _check_limit(self, size: int, body: Body) -> None:
        if self._limit is not None and size > self._limit:
            hint = "" if self._limit == body.limit else "see --max-size"
            raise LimitExceeded(f"{body.source}: more than the limit of {self._limit} bytes", hint=hint)

    def readinto(self, view: memoryview, /) -> int:
        """Read bytes into `view`; returns their number, 0 at the end of the object. Raises if no attempt is left."""
        self._run.check()
        with self._attempts:
            while True:
                body = self._body or self._connect()
                try:
                    if body.offset < self.offset:
                        self._skip(body)
                    return self._read(body, view)
                except DistError as error:
                    self._drop(body, error)

    def _drop(self, body: Body, error: DistError) -> None:
        """Close a body that failed with `error`. Waits before the next attempt; raises if there is none."""
        self.close()
        if self._restarted and self._ended:
            error = error.with_(retryable=False)  # the reopened body is too short as well
        if self.offset - self._progress_offset >= _PROGRESS:
            self._attempts.progressed()
            self._progress_offset = self.offset
        if not self._lost(error, body, self._ended):
            self._attempts.failed(error)

    def _read(self, body: Body, view: memoryview) -> int:
        got = body.readinto(view)
        received(got)
        self._ended = not got
        if self._ended and self._declared is not None and self.offset < self._declared:
            raise self._truncated(body)
        if self._delivered is not None:
            self._delivered.update(view[:got])
        self.offset += got
        body.offset += got
        self._check_limit(self.offset, body)
        return got

    def _truncated(self, body: Body) -> Truncated:
        return Truncated(f"{body.source} ended after {self.offset} of {self.total} bytes")

    def _skip(self, body: Body) -> None:
        """Skip the bytes that were delivered already, comparing them with the new ones."""
        count, digest = (self._delivered or self._verifier).snapshot()
        comparable = body.offset == 0
        check = Verifier(self._verifier.digest)
        buffer = memoryview(bytearray(CHUNK))
        while body.offset < self.offset:
            end = count if body.offset < count else self.offset
            got = body.readinto(buffer[: min(CHUNK, end - body.offset)])
            if not got:
                self._ended = True
                raise Truncated(f"{body.source} ended after {body.offset} bytes; {self.offset} were received before")
            received(got)
            check.update(buffer[:got])
            body.offset += got
            if comparable and body.offset == count and check.snapshot()[1] != digest:
                raise DigestMismatch(f"{body.source} returned other bytes than before for the same object")

    def reopen_past_end(self) -> bool:
        """Continue after an end that may be a cut, because no length was declared; True if there may be more.

        Call it only if the digest shows that bytes are missing. An end before the expected size is an
        ordinary cut, and raises as `readinto` does. If no size is expected, the rest is requested
        once: a source without more bytes returns an empty body or an error.
        """
        if self._body is not None and self._declared is None and self.offset < (self.total or 0):
            with self._attempts:
                self._drop(self._body, self._truncated(self._body))
            return True
        if self.total is not None or self._reopened_past_end:
            return False
        self._reopened_past_end = True
        self.close()
        self._run.report(Notice("info", "the connection closed before the end of the content; requesting the rest"))
        try:
            self.open()
        except Cancelled:
            raise
        except DistError:
            return False
        total: int | None = self.total  # now known if the source declared it
        return total is not None and total > self.offset

    def close(self) -> None:
        """Close the body. Idempotent."""
        if self._body is not None:
            self._body.close()
            self._body = None
