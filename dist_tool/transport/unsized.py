"""Size limit for bodies of unknown length, if the object's size is unknown too: the size that HEAD declares."""

from __future__ import annotations

from collections.abc import Callable

from dist_tool.errors import Cancelled, DistError, SizeMismatch
from dist_tool.stream.body import Body
from dist_tool.stream.retry import counted_apart

ASK_AFTER = 64 << 20  # bytes: for a shorter body the HEAD request is not worth its cost


def bounded(body: Body, size: int | None, ask_size: Callable[[], int | None]) -> Body:
    """`body`, limited to the result of `ask_size` if neither the response nor the caller has a size."""
    return body if body.total is not None or size is not None else _BoundedByHead(body, ask_size)


class _BoundedByHead(Body):
    """Requests the size once, after ASK_AFTER bytes. An error or a size of 0 sets no limit."""

    def __init__(self, body: Body, ask_size: Callable[[], int | None]) -> None:
        super().__init__(offset=body.offset, source=body.source, media_type=body.media_type)
        self.validator, self.limit = body.validator, body.limit
        self._body = body
        self._ask_size = ask_size
        self._count = 0
        self._asked = False
        self._size: int | None = None

    def readinto(self, view: memoryview) -> int:
        """Read into a part of `view`. Returns 0 at the end. Raises SizeMismatch above the size that HEAD declares."""
        got = self._body.readinto(view)
        self._count += got
        if self._count > ASK_AFTER and not self._asked:
            self._asked = True
            self._size = self._request_size() or None
        if self._size is not None and self.offset + got > self._size:
            raise SizeMismatch(f"{self.source} sent more than the {self._size} bytes that it declares for HEAD")
        return got

    def _request_size(self) -> int | None:
        try:
            with counted_apart(self):
                return self._ask_size()
        except Cancelled:
            raise
        except DistError:
            return None

    def close(self) -> None:
        """Release the connection. Idempotent."""
        self._body.close()
