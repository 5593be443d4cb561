"""Blobs of a containerd content root, read-only and by digest (behaviours F10, F11).

Names are in containerd's own database, which we cannot lock and whose format is not stable.
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
    """`containerd::ROOT`; the default ROOT is /var/lib/containerd. Blobs have the paths of an image layout."""

    def __init__(self, locator: Locator, context: Context) -> None:
        root = context.settings.at_home(locator.rest) or _ROOT
        inner = os.path.join(root, _CONTENT)
        self._blobs = LayoutDirectory(inner if os.path.isdir(inner) else root)

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a blob, with its size. Raises NotFound if it is absent, and for every name."""
        digest = as_digest(object_id)
        if digest is None:
            raise NotFound(
                f"{object_id!r}: a containerd content root has digests only", hint="`ctr images list` shows them"
            )
        digest.hasher()
        body = self._blobs.open(digest, 0)
        body.close()
        return Descriptor(digest, body.total, hints.stated_type() or OCTET_STREAM)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a blob from `offset`. Unfinished writes are not visible: containerd renames complete blobs."""
        body = self._blobs.open(desc.digest, offset)
        body.media_type = desc.media_type
        return body


open_remote = ContainerdRemote
