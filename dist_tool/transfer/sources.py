"""Where a transfer has its object from: one place or several, and what came along with the descriptor."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from dist_tool.api import Alternatives, Fetcher, Search
from dist_tool.errors import DigestMismatch, DistError, SizeMismatch, UnexpectedSize
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.stream.body import Body

_NO_HINTS = Hints()


class Places:
    """The places of one object, for one transfer.

    Content that came along with the descriptor needs no asking, if it is right (behaviours B19).
    `hints` are the user's: a size that no place agrees with is reported as theirs.
    """

    def __init__(self, remote: Fetcher, desc: Descriptor, hints: Hints = _NO_HINTS) -> None:
        self._desc = desc
        bare = replace(desc, data=None)
        self._search: Search = remote.search(bare) if isinstance(remote, Alternatives) else _OnePlace(remote, bare)
        self._hint = hints.size
        self._contradiction: SizeMismatch | None = None

    def open(self, offset: int) -> Body:
        """The object's bytes from `offset`, or earlier. Raises what asking the places raises."""
        if offset == 0 and (data := self._desc.data) is not None and self._is_right(data):
            media_type = self._desc.media_type
            return Body(BytesIO(data), total=len(data), source="the remote", media_type=media_type)
        return self._search.open(offset)

    def _is_right(self, data: bytes) -> bool:
        digest = self._desc.digest
        return len(data) == self._desc.size and Digest.of(data, digest.algorithm) == digest

    def reject(self, error: DistError) -> None:
        """What came was wrong, or did not come. Returns where it can be asked for again, from byte 0; else raises."""
        if isinstance(error, SizeMismatch):
            self._contradiction = error
        try:
            self._search.reject(error)
        except (DigestMismatch, UnexpectedSize):
            raise
        except DistError as last:
            if self._hint is None or self._contradiction is None or not last.elsewhere:
                raise
            # Nobody agrees with the hint, and some say so: their word is worth more than silence.
            hint = f"no place agrees with size:{self._hint}: is that right?"
            raise self._contradiction.with_(attempts=last.attempts, hint=hint) from last


class _OnePlace:
    """A `Search` where there is nowhere else to go.

    Only what an earlier session left may have been to blame, once.
    """

    def __init__(self, remote: Fetcher, desc: Descriptor) -> None:
        self._remote = remote
        self._desc = desc
        self._asked = False
        self._continued = False

    def open(self, offset: int) -> Body:
        """See `api.Search`."""
        if not self._asked:
            self._asked, self._continued = True, offset > 0
        return self._remote.open(self._desc, offset)

    def reject(self, error: DistError) -> None:
        """See `api.Search`."""
        if not (self._continued and isinstance(error, DigestMismatch)):
            raise error
        self._continued = False
