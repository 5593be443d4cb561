"""Settings from flags, the environment and files, in this order of weight (behaviours D15).

Read once, at the edge. Broken configuration is an error that names file and line, never a
silent default (D7). What is imported at the top here is all that a run without a file needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.config.options import Fetch, from_environ
from dist_tool.config.quantity import parse_bytes, parse_duration
from dist_tool.errors import InvalidArgument
from dist_tool.settings import RemoteSettings, Settings

if TYPE_CHECKING:
    from dist_tool.config.tables import Contents

__all__ = ["load", "parse_bytes", "parse_duration"]

SYSTEM_DIRECTORY = "/etc/dist"
LARGEST_FILE = 1 << 20  # bytes


def load(
    environ: Mapping[str, str],
    *,
    file: str | None = None,
    timeout_s: float | None = None,
    max_size: int | None = None,
    lenient: bool | None = None,
    store: bool | None = None,
) -> Settings:
    """Everything that was configured, checked.

    `file` is `--config`: it stands in for the user's own files, and "" for all files; None
    leaves that to DIST_CONFIG. The others are flags, None where not given; a timeout (seconds)
    or size (bytes) of 0 means no limit. Raises InvalidArgument, its message beginning with
    FILE:LINE or with the name of the variable.
    """
    contents = [_contents(name, data, environ) for name, data in _files(environ, file)]
    fetch = Fetch(timeout_s, max_size, lenient, store=store).over(from_environ(environ))
    for lesser in reversed(contents):
        fetch = fetch.over(lesser.fetch)
    remotes: dict[str, RemoteSettings] = {}
    for weightier in contents:
        remotes |= {remote.prefix: remote for remote in weightier.remotes}
    return Settings(
        remotes=tuple(remotes.values()),
        environ=dict(environ),
        cache_dir="" if fetch.token_cache is False else _directory(environ, "XDG_CACHE_HOME", ".cache"),
        timeout_s=fetch.timeout_s or None,
        max_size=fetch.max_size or None,
        lenient=bool(fetch.lenient),
        store=bool(fetch.store),
    )


def _contents(name: str, data: bytes, environ: Mapping[str, str]) -> Contents:
    from dist_tool.config.document import parse_document  # brings tomllib: only where a file exists
    from dist_tool.config.tables import DOCUMENT

    contents: Contents = DOCUMENT(parse_document(name, data, environ))
    return contents


class _Candidate(NamedTuple):
    """A file to read. `optional` ones may be absent; `named_by` is the option or variable that names it."""

    name: str
    optional: bool = False
    named_by: str = ""


def _files(environ: Mapping[str, str], file: str | None) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that there is, in ascending order of weight."""
    chosen, named_by = (file, "--config") if file is not None else (environ.get("DIST_CONFIG"), "DIST_CONFIG")
    if chosen == "":
        return
    candidates = [*_in_directory(SYSTEM_DIRECTORY)]
    if chosen is None:
        candidates += _in_directory(_directory(environ, "XDG_CONFIG_HOME", ".config"))
    else:
        candidates.append(_Candidate(chosen, named_by=named_by))
    for candidate in candidates:
        data = _read(candidate)
        if data is not None:
            yield candidate.name, data


def _in_directory(directory: str) -> Iterator[_Candidate]:
    if not directory:
        return
    yield _Candidate(f"{directory}/config.toml", optional=True)
    try:
        names = os.listdir(f"{directory}/config.d")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InvalidArgument(f"{directory}/config.d: {error.strerror}") from error
    for name in sorted(names):
        if name.endswith(".toml") and not name.startswith("."):
            yield _Candidate(f"{directory}/config.d/{name}")


def _read(candidate: _Candidate) -> bytes | None:
    try:
        with open(candidate.name, "rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and candidate.optional:
            return None
        hint = f"{candidate.named_by} names it" if candidate.named_by else ""
        raise InvalidArgument(f"{candidate.name}: {error.strerror}", hint=hint) from error
    if len(data) > LARGEST_FILE:
        raise InvalidArgument(f"{candidate.name}: a configuration file of more than {LARGEST_FILE >> 20} MiB")
    return data


def _directory(environ: Mapping[str, str], variable: str, default: str) -> str:
    """Our directory of one kind; "" where there is none. A relative path is as good as none (XDG)."""
    base = environ.get(variable, "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return ""
        base = f"{home}/{default}"
    return f"{base}/dist"
