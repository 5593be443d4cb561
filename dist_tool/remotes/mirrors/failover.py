"""One object's way through several places: who is asked next, and who is to be asked no more."""

from __future__ import annotations

from collections.abc import Sequence

from dist_tool.errors import Cancelled, DataLoss, DeadlineExceeded, DigestMismatch, DistError, SizeMismatch
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.mirrors.mirror import FailureLog, Mirror
from dist_tool.run import Run
from dist_tool.stream.body import Body
from dist_tool.stream.retry import counted_apart

# Who gave wrong bytes of what, and which. The same place may have the right ones of another object.
BadContent = dict[tuple[Digest, Mirror], DistError]


class Failover:
    """See `transfer.sources.Search`. `liars` are those that are known; those that are found are added.

    A place that cannot be opened, or dies midway, is left for the next one, at the same byte.
    When all have failed, those whose failure may pass are asked again: that counts as one
    failure of the transfer. Where the whole is wrong and several had a part in it, nobody knows
    who lied: each gets one chance alone, from the beginning. Whoever fails alone is asked no
    more, so that there is an end.
    """

    def __init__(self, desc: Descriptor, places: Sequence[Mirror], liars: BadContent, run: Run) -> None:
        self._desc = desc
        self._places = places
        self._liars = liars
        self._history = FailureLog(run.report)
        self._failed: dict[Mirror, DistError] = {}  # for the time being
        self._gone: set[Mirror] = set()  # for good
        self._alone: list[Mirror] = []  # who gets a chance alone, the first of them now
        self._gave: list[Mirror | None] = []  # whose bytes there are; None is an earlier session
        self._begun: set[Mirror] = set()  # who gave anything, since the beginning or a rejection
        self._current: tuple[Mirror, Body] | None = None
        self._exhausted = False
        for place in places:
            if lie := liars.get((desc.digest, place)):
                self._history.note(place, lie)
                self._gone.add(place)

    def open(self, offset: int) -> Body:
        """See `transfer.sources.Search`. Raises the error of the name's own endpoint, with all attempts."""
        if self._exhausted:
            self._exhausted = False
            self._failed = {place: error for place, error in self._failed.items() if not error.retryable}
        if offset == 0:
            self._gave = []
        elif not self._gave:
            self._gave = [None]
        for place in self._fresh():
            try:
                with counted_apart(place):  # going to another one is no retry
                    body = place.remote.open(self._desc, offset)
            except Cancelled:
                raise
            except DistError as error:
                self._failed[place] = error
                self._history.note(place, error)
                continue
            self._gave.append(place)
            self._begun.add(place)
            self._current = place, body
            return body
        return self._nobody()

    def _eligible(self) -> list[Mirror]:
        return self._alone[:1] or [place for place in self._places if place not in self._gone]

    def _fresh(self) -> list[Mirror]:
        return [place for place in self._eligible() if place not in self._failed]

    def _nobody(self) -> Body:
        """All have failed. Where one of them had begun, and may go on, the transfer decides about another round."""
        self._exhausted = True
        for place in self._eligible():
            error = self._failed[place]
            if place in self._begun and error.retryable:
                return _Failed(error)
        raise self._failure()

    def lost(self, error: DistError, body: Body, ended: bool) -> bool:
        """A body of a mirror failed: the next open asks another one, and a round of all mirrors counts as one failure.

        Wrong content is for `reject`.
        """
        if self._current is None or self._current[1] is not body:
            return False  # content that came with the descriptor, or the error of a round
        if isinstance(error, (DataLoss, DeadlineExceeded, Cancelled)):
            return False
        place = self._current[0]
        if ended and body.total is None and self._desc.size is None and len(set(self._gave)) > 1:
            # Too early by what others gave or declared, who may have lied.
            raise DigestMismatch(error.what) from error
        self._failed[place] = error
        if self._fresh():
            self._history.note(place, error, "info", f"{place.name}: {error.what}; going on elsewhere")
        else:
            self._history.note(place, error)
        return True

    def reject(self, error: DistError) -> None:
        """See `transfer.sources.Search`."""
        told = self._exhausted
        if isinstance(error, (DeadlineExceeded, Cancelled)) or not (told or (error.elsewhere and self._gave)):
            raise error
        if self._alone:
            place = self._alone.pop(0)
            self._drop(place, self._failed[place] if told else error)
        elif told:
            raise self._failure() from error
        elif self._is_splice(error):
            self._suspect(error)
        else:
            self._drop(next(place for place in reversed(self._gave) if place is not None), error)
        self._begin_anew()
        if not self._fresh():
            raise self._failure() from error

    def _is_splice(self, error: DistError) -> bool:
        """Whether several may be to blame. An earlier session has no part in what a place says of a size."""
        parts = set(self._gave) - ({None} if isinstance(error, SizeMismatch) else set())
        return isinstance(error, DataLoss) and len(parts) > 1

    def _drop(self, place: Mirror, error: DistError) -> None:
        self._gone.add(place)
        if isinstance(error, DigestMismatch):
            self._liars[self._desc.digest, place] = error
            text = f"{place.name} gives wrong content for {self._desc.digest}: {error.what}"
            self._history.note(place, error, "warning", text)
        elif not self._exhausted:  # else it is noted already
            self._history.note(place, error, "info")

    def _suspect(self, error: DistError) -> None:
        """Wrong bytes of several: any of them may be the liar, and the one who seems to be may be the honest one."""
        self._alone = list(dict.fromkeys(place for place in self._gave if place is not None))
        names = [place.name for place in self._alone]
        if self._gave[0] is None:
            names.insert(0, "an earlier session")
        text = f"{' and '.join(names)} together: {error.what}"
        self._history.tell(text, "info", f"{text}; asking each alone")

    def _begin_anew(self) -> None:
        """Whoever had begun and may go on can be asked again; so can who is to be alone, however it failed."""
        again = [place for place in self._begun if place in self._failed and self._failed[place].retryable]
        for place in (*again, *self._alone[:1]):
            self._failed.pop(place, None)
        self._gave, self._begun, self._exhausted = [], set(), False

    def _failure(self) -> DistError:
        return self._history.failure(self._places, "give content")


class _Failed(Body):
    """What nobody gives just now."""

    def __init__(self, error: DistError) -> None:
        super().__init__()
        self._error = error

    def readinto(self, view: memoryview) -> int:  # noqa: ARG002
        """Raise what the last round came to."""
        raise self._error
