"""A remote behind the store: what is asked of it is in the store afterwards, and not asked for twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dist_tool.api import Remote
from dist_tool.errors import DataLoss, NotFound
from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCTET_STREAM, is_manifest_like
from dist_tool.store.verify import open_verified
from dist_tool.stream.body import CHUNK, Body
from dist_tool.transfer.cache import TRIES, Known, find, heal, removed, store_object
from dist_tool.transfer.fetch import FetchOptions

if TYPE_CHECKING:
    from dist_tool.api import Store


class KeptRemote:
    """`remote` as seen through `store`. A stored blob that is damaged is fetched again.

    A blob is verified when it is first opened, so that damage can be mended in time; whatever
    opens it again verifies the bytes that it reads.
    """

    def __init__(self, remote: Remote, store: Store, options: FetchOptions) -> None:
        self._remote = remote
        self._store = store
        self._options = options
        self._verified: set[Digest] = set()

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor; a digest that the store has asks nobody. See `api.Resolver`.

        Raises SizeMismatch where the store knows another size than the hints.
        """
        digest = as_digest(object_id)
        size = self._store.size(digest) if digest is not None else None
        if digest is None or size is None or hints.size not in (None, size):
            return find(self._remote, self._store, object_id, hints)
        # Not the size of the file: it may be damaged, and whoever reads would then demand that size.
        return Descriptor(digest, hints.size, self._media_type(digest, hints))

    def _media_type(self, digest: Digest, hints: Hints) -> str:
        """The type of a stored blob. `type:manifest` may mean an index: the stored document is looked at."""
        from dist_tool.store.sniff import sniff

        if not hints.media_types and is_manifest_like(hints.media_type()):
            found = sniff(self._store, digest)
            if is_manifest_like(found):
                return found
        return hints.media_type() or OCTET_STREAM

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes, once all of them are in the store. Raises as `copy_object`."""
        for _ in range(TRIES):
            stored = self._store.size(desc.digest) is not None
            kept = store_object(self._remote, self._store, Known(desc), self._options)
            try:
                unread = stored and not offset and desc.digest not in self._verified
                damage = self._damage(kept) if unread else None
                self._verified.add(desc.digest)
                if damage is None:
                    return self._store.open(kept, offset)
            except NotFound:  # removed since then, as by a gc without grace
                continue
            return self._store.open(heal(self._remote, self._store, Known(desc), damage, self._options))
        raise removed(desc)

    def _damage(self, desc: Descriptor) -> DataLoss | None:
        """What is wrong with a blob that was there before: read once more, before anything is made of it."""
        try:
            with open_verified(self._store, desc) as reader:
                while reader.read(CHUNK):
                    pass
        except DataLoss as error:
            return error
        return None
