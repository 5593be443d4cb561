"""The content-addressed store: an OCI image layout that many processes share without a daemon.

Open a store with `open_store`. The steps of a commit are ordered so that a kill or a power cut
at any moment leaves at most an unfinished ingest (behaviours F1-F17).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dist_tool.errors import InvalidArgument
from dist_tool.run import NO_RUN, Run

if TYPE_CHECKING:
    from dist_tool.api import NamedStore
    from dist_tool.settings import Settings


def default_path(environ: Mapping[str, str]) -> str:
    """The default directory of the store: `DIST_STORE`, else `dist/store` under `XDG_DATA_HOME`.

    A relative `XDG_DATA_HOME` is ignored, as the XDG specification requires. The default of
    `XDG_DATA_HOME` is `.local/share` under `HOME`. Raises InvalidArgument if none of the three is set.
    """
    if chosen := environ.get("DIST_STORE"):
        return chosen
    data, home = environ.get("XDG_DATA_HOME", ""), environ.get("HOME", "")
    if data.startswith("/"):
        return f"{data}/dist/store"
    if not home:
        raise InvalidArgument("no directory is configured for the store", hint="set DIST_STORE, XDG_DATA_HOME or HOME")
    return f"{home}/.local/share/dist/store"


def configured_path(settings: Settings) -> str:
    """The user's store: the configured directory, else `default_path`. Raises InvalidArgument as `default_path`."""
    return settings.store_path or default_path(settings.environ)


def open_store(path: str, run: Run = NO_RUN) -> NamedStore:
    """The store at `path`. The file system is not accessed before the first operation.

    A missing directory is an empty store; the first write creates it. Raises InvalidArgument
    for an empty path.
    """
    from dist_tool.store.disk import DiskStore

    return DiskStore(path, run)
