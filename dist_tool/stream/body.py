"""Raw, unverified content as a fetcher returns it."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

from dist_tool.errors import Truncated

if TYPE_CHECKING:
    from typing import Self

CHUNK = 1 << 20  # bytes moved at a time; also the least that is withheld of an object until it is verified


class File(Protocol):
    """Source of a `Body`: a binary file or a part of one."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""

    def close(self) -> None:
        """Close the file."""


class Body:
    """Raw, unverified bytes of one object, with the metadata that their source declares.

    `offset` is the position in the object of the next byte; `total` the size of the whole object
    in bytes, None if the source does not declare it; `limit` the maximum size of such an object
    in bytes, None for no limit; `source` names the source in messages. `validator` is a value
    (such as an ETag) with which the source can check, when the same name is opened again, that
    the content has not changed; "" for none.
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
        """Read available bytes into `view`; returns their number, 0 only at the end.

        Raises Truncated if reading fails.
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
        """False: the end of a local file, or of a declared length, is the end."""
        return False

    def close(self) -> None:
        """Close the source. Idempotent."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_body(raw: IO[bytes] | Body, offset: int, source: str = "the remote") -> Body:
    """A plugin's return value as a Body: a plain binary file starts at the requested offset."""
    return raw if isinstance(raw, Body) else Body(raw, offset=offset, source=source)


class Readable(Protocol):
    """Source of `pump` and `VerifiedReader`."""

    def readinto(self, view: memoryview, /) -> int:
        """Read bytes into `view`; returns their number, 0 at the end."""

    def reopen_past_end(self) -> bool:
        """Try to continue after an end that may have been a silent cut; True if there is more to read."""

    def close(self) -> None:
        """Close the source."""
