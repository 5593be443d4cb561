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
        """The object's bytes from `offset` or earlier, from the next source that has them. See `Fetcher.open`."""

    def lost(self, error: DistError, body: Body, ended: bool) -> bool:
        """See `ResumingReader`: True if the failure is counted here, or the next source is another one."""

    def reject(self, error: DistError) -> None:
        """The content that `open` returned was wrong, or ended in `error`.

        Returns if it can be requested again from byte 0. Raises the error for the user if not.
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

    Such content is used without a request if it is right (behaviours B19). `hints` are the
    user's: a size that no source confirms is reported as a wrong hint.
    """

    def __init__(self, remote: Fetcher, desc: Descriptor, hints: Hints = _NO_HINTS) -> None:
        self._desc = desc
        bare = replace(desc, data=None)
        self.several = isinstance(remote, Mirrored)
        self._search: Search = remote.search(bare) if isinstance(remote, Mirrored) else _Single(remote, bare)
        self._hint = hints.size
        self._contradiction: SizeMismatch | None = None

    def open(self, offset: int) -> Body:
        """The object's bytes from `offset`, or earlier. Raises what the sources raise."""
        if offset == 0 and (data := self._desc.data) is not None and self._is_right(data):
            media_type = self._desc.media_type
            return Body(BytesIO(data), total=len(data), source="the remote", media_type=media_type)
        return self._search.open(offset)

    def _is_right(self, data: bytes) -> bool:
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
            # No source confirms the hint, and some contradict it: that is more than a failure to answer.
            hint = f"no source confirms size:{self._hint}: is that right?"
            raise self._contradiction.with_(attempts=last.attempts, hint=hint) from last


class _Single:
    """A `Search` with one source. Only bytes of an earlier session can be at fault beside it, once."""

    def __init__(self, remote: Fetcher, desc: Descriptor) -> None:
        self._remote = remote
        self._desc = desc
        self._asked = False
        self._continued = False

    def open(self, offset: int) -> Body:
        if not self._asked:
            self._asked, self._continued = True, offset > 0
        return self._remote.open(self._desc, offset)

    def lost(self, error: DistError, body: Body, ended: bool) -> bool:  # noqa: ARG002  the next one is the same
        return False

    def reject(self, error: DistError) -> None:
        if not (self._continued and isinstance(error, DigestMismatch)):
            raise error
        self._continued = False
