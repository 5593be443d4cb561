"""Resolve a digest or a name in a store."""

from __future__ import annotations

from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.store.blobs import missing
from dist_tool.store.index import find_entry
from dist_tool.store.sniff import NamedBlobs, sniff


def resolve(blobs: NamedBlobs, object_id: str, hints: Hints) -> Descriptor:
    """The descriptor of a name, or of the digest of a stored blob.

    The media type of a blob without a name is that of the hints, else the result of `sniff`.
    Raises NotFound, InvalidArgument for a malformed digest, InvalidContent for a name with
    several digests.
    """
    digest = as_digest(object_id)
    if digest is None:
        return find_entry(blobs.entries(), object_id, hints.platform())
    size = blobs.size(digest)
    if size is None:
        raise missing(digest)
    for entry in blobs.entries():
        if entry.digest == digest:
            return entry
    return Descriptor(digest, size, hints.stated_type() or sniff(blobs, digest))
