"""The sources of one object during one transfer: a remote, or the mirrors of a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Protocol, TypeVar, runtime_checkable

from dist_tool.api import Fetcher, Remote
from dist_tool.errors import DigestMismatch, DistError, SizeMismatch, UnexpectedSize
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.stream.body import Body

_NO_HINTS = Hints()
_T = TypeVar("_T")


class Search(Protocol):
    """The sources of one object, for one transfer and one thread."""

    def open(self, offset: int) -> Body:
        """The object's bytes from `offset` or earlier, from the next source that serves them. See `Fetcher.open`."""

    def lost(self, error: DistError, body: Body, ended: bool) -> bool:
        """See `ResumingReader`: True if the failure is counted here or the next `open` uses another source."""

    def reject(self, error: DistError) -> None:
        """Reject the content of `open`, which was wrong or failed with `error`.

        Returns if the object can be requested again from byte 0, else raises the error for the user.
        """


@runtime_checkable
class Mirrored(Protocol):
    """A remote with several sources for an object, such as `remotes.mirrors`."""

    def search(self, desc: Descriptor) -> Search:
        """The sources of an object whose digest is known."""

    def first(self, object_id: str, ask: Callable[[Remote], _T]) -> _T:
        """The result of `ask` for the first mirror that is trusted to resolve names and does not fail.

        Raises the error of the last one.
        """


class Sources:
    """The sources of one object, and the content that came with its descriptor.

    Such content is used without a request if its digest matches (behaviours B19). `hints` are
    the user's: a size that no source confirms is reported as a wrong hint.
    """

    def __init__(self, remote: Fetcher, desc: Descriptor, hints: Hints = _NO_HINTS) -> None:
        self._desc = desc
        bare = replace(desc, data=None)
        self.several = isinstance(remote, Mirrored)
        self._search: Search = remote.search(bare) if isinstance(remote, Mirrored) else _Single(remote, bare)
        self._hint = hints.size
        self._contradiction: SizeMismatch | None = None

    def open(self, offset: int) -> Body:
        """The object's bytes from `offset` or earlier. Raises the errors of the sources."""
        if offset == 0 and (data := self._desc.data) is not None and self._matches(data):
            media_type = self._desc.media_type
            return Body(BytesIO(data), total=len(data), source="the remote", media_type=media_type)
        return self._search.open(offset)

    def _matches(self, data: bytes) -> bool:
        digest = self._desc.digest
        return len(data) == self._desc.size and Digest.of(data, digest.algorithm) == digest

    def lost(self, error: DistError, body: Body, ended: bool) -> bool:
        """See `Search.lost`."""
        return self._search.lost(error, body, ended)

    def reject(self, error: DistError) -> None:
        """See `Search.reject`."""
        if isinstance(error, SizeMismatch):
            self._contradiction = error
        try:
            self._search.reject(error)
        except (DigestMismatch, UnexpectedSize):
            raise
        except DistError as last:
            if self._hint is None or self._contradiction is None or not last.elsewhere:
                raise
            # No source confirms the hint and some contradict it: that is more useful than the last error.
            hint = f"no source confirms size:{self._hint}; check the hint"
            raise self._contradiction.with_(attempts=last.attempts, hint=hint) from last


class _Single:
    """A `Search` with one source. Retries once if wrong content includes bytes of an earlier session."""

    def __init__(self, remote: Fetcher, desc: Descriptor) -> None:
        self._remote = remote
        self._desc = desc
        self._opened = False
        self._continued = False

    def open(self, offset: int) -> Body:
        if not self._opened:
            self._opened, self._continued = True, offset > 0
        return self._remote.open(self._desc, offset)

    def lost(self, error: DistError, body: Body, ended: bool) -> bool:  # noqa: ARG002  there is no other source
        return False

    def reject(self, error: DistError) -> None:
        if not (self._continued and isinstance(error, DigestMismatch)):
            raise error
        self._continued = False
