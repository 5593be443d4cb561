"""Several places for one name, of any kind: asked in order, left when they fail, even midway.

A digest is the same from everywhere, so any place may give its bytes; what a tag means is asked
only where that is trusted (behaviours B50, D3, D13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from threading import Lock, get_ident
from typing import Any, TypeVar

from dist_tool.api import Closable, Listable, Notice, Referring, Remote, Report, unheard
from dist_tool.errors import DistError, InvalidArgument, Truncated, Unsupported
from dist_tool.spec.descriptor import Descriptor
from dist_tool.spec.digest import Digest
from dist_tool.spec.mediatypes import OCTET_STREAM
from dist_tool.spec.reference import Hints, parse_object
from dist_tool.stream import Body, as_body

_T = TypeVar("_T")


class Place:
    """One place, opened when it is first asked. `name` is for messages."""

    def __init__(self, name: str, opener: Callable[[], Remote], capabilities: Iterable[str]) -> None:
        self.name = name
        self.capabilities = frozenset(capabilities)
        self._opener = opener
        self._opening = Lock()
        self._opened: Any = None

    @property
    def remote(self) -> Remote:
        """The remote itself, one for all threads. Raises what opening raises."""
        with self._opening:
            if self._opened is None:
                self._opened = self._opener()
            remote: Remote = self._opened
        return remote

    def close(self) -> None:
        """Close it, if it was opened."""
        if isinstance(self._opened, Closable):
            self._opened.close()


class MirroredRemote:
    """Places in the order in which they are asked; the last is the one that the name means. Thread-safe."""

    def __init__(self, places: Sequence[Place], report: Report = unheard) -> None:
        self._places = places
        self._report = report
        # By digest: which places failed for it, and how. What failed for one object may have another.
        self._failed: dict[Digest, dict[Place, DistError]] = {}
        self._guard = Lock()
        # Of each thread its own: two that want the same object may have it from different places.
        self._latest: dict[tuple[int, Digest], Place] = {}

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a tag or digest; see `api.Resolver`.

        A digest that will be read is not asked about anywhere.
        """
        digest = _digest_of(object_id)
        if digest is not None and hints.content:
            digest.hasher()
            return Descriptor(digest, hints.size, hints.media_type() or OCTET_STREAM)
        needed = "resolve" if digest is None else "pull"
        return self._first(needed, f"resolve {object_id}", lambda remote: remote.resolve(object_id, hints))

    def _first(self, capability: str, doing: str, ask: Callable[[Remote], _T]) -> _T:
        """The answer of the first place that has one. Raises the last place's error, naming all."""
        history: list[str] = []
        failure: DistError | None = None
        for place in self._able(capability):
            try:
                return ask(place.remote)
            except DistError as error:
                failure = self._note(place, error, history)
        raise self._all_failed(failure, history, doing)

    def _able(self, capability: str) -> list[Place]:
        return [place for place in self._places if capability in place.capabilities]

    def _note(self, place: Place, error: DistError, history: list[str]) -> DistError:
        history.append(f"{place.name}: {error.what}")
        self._report(Notice("debug", f"{place.name}: {error.what}"))
        return error

    def _all_failed(self, failure: DistError | None, history: list[str], doing: str) -> DistError:
        """The error of the place that the name means, with every attempt (D13)."""
        if failure is None:
            return Unsupported(f"no place is configured that may {doing}")
        failure = copy(failure)  # the original is remembered, and whoever catches this one adds to it
        failure.attempts = tuple(history)
        if len(history) > 1:
            failure.hint = failure.hint or f"{len(history)} places were asked; -v or --error-format json tells of each"
        return failure

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of an object from `offset`, from the first place that gives them.

        A place that failed for this object is passed over until all have; then those whose
        failure may pass are asked again.
        """
        failed = self._failures(desc.digest)
        history = [f"{place.name}: {error.what}" for place, error in failed.items()]
        failure: DistError | None = next(reversed(failed.values()), None)
        for place in self._able("pull"):
            if place in failed:
                continue
            try:
                body = as_body(place.remote.open(desc, offset), offset, place.name)
            except DistError as error:
                failure = self._note(place, error, history)
                self._fail(desc.digest, place, error)
                continue
            self._latest[get_ident(), desc.digest] = place
            return _Tracked(body, lambda error, place=place: self._lost(desc.digest, place, error))  # type: ignore[misc]
        raise self._all_failed(failure, history, "give content")

    def _failures(self, digest: Digest) -> dict[Place, DistError]:
        """Which places failed for an object; where all have, without those that may do now."""
        with self._guard:
            failed = self._failed.setdefault(digest, {})
            if all(place in failed for place in self._able("pull")):
                for place in [place for place, error in failed.items() if error.retryable]:
                    del failed[place]
            return failed.copy()

    def _fail(self, digest: Digest, place: Place, error: DistError) -> None:
        with self._guard:
            self._failed.setdefault(digest, {})[place] = error

    def _lost(self, digest: Digest, place: Place, error: DistError) -> DistError:
        """A place failed midway. The transfer goes on wherever the rest can be had."""
        self._fail(digest, place, error)
        self._report(Notice("info", f"{place.name}: {error.what}; going on elsewhere"))
        return error if error.retryable else Truncated(error.what)

    def reject(self, digest: Digest, error: DistError) -> bool:
        """Take note that what came last for `digest`, in this thread, was wrong; True where others can be asked.

        Wrong bytes are not a matter of trying again: that place is done with, for this object.
        """
        place = self._latest.pop((get_ident(), digest), None)
        if place is None:
            return False
        self._fail(digest, place, error)
        self._report(Notice("warning", f"{place.name} gives wrong content for {digest}: {error.what}"))
        with self._guard:
            return any(other not in self._failed[digest] for other in self._able("pull"))

    def tags(self) -> Iterator[str]:
        """Every tag, from the first place that may resolve and lists."""
        return iter(self._first("resolve", "list tags", lambda remote: list(_power(remote, Listable).tags())))

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Manifests that refer to `subject`, from the first place that knows referrers."""

        def ask(remote: Remote) -> list[Descriptor]:
            return list(_power(remote, Referring).referrers(subject, artifact_type))

        return iter(self._first("referrers", "list referrers", ask))

    def close(self) -> None:
        """Close every place."""
        for place in self._places:
            place.close()


def _power(remote: Any, power: Any) -> Any:
    if not isinstance(remote, power):
        raise Unsupported(f"{type(remote).__name__} cannot do that")
    return remote


def _digest_of(object_id: str) -> Digest | None:
    try:
        return parse_object(object_id).digest
    except InvalidArgument:
        return None  # a reference name of a layout: its place decides


class _Tracked(Body):
    """A body that tells when it fails."""

    def __init__(self, body: Body, lost: Callable[[DistError], DistError]) -> None:
        super().__init__(offset=body.offset, total=body.total, source=body.source, media_type=body.media_type)
        self.limit = body.limit
        self._body = body
        self._lost = lost
        self._left = None if body.total is None else body.total - body.offset

    def readinto(self, view: memoryview) -> int:
        """Fill a part of `view`; 0 at the end. A premature end counts as a failure here."""
        try:
            got = self._body.readinto(view)
            if self._left is not None:
                self._left -= got
                if not got and self._left > 0:
                    raise Truncated(f"{self.source} ended {self._left} bytes early")
        except DistError as error:
            raise self._lost(error) from error
        return got

    def close(self) -> None:
        """Let go of the source. Idempotent."""
        self._body.close()
