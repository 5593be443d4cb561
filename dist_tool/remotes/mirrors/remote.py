"""Several places for one name, of any kind: asked in order, left when they fail, even midway.

A digest is the same from everywhere, so any place may give its bytes; what a tag means is asked
only where that is trusted (behaviours B50, D3, D13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from dist_tool.api import Listable, Referring, Remote
from dist_tool.errors import Cancelled, DistError, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.remotes.mirrors.failover import BadContent, Failover
from dist_tool.remotes.mirrors.mirror import FailureLog, Mirror
from dist_tool.run import NO_RUN, Run
from dist_tool.stream.body import Body

_T = TypeVar("_T")


class MirroredRemote:
    """Places in the order in which they are asked; the last is the one that the name means. Thread-safe."""

    def __init__(self, places: Sequence[Mirror], run: Run = NO_RUN) -> None:
        self._places = places
        self._run = run
        self._liars: BadContent = {}

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a tag or digest; see `api.Resolver`.

        A digest that will be read is not asked about anywhere.
        """
        digest = as_digest(object_id)
        if digest is not None and hints.content:
            digest.hasher()
            return Descriptor(digest, hints.size, hints.media_type() or OCTET_STREAM)
        places = self._able("resolve" if digest is None else "pull")
        return self._first(places, f"resolve {object_id}", lambda remote: remote.resolve(object_id, hints), object_id)

    def first(self, object_id: str, ask: Callable[[Remote], _T]) -> _T:
        """See `transfer.sources.Mirrored`: the bytes of a name come only from mirrors that may resolve it (D3)."""
        return self._first(self._able("resolve", "pull"), "give the content of a name", ask, object_id)

    def _first(self, places: Sequence[Mirror], doing: str, ask: Callable[[Remote], _T], object_id: str = "") -> _T:
        """The answer of the first place that has one. Raises the last place's error, naming all."""
        history = FailureLog(self._run.report)
        for place in places:
            try:
                if object_id:
                    place.check(object_id)
                return ask(place.remote)
            except Cancelled:
                raise
            except DistError as error:
                history.note(place, error)
        raise history.failure(places, doing)

    def _able(self, *capabilities: str) -> list[Mirror]:
        return [place for place in self._places if place.capabilities.issuperset(capabilities)]

    def search(self, desc: Descriptor) -> Failover:
        """The places that may give an object; see `transfer.sources.Mirrored`."""
        return Failover(desc, self._able("pull"), self._liars, self._run)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of an object from `offset`, from the first place that gives them."""
        return self.search(desc).open(offset)

    def tags(self) -> Iterator[str]:
        """Every tag, from the first place that may resolve and lists."""
        places = self._able("resolve")
        return iter(self._first(places, "list tags", lambda remote: list(_power(remote, Listable).tags())))

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Manifests that refer to `subject`, from the first place that knows referrers."""

        def ask(remote: Remote) -> list[Descriptor]:
            return list(_power(remote, Referring).referrers(subject, artifact_type))

        return iter(self._first(self._able("referrers"), "list referrers", ask))

    def close(self) -> None:
        """Close every place."""
        for place in self._places:
            place.close()


def _power(remote: Any, power: Any) -> Any:
    if not isinstance(remote, power):
        raise Unsupported(f"{type(remote).__name__} cannot do that")
    return remote
