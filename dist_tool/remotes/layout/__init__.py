"""Image layouts: in a directory, in an archive, in the local store, or behind another remote."""

from __future__ import annotations

import re

from dist_tool.context import Context
from dist_tool.names.locator import Locator
from dist_tool.remotes.layout.directory import LayoutRemote
from dist_tool.remotes.layout.reader import LayoutReader

__all__ = ["LayoutRemote", "open_remote"]

_NESTED = re.compile(r"[a-z][a-z0-9+.-]*::.")


def open_remote(locator: Locator, context: Context) -> LayoutReader:
    """`layout::DIRECTORY`, or `layout::KIND::REST` for a layout that another remote serves."""
    if not _NESTED.match(locator.rest):
        return LayoutRemote(locator, context)
    from dist_tool.remotes.layout.nested import NestedLayout

    return NestedLayout(locator, context)
