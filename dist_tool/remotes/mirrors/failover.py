"""Failover for one object: which mirror to try next, and which mirrors to exclude."""

from __future__ import annotations

from collections.abc import Sequence

from dist_tool.errors import Cancelled, DataLoss, DeadlineExceeded, DigestMismatch, DistError, SizeMismatch
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.mirrors.mirror import FailureLog, Mirror
from dist_tool.run import Run
from dist_tool.stream.body import Body
from dist_tool.stream.retry import counted_apart

# Mirrors that served wrong content, by digest. The same mirror may serve other objects correctly.
BadContent = dict[tuple[Digest, Mirror], DistError]


class Failover:
    """Failover state of one transfer; see `transfer.sources.Search`.

    `bad_content` has the mirrors that are known to serve wrong content; new ones are added.

    If a mirror cannot be opened or fails midway, the next one continues at the same byte. When
    all have failed, those with a retryable error are tried again: such a round counts as one
    failure of the transfer. If the object is wrong and several mirrors contributed to it, the
    culprit is unknown: each is tried once alone, from byte 0. A mirror that fails alone is
    excluded, so the transfer terminates.
    """

    def __init__(self, desc: Descriptor, mirrors: Sequence[Mirror], bad_content: BadContent, run: Run) -> None:
        self._desc = desc
        self._mirrors = mirrors
        self._bad_content = bad_content
        self._log = FailureLog(run.report)
        self._failed: dict[Mirror, DistError] = {}  # in this round
        self._excluded: set[Mirror] = set()  # for the rest of the transfer
        self._isolated: list[Mirror] = []  # to be tried alone; the first one is current
        self._contributors: list[Mirror | None] = []  # sources of the bytes so far; None is an earlier session
        self._started: set[Mirror] = set()  # opened since the start or the last rejection
        self._current: tuple[Mirror, Body] | None = None
        self._exhausted = False
        for mirror in mirrors:
            if error := bad_content.get((desc.digest, mirror)):
                self._log.note(mirror, error)
                self._excluded.add(mirror)

    def open(self, offset: int) -> Body:
        """See `transfer.sources.Search`. Raises the error of the name's own endpoint, with all attempts."""
        if self._exhausted:
            self._exhausted = False
            self._failed = {mirror: error for mirror, error in self._failed.items() if not error.retryable}
        if offset == 0:
            self._contributors = []
        elif not self._contributors:
            self._contributors = [None]
        for mirror in self._untried():
            try:
                with counted_apart(mirror):  # switching mirrors is not a retry
                    body = mirror.remote.open(self._desc, offset)
            except Cancelled:
                raise
            except DistError as error:
                self._failed[mirror] = error
                self._log.note(mirror, error)
                continue
            self._contributors.append(mirror)
            self._started.add(mirror)
            self._current = mirror, body
            return body
        return self._end_round()

    def _eligible(self) -> list[Mirror]:
        return self._isolated[:1] or [mirror for mirror in self._mirrors if mirror not in self._excluded]

    def _untried(self) -> list[Mirror]:
        return [mirror for mirror in self._eligible() if mirror not in self._failed]

    def _end_round(self) -> Body:
        """Handle the failure of all eligible mirrors.

        If one of them had started and its error is retryable, the returned body raises that error,
        so that the transfer decides about another round.
        """
        self._exhausted = True
        for mirror in self._eligible():
            error = self._failed[mirror]
            if mirror in self._started and error.retryable:
                return _FailedBody(error)
        raise self._failure()

    def lost(self, error: DistError, body: Body, ended: bool) -> bool:
        """A mirror's body failed: the next `open` tries another one, and a round of all counts as one failure.

        Wrong content is handled by `reject`.
        """
        if self._current is None or self._current[1] is not body:
            return False  # content that came with the descriptor, or the error of a round
        if isinstance(error, (DataLoss, DeadlineExceeded, Cancelled)):
            return False
        mirror = self._current[0]
        if ended and body.total is None and self._desc.size is None and len(set(self._contributors)) > 1:
            # Too short only by the bytes or the declared size of other sources, which may be wrong.
            raise DigestMismatch(error.what) from error
        self._failed[mirror] = error
        if self._untried():
            self._log.note(mirror, error, "info", f"{mirror.name}: {error.what}; trying another endpoint")
        else:
            self._log.note(mirror, error)
        return True

    def reject(self, error: DistError) -> None:
        """See `transfer.sources.Search`."""
        logged = self._exhausted
        if isinstance(error, (DeadlineExceeded, Cancelled)) or not (logged or (error.elsewhere and self._contributors)):
            raise error
        if self._isolated:
            mirror = self._isolated.pop(0)
            self._exclude(mirror, self._failed[mirror] if logged else error)
        elif logged:
            raise self._failure() from error
        elif self._is_splice(error):
            self._isolate(error)
        else:
            self._exclude(next(mirror for mirror in reversed(self._contributors) if mirror is not None), error)
        self._restart()
        if not self._untried():
            raise self._failure() from error

    def _is_splice(self, error: DistError) -> bool:
        """True if several sources may be to blame. An earlier session cannot cause a wrong size."""
        parts = set(self._contributors) - ({None} if isinstance(error, SizeMismatch) else set())
        return isinstance(error, DataLoss) and len(parts) > 1

    def _exclude(self, mirror: Mirror, error: DistError) -> None:
        self._excluded.add(mirror)
        if isinstance(error, DigestMismatch):
            self._bad_content[self._desc.digest, mirror] = error
            text = f"{mirror.name} served wrong content for {self._desc.digest}: {error.what}"
            self._log.note(mirror, error, "warning", text)
        elif not self._exhausted:  # else it is logged already
            self._log.note(mirror, error, "info")

    def _isolate(self, error: DistError) -> None:
        """Schedule each contributor of wrong content to be tried alone: any of them may be the culprit."""
        self._isolated = list(dict.fromkeys(mirror for mirror in self._contributors if mirror is not None))
        names = [mirror.name for mirror in self._isolated]
        if self._contributors[0] is None:
            names.insert(0, "an earlier session")
        text = f"content combined from {' and '.join(names)}: {error.what}"
        self._log.add(text, "info", f"{text}; trying each endpoint alone")

    def _restart(self) -> None:
        """Prepare for another try from byte 0.

        Clears the retryable errors of the mirrors that had started, and any error of the isolated one.
        """
        again = [mirror for mirror in self._started if mirror in self._failed and self._failed[mirror].retryable]
        for mirror in (*again, *self._isolated[:1]):
            self._failed.pop(mirror, None)
        self._contributors, self._started, self._exhausted = [], set(), False

    def _failure(self) -> DistError:
        return self._log.failure(self._mirrors, "serve content")


class _FailedBody(Body):
    """A body that raises the last round's error."""

    def __init__(self, error: DistError) -> None:
        super().__init__()
        self._error = error

    def readinto(self, view: memoryview) -> int:  # noqa: ARG002
        """Raise the error."""
        raise self._error
