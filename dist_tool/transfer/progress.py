"""Progress: a source that tells how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from dist_tool.errors import AlreadyExists
from dist_tool.run import Event, Progress, no_progress
from dist_tool.stream.body import Readable
from dist_tool.stream.resume import ResumingReader


class ProgressReader:
    """A source whose every read becomes an `Event`; `ref` names the object there."""

    def __init__(self, source: ResumingReader, ref: str, progress: Progress) -> None:
        self._over = False
        self._source = source
        self._ref = ref
        self._progress = progress
        self._resumed = source.offset
        self._tell("started")

    def _tell(self, state: str) -> None:
        self._progress(Event(self._ref, self._source.offset, self._source.total, state, self._resumed))

    def readinto(self, view: memoryview, /) -> int:
        """Fill a part of `view`; 0 at the end."""
        try:
            got = self._source.readinto(view)
        except BaseException:
            self.failed()
            raise
        self._tell("moving")
        return got

    def reopen_past_end(self) -> bool:
        """See `ResumingReader`."""
        try:
            return self._source.reopen_past_end()
        except BaseException:
            self.failed()
            raise

    def failed(self) -> None:
        """Tell, once, that there will be no more."""
        if not self._over:
            self._over = True
            self._tell("failed")

    def close(self) -> None:
        """Let go of the source. Idempotent."""
        self._source.close()


@contextmanager
def with_progress(source: ResumingReader, ref: str, progress: Progress) -> Iterator[Readable]:
    """`source`, with_progress where anybody watches, and closed at the end.

    Where the block ends by an exception, that is the end of the object for those who watch too.
    """
    with closing(progress_reader(source, ref, progress)) as seen:
        try:
            yield seen
        except AlreadyExists:  # no failure: another had it first
            raise
        except BaseException:
            if isinstance(seen, ProgressReader):
                seen.failed()
            raise


def progress_reader(source: ResumingReader, ref: str, progress: Progress) -> Readable:
    """`source`, with_progress where anybody watches, for whoever closes it."""
    return source if progress is no_progress else ProgressReader(source, ref, progress)
