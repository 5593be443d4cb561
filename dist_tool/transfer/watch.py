"""Progress: a source that tells how far it is."""

from __future__ import annotations

from dist_tool.api import Event, Progress, unseen
from dist_tool.stream import Readable, ResumingReader


class Watched:
    """A source whose every read becomes an `Event`; `ref` names the object there."""

    def __init__(self, source: ResumingReader, ref: str, progress: Progress) -> None:
        self._source = source
        self._ref = ref
        self._progress = progress
        self._resumed = source.offset
        self._tell("started")

    def _tell(self, state: str) -> None:
        self._progress(Event(self._ref, self._source.offset, self._source.total, state, self._resumed))

    def readinto(self, view: memoryview, /) -> int:
        """Fill a part of `view`; 0 at the end."""
        got = self._source.readinto(view)
        self._tell("moving")
        return got

    def reopen_past_end(self) -> bool:
        """See `ResumingReader`."""
        return self._source.reopen_past_end()

    def close(self) -> None:
        """Let go of the source. Idempotent."""
        self._source.close()


def watched(source: ResumingReader, ref: str, progress: Progress) -> Readable:
    """`source`, watched where anybody watches."""
    return source if progress is unseen else Watched(source, ref, progress)
