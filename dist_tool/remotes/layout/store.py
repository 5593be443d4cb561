"""The local store as a read-only remote: `store::`, or `store::PATH` for another store."""

from __future__ import annotations

import os

from dist_tool.context import Context
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.remotes.layout.directory import LayoutDirectory
from dist_tool.remotes.layout.reader import LayoutReader, repository_of
from dist_tool.store import configured_path, open_store


class StoreRemote(LayoutReader):
    """A store. Reading does not create, lock or mark anything as used."""

    def __init__(self, locator: Locator, context: Context) -> None:
        path = context.settings.at_home(locator.rest) or configured_path(context.settings)
        self._store = open_store(path, context.run)
        super().__init__(LayoutDirectory(os.path.abspath(path)), repository_of(context))

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """See `LayoutReader.resolve`; the media type of a blob without an entry is detected from its bytes."""
        digest = as_digest(object_id)
        if digest is None:
            return self._named(object_id, hints)
        digest.hasher()
        return self._store.resolve(str(digest), hints)


open_remote = StoreRemote
