"""Adapter for plugin remotes, which may return plain binary files."""

from __future__ import annotations

from typing import Any

from dist_tool.api import Closable, Cut, Listable, NamedFetcher, NamedResumer, PathFetcher, Referring
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.stream.body import Body, as_body


class PluginRemote:
    """A plugin's remote whose open methods always return a `Body`.

    It has the optional methods that the plugin has, and no others, so that `isinstance` checks
    against the protocols of `api` are correct. `source` names
    the plugin in messages.
    """

    def __init__(self, plugin: Any, source: str) -> None:
        self.plugin = plugin
        self._source = source
        vars(self).update(_optional_methods(plugin, source))

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The plugin's descriptor."""
        desc: Descriptor = self.plugin.resolve(object_id, hints)
        return desc

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The object's bytes; a plain file is taken to begin at `offset`."""
        return as_body(self.plugin.open(desc, offset), offset, self._source)


def _optional_methods(plugin: object, source: str) -> dict[str, object]:
    """Wrappers of the optional methods that a plugin has, by name.

    They are closures over the plugin: bound methods in an instance's own attributes would be a
    reference cycle that holds its connections open.
    """
    methods: dict[str, object] = {}
    if isinstance(plugin, NamedFetcher):
        fetcher: NamedFetcher = plugin

        def open_name(object_id: str, hints: Hints) -> Body:
            return as_body(fetcher.open_name(object_id, hints), 0, source)

        methods["open_name"] = open_name
    if isinstance(plugin, NamedResumer):
        resumer: NamedResumer = plugin

        def reopen_name(object_id: str, hints: Hints, cut: Cut) -> Body:
            return as_body(resumer.reopen_name(object_id, hints, cut), cut.offset, source)

        methods["reopen_name"] = reopen_name
    if isinstance(plugin, PathFetcher):
        files: PathFetcher = plugin

        def open_path(path: str, desc: Descriptor | None = None, offset: int = 0) -> Body:
            return as_body(files.open_path(path, desc, offset), offset, source)

        methods["open_path"] = open_path
    if isinstance(plugin, Listable):
        methods["tags"] = plugin.tags
    if isinstance(plugin, Referring):
        methods["referrers"] = plugin.referrers
    if isinstance(plugin, Closable):
        methods["close"] = plugin.close
    return methods
