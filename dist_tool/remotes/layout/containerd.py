"""The blobs of a containerd content root, for reading by digest (behaviours F10, F11).

Names are in a database of containerd's own, which is neither locked for us nor promised to stay.
"""

from __future__ import annotations

import os

from dist_tool.context import Context
from dist_tool.errors import NotFound
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.remotes.layout.directory import LayoutDirectory
from dist_tool.stream.body import Body

_ROOT = "/var/lib/containerd"
_CONTENT = "io.containerd.content.v1.content"


class ContainerdRemote:
    """`containerd::ROOT`; without ROOT that of a usual installation. Its blobs lie as those of a layout do."""

    def __init__(self, locator: Locator, context: Context) -> None:
        root = context.settings.at_home(locator.rest) or _ROOT
        inner = os.path.join(root, _CONTENT)
        self._blobs = LayoutDirectory(inner if os.path.isdir(inner) else root)

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """A digest that is there, with its size. Raises NotFound for it else, and for every name."""
        digest = as_digest(object_id)
        if digest is None:
            raise NotFound(
                f"{object_id!r}: a containerd content root knows digests only", hint="`ctr images list` shows them"
            )
        digest.hasher()
        body = self._blobs.open(digest, 0)
        body.close()
        return Descriptor(digest, body.total, hints.stated_type() or OCTET_STREAM)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a blob from `offset`. A write under way is no blob: containerd renames at the end."""
        body = self._blobs.open(desc.digest, offset)
        body.media_type = desc.media_type
        return body


open_remote = ContainerdRemote
