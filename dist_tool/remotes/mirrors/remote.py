"""A remote with mirrors: several endpoints for one name, tried in order with failover even midway.

Content with a digest is verified, so any mirror may serve it; tags are resolved only by mirrors
trusted to do so (behaviours B50, D3, D13).
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
    """Mirrors in the order in which they are tried; the last is the name's own endpoint. Thread-safe."""

    def __init__(self, mirrors: Sequence[Mirror], run: Run = NO_RUN) -> None:
        self._mirrors = mirrors
        self._run = run
        self._bad_content: BadContent = {}

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a tag or digest; see `api.Resolver`.

        A digest whose content will be read is not looked up.
        """
        digest = as_digest(object_id)
        if digest is not None and hints.content:
            digest.hasher()
            return Descriptor(digest, hints.size, hints.media_type() or OCTET_STREAM)
        mirrors = self._capable("resolve" if digest is None else "pull")
        return self._first(mirrors, f"resolve {object_id}", lambda remote: remote.resolve(object_id, hints), object_id)

    def first(self, object_id: str, ask: Callable[[Remote], _T]) -> _T:
        """See `transfer.sources.Mirrored`: the bytes of a name come only from mirrors that may resolve it (D3)."""
        return self._first(self._capable("resolve", "pull"), "serve content by name", ask, object_id)

    def _first(self, mirrors: Sequence[Mirror], action: str, ask: Callable[[Remote], _T], object_id: str = "") -> _T:
        """Result of `ask` on the first mirror that does not fail. Raises the last one's error, with all attempts."""
        log = FailureLog(self._run.report)
        for mirror in mirrors:
            try:
                if object_id:
                    mirror.check(object_id)
                return ask(mirror.remote)
            except Cancelled:
                raise
            except DistError as error:
                log.note(mirror, error)
        raise log.failure(mirrors, action)

    def _capable(self, *capabilities: str) -> list[Mirror]:
        return [mirror for mirror in self._mirrors if mirror.capabilities.issuperset(capabilities)]

    def search(self, desc: Descriptor) -> Failover:
        """The failover state for an object, over the mirrors that may serve it; see `transfer.sources.Mirrored`."""
        return Failover(desc, self._capable("pull"), self._bad_content, self._run)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of an object from `offset`, from the first mirror that serves them."""
        return self.search(desc).open(offset)

    def tags(self) -> Iterator[str]:
        """Every tag, from the first mirror that may resolve tags and can list them."""
        mirrors = self._capable("resolve")
        return iter(self._first(mirrors, "list tags", lambda remote: list(_power(remote, Listable).tags())))

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Manifests that refer to `subject`, from the first mirror that can list referrers."""

        def ask(remote: Remote) -> list[Descriptor]:
            return list(_power(remote, Referring).referrers(subject, artifact_type))

        return iter(self._first(self._capable("referrers"), "list referrers", ask))

    def close(self) -> None:
        """Close every mirror."""
        for mirror in self._mirrors:
            mirror.close()


def _power(remote: Any, power: Any) -> Any:
    if not isinstance(remote, power):
        raise Unsupported(f"{type(remote).__name__} does not support {power.__name__}")
    return remote
