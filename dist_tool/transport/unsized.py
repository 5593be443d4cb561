"""Bodies whose answer declares no length, for objects of unknown size: bounded by what HEAD declares."""

from __future__ import annotations

from collections.abc import Callable

from dist_tool.errors import Cancelled, DistError, SizeMismatch
from dist_tool.stream.body import Body
from dist_tool.stream.retry import counted_apart

ASK_AFTER = 64 << 20  # bytes: what is shorter is not worth a request


def bounded(body: Body, size: int | None, ask_size: Callable[[], int | None]) -> Body:
    """`body`, which ends at what `ask_size` returns if neither it nor the caller has a size."""
    return body if body.total is not None or size is not None else _BoundedByHead(body, ask_size)


class _BoundedByHead(Body):
    """Asks for the size once, after ASK_AFTER bytes. No answer, or a size of 0, is no bound."""

    def __init__(self, body: Body, ask_size: Callable[[], int | None]) -> None:
        super().__init__(offset=body.offset, source=body.source, media_type=body.media_type)
        self.validator, self.limit = body.validator, body.limit
        self._body = body
        self._ask_size = ask_size
        self._count = 0
        self._asked = False
        self._size: int | None = None

    def readinto(self, view: memoryview) -> int:
        """Fill a part of `view`; 0 at the end. Raises SizeMismatch past the size that HEAD declares."""
        got = self._body.readinto(view)
        self._count += got
        if self._count > ASK_AFTER and not self._asked:
            self._asked = True
            self._size = self._asked_size() or None
        if self._size is not None and self.offset + got > self._size:
            raise SizeMismatch(f"{self.source} gives more than the {self._size} bytes that it declares for HEAD")
        return got

    def _asked_size(self) -> int | None:
        try:
            with counted_apart(self):
                return self._ask_size()
        except Cancelled:
            raise
        except DistError:
            return None

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        self._body.close()
