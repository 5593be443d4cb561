"""A remote behind the store: what is asked of it is in the store afterwards, and not asked for twice."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from dist_tool.api import Remote
from dist_tool.errors import DataLoss, InvalidArgument
from dist_tool.names.reference import Hints, parse_object
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.run import Notice
from dist_tool.stream.body import CHUNK, Body
from dist_tool.transfer.cache import find, keep
from dist_tool.transfer.fetch import FetchOptions

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore


class KeptRemote:
    """`remote` as seen through `store`. A stored blob that is damaged is fetched again.

    A blob is verified when it is first opened, so that damage can be mended in time; whatever
    opens it again verifies the bytes that it reads.
    """

    def __init__(self, remote: Remote, store: DiskStore, options: FetchOptions) -> None:
        self._remote = remote
        self._store = store
        self._options = options
        self._verified: set[Digest] = set()

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor; a digest that the store has asks nobody. See `api.Resolver`.

        Raises SizeMismatch where the store knows another size than the hints.
        """
        digest = _digest_of(object_id)
        size = self._store.size(digest) if digest is not None else None
        if digest is None or size is None or hints.size not in (None, size):
            return find(self._remote, self._store, object_id, hints)
        return Descriptor(digest, size, hints.media_type() or OCTET_STREAM)

    def open(self, desc: Descriptor, offset: int = 0) -> IO[bytes] | Body:
        """The bytes, once all of them are in the store. Raises as `keep.keep`."""
        stored = self._store.size(desc.digest) is not None
        kept = keep(self._remote, self._store, desc, options=self._options)
        if stored and not offset and desc.digest not in self._verified:
            kept = self._sound(kept)
        self._verified.add(desc.digest)
        return self._store.open(kept, offset)

    def _sound(self, desc: Descriptor) -> Descriptor:
        """What was there before is read once more, before anything is made of it."""
        try:
            with self._store.open_verified(desc) as reader:
                while reader.read(CHUNK):
                    pass
        except DataLoss as error:
            text = f"the stored {desc.digest} is damaged ({error.what}); fetching it anew"
            self._options.report(Notice("warning", text))
            self._store.delete(desc.digest)
            return keep(self._remote, self._store, desc, options=self._options)
        return desc


def _digest_of(object_id: str) -> Digest | None:
    """The digest in an object; None for a name, which in a layout may be anything."""
    try:
        return parse_object(object_id).digest if object_id else None
    except InvalidArgument:
        return None
