"""Raw bodies: what a fetcher returns, not verified."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

from dist_tool.errors import Truncated

if TYPE_CHECKING:
    from typing import Self

CHUNK = 1 << 20  # bytes moved at a time; also what is withheld until the whole is verified


class File(Protocol):
    """What a `Body` reads from, a binary file or a part of one."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""

    def close(self) -> None:
        """Let go."""


class Body:
    """Raw, unverified bytes of one object, with what their source declares of them.

    `offset` is where in the object the next byte lies; `total` the size of the whole object
    in bytes, None where the source does not say; `limit` the most bytes that such an object may
    have, None for any; `source` names the place for messages. `validator` is what the source
    needs to know, when it opens the same name again, that it is still the same: "" for nothing.
    """

    limit: int | None = None
    validator: str = ""

    def __init__(
        self,
        file: File | None = None,
        *,
        offset: int = 0,
        total: int | None = None,
        source: str = "",
        media_type: str = "",
    ) -> None:
        self._file = file
        self.offset = offset
        self.total = total
        self.source = source
        self.media_type = media_type

    def readinto(self, view: memoryview) -> int:
        """Fill a part of `view` with what is there; 0 at the end, and only there.

        Raises Truncated where the file cannot be read on.
        """
        if self._file is None:
            return 0
        try:
            data = self._file.read(len(view))
        except OSError as error:
            raise Truncated(f"{self.source}: {error.strerror or error}") from error
        view[: len(data)] = data
        return len(data)

    def reopen_past_end(self) -> bool:
        """False: an end that is declared or local is the end."""
        return False

    def close(self) -> None:
        """Let go of the source. Idempotent."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_body(raw: IO[bytes] | Body, offset: int, source: str = "the remote") -> Body:
    """What a plugin returned, as a Body: a plain binary file begins at the offset that was requested."""
    return raw if isinstance(raw, Body) else Body(raw, offset=offset, source=source)


class Readable(Protocol):
    """Where `pump` and `VerifiedReader` read from."""

    def readinto(self, view: memoryview, /) -> int:
        """Fill a part of `view`; 0 at the end."""

    def reopen_past_end(self) -> bool:
        """True where the end may have been a silent cut and there is more to read."""

    def close(self) -> None:
        """Let go."""
