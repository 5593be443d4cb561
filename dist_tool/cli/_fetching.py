"""Fetching for the command: straight from the remote, or through the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import Reference, as_object
from dist_tool.transfer.fetch import FetchOptions, fetch_known, fetch_to, identify

if TYPE_CHECKING:
    from dist_tool.api import NamedStore, Remote
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.stream.pump import Sink


class Fetching(NamedTuple):
    """A remote with how to fetch from it; with a store, everything goes through that."""

    locator: Locator
    remote: Remote
    options: FetchOptions
    store: NamedStore | None = None

    def fetch(self, object_id: str, hints: Hints, sink: Sink) -> Descriptor:
        """Write an object to `sink`. Raises as `transfer.fetch.fetch_to`."""
        if self.store is None:
            return fetch_to(self.remote, object_id, sink, hints, self.options)
        return self.write(self.identify(object_id, hints), hints, sink)

    def identify(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of an object, as cheaply as it can be known.

        With a store, it holds the object afterwards where that is a tag: the name is recorded.
        """
        if self.store is None:
            return identify(self.remote, object_id, hints)
        from dist_tool.transfer.cache import Known, find, store_object

        name = self._name(object_id)
        if name:
            self.store.check_name(name)  # before anything is fetched for it
        desc = find(self.remote, self.store, object_id, hints)
        if name:
            desc = store_object(self.remote, self.store, Known(desc, hints), self.options)
            self.store.tag(name, desc)
        return desc

    def write(self, desc: Descriptor, hints: Hints, sink: Sink) -> Descriptor:
        """Write a known object to `sink`."""
        if self.store is None:
            return fetch_known(self.remote, desc, sink, hints, self.options)
        from dist_tool.transfer.cache import Known, fetch_kept

        return fetch_kept(self.remote, self.store, Known(desc, hints), sink, self.options)

    def _name(self, object_id: str) -> str:
        """What a tag is recorded as: its full reference, so that names of two places cannot clash."""
        name = as_object(object_id)
        if name.digest is not None or not object_id:
            return ""
        if self.locator.kind in ("", "registry"):
            return str(Reference(Locator("", self.locator.rest), name.tag))
        return object_id  # of a layout, whose names may be any text
