"""Adapter from a function `(object, hints) -> binary file` to a remote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from dist_tool.errors import DistError, NoDigest, NotFound, PermissionDenied, RemoteFailed, Unauthenticated, Unavailable
from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.stream.body import Body, as_body

FetchFunction = Callable[[str, Hints], IO[bytes]]
_BY_STATUS = {401: Unauthenticated, 403: PermissionDenied, 404: NotFound, 410: NotFound}
_BY_TYPE = {FileNotFoundError: NotFound, PermissionError: PermissionDenied}


class FunctionRemote:
    """A remote whose objects are the files that a function returns; digests are verified by the caller.

    The function takes no offset: after a cut it is called again, and the bytes that were read
    before are skipped. It may raise OSError: see `_os_errors`. `source` names it in messages.
    """

    def __init__(self, function: FetchFunction, source: str = "the remote") -> None:
        self._function = function
        self._source = source

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a digest. Raises NoDigest for a name, whose digest is known only after it is read."""
        digest = as_digest(object_id)
        if digest is None:
            raise NoDigest(f"the digest of {object_id!r} is not known before it is read")
        digest.hasher()
        return Descriptor(digest, hints.size, hints.media_type() or OCTET_STREAM)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The object's bytes from `offset`."""
        with _os_errors():
            file = self._function(str(desc.digest), Hints((desc.media_type,), desc.size))
        left = offset
        try:
            while left and (skipped := len(file.read(min(left, 1 << 20)))):
                left -= skipped
        except BaseException:
            file.close()
            raise
        return as_body(file, offset, self._source)

    def open_name(self, object_id: str, hints: Hints) -> Body:
        """The bytes that the function returns for a name."""
        with _os_errors():
            file = self._function(object_id, hints)
        return as_body(file, 0, self._source)


@contextmanager
def _os_errors() -> Iterator[None]:
    """Convert OSError to DistError: errors of files and sockets, and urllib's, whose `code` is an HTTP status."""
    try:
        yield
    except OSError as error:
        status = getattr(error, "code", None)
        make: type[DistError] = (
            _BY_TYPE.get(type(error), Unavailable) if status is None else _BY_STATUS.get(status, RemoteFailed)
        )
        raise make(str(error)) from error
