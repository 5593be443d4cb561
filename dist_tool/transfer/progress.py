"""Progress events for the reading of an object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from dist_tool.errors import AlreadyExists
from dist_tool.run import Event, Progress, no_progress
from dist_tool.stream.body import Readable
from dist_tool.stream.resume import ResumingReader


class ProgressReader:
    """A source that reports an `Event` for each read; `ref` names the object in it."""

    def __init__(self, source: ResumingReader, ref: str, progress: Progress) -> None:
        self._has_failed = False
        self._source = source
        self._ref = ref
        self._progress = progress
        self._resumed = source.offset
        self._report("started")

    def _report(self, state: str) -> None:
        self._progress(Event(self._ref, self._source.offset, self._source.total, state, self._resumed))

    def readinto(self, view: memoryview, /) -> int:
        """Read bytes into `view`; returns their number, 0 at the end."""
        try:
            got = self._source.readinto(view)
        except BaseException:
            self.failed()
            raise
        self._report("moving")
        return got

    def reopen_past_end(self) -> bool:
        """See `ResumingReader`."""
        try:
            return self._source.reopen_past_end()
        except BaseException:
            self.failed()
            raise

    def failed(self) -> None:
        """Report the failure, once."""
        if not self._has_failed:
            self._has_failed = True
            self._report("failed")

    def close(self) -> None:
        """Close the source. Idempotent."""
        self._source.close()


@contextmanager
def with_progress(source: ResumingReader, ref: str, progress: Progress) -> Iterator[Readable]:
    """`source` with progress events, closed at the end of the block.

    An exception in the block is reported as the failure of the object.
    """
    with closing(progress_reader(source, ref, progress)) as reader:
        try:
            yield reader
        except AlreadyExists:  # not a failure: a concurrent writer was first
            raise
        except BaseException:
            if isinstance(reader, ProgressReader):
                reader.failed()
            raise


def progress_reader(source: ResumingReader, ref: str, progress: Progress) -> Readable:
    """`source` with progress events, or `source` itself if `progress` is a no-op. The caller closes it."""
    return source if progress is no_progress else ProgressReader(source, ref, progress)
