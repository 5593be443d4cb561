"""The content-addressed store: an OCI image layout that many processes share without a daemon.

`open_store` is the way in. Every step towards a committed blob is ordered so that a kill or a
power cut at any moment leaves at most an unfinished ingest (behaviours F1-F17).
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
    """Where the store is: `DIST_STORE`, else `dist/store` under `XDG_DATA_HOME`.

    A relative `XDG_DATA_HOME` is ignored, as the XDG specification asks. Raises InvalidArgument
    where neither these nor `HOME` say.
    """
    if chosen := environ.get("DIST_STORE"):
        return chosen
    data, home = environ.get("XDG_DATA_HOME", ""), environ.get("HOME", "")
    if data.startswith("/"):
        return f"{data}/dist/store"
    if not home:
        raise InvalidArgument("there is no place for a store", hint="set DIST_STORE, XDG_DATA_HOME or HOME")
    return f"{home}/.local/share/dist/store"


def place(settings: Settings) -> str:
    """Where the user's store is: as configured, else `default_path`. Raises as that does."""
    return settings.store_path or default_path(settings.environ)


def open_store(path: str, run: Run = NO_RUN) -> NamedStore:
    """The store at `path`. Nothing is read or created before the first use asks for it.

    A directory that is not there is an empty store; the first write creates it. Raises
    InvalidArgument for an empty path.
    """
    from dist_tool.store.disk import DiskStore

    return DiskStore(path, run)
