"""Configuration: flags, environment variables and files, in this order of precedence (behaviours D15).

Read once, when a command starts. Invalid configuration is an error with file and line, never
ignored in favour of a default (D7). The imports at the top are those of a run without a
configuration file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dist_tool.config.foreign.sources import ForeignFiles
from dist_tool.config.options import FetchDefaults, from_environ, imports_from_environ
from dist_tool.config.quantity import parse_age, parse_bytes, parse_duration
from dist_tool.config.reading import read_file
from dist_tool.errors import InvalidArgument
from dist_tool.settings import Pin, Policy, Route, Settings

if TYPE_CHECKING:
    from dist_tool.config.tables import Contents

__all__ = ["candidates", "load", "load_environment", "parse_age", "parse_bytes", "parse_duration", "user_file"]

SYSTEM_DIRECTORY = "/etc/dist"


def load(
    environ: Mapping[str, str],
    *,
    file: str | None = None,
    timeout_s: float | None = None,
    max_size: int | None = None,
    lenient: bool | None = None,
    store: bool | None = None,
) -> Settings:
    """Load and validate the configuration.

    `file` is `--config`: it replaces the user's own files; with "", no file is read; with None,
    DIST_CONFIG applies. The other parameters are flags, None if not given; a timeout (seconds)
    or size (bytes) of 0 means no limit. Raises InvalidArgument; its message begins with
    FILE:LINE or with the name of the variable.
    """
    contents = [_contents(name, data, environ) for name, data in _files(environ, file)]
    fetch = FetchDefaults(timeout_s, max_size, lenient, store=store).over(from_environ(environ))
    routes: dict[str, Route] = {}
    pins: dict[str, Pin] = {}
    for found in contents:
        routes |= {route.prefix: route for route in found.routes}
        pins |= found.pins
    for found in reversed(contents):
        fetch = fetch.over(found.fetch)
    policy = _policy(contents)
    limits = [limit for limit in (fetch.max_size, policy.max_size) if limit]
    token_dir = _directory(environ, "XDG_CACHE_HOME", ".cache")
    return Settings(
        routes=tuple(routes.values()),
        environ=dict(environ),
        cache_dir="" if fetch.token_cache is False else token_dir,
        token_dir=token_dir,
        timeout_s=fetch.timeout_s or None,
        max_size=min(limits, default=None),
        lenient=bool(fetch.lenient),
        store=bool(fetch.store),
        store_path="" if environ.get("DIST_STORE") else _last(contents, "store_path") or "",
        policy=policy,
        pins=pins,
        others=_foreign_files(contents, environ),
    )


def load_environment(*, file: str | None = None, timeout_s: float | None = None, store: bool | None = None) -> Settings:
    """`load` with the environment of this process."""
    return load(os.environ, file=file, timeout_s=timeout_s, store=store)


def _policy(contents: Sequence[Contents]) -> Policy:
    """The merged policies of all files: refusals accumulate; other values are those of highest precedence."""
    total = Policy()
    for policy in (found.policy for found in contents if found.policy.where):
        values: dict[str, Any] = {name: getattr(policy, name) for name in policy.where}
        for name in ("require_digest", "blocked"):
            values[name] = tuple(dict.fromkeys((*getattr(total, name), *getattr(policy, name))))
        total = replace(total, **values, where={**total.where, **policy.where})
    return total


def _foreign_files(contents: Sequence[Contents], environ: Mapping[str, str]) -> ForeignFiles:
    imports = imports_from_environ(environ)
    if imports is None:
        imports = _last(contents, "imports")
    return ForeignFiles(environ, imports, environ.get("DIST_HOSTS_DIR") or _last(contents, "hosts_dir") or "")


def _last(contents: Sequence[Contents], name: str) -> Any:
    """The value of an option in the file of highest precedence that sets it, else None."""
    values = (getattr(found, name) for found in reversed(contents))
    return next((value for value in values if value not in (None, "")), None)


def candidates(environ: Mapping[str, str], file: str | None = None) -> list[str]:
    """The names of the files that `load` reads if they exist, in ascending order of precedence."""
    return [candidate.name for candidate in _candidates(environ, file)]


def user_file(environ: Mapping[str, str], file: str | None = None) -> str:
    """The file that commands write to: `file`, else DIST_CONFIG, else the user's own. It may not exist yet.

    Raises InvalidArgument if there is none.
    """
    chosen = file if file is not None else environ.get("DIST_CONFIG")
    if chosen is None:
        directory = _directory(environ, "XDG_CONFIG_HOME", ".config")
        chosen = f"{directory}/config.toml" if directory else ""
    if not chosen:
        raise InvalidArgument("there is no configuration file to write to", hint="name one with --file")
    return chosen


def _contents(name: str, data: bytes, environ: Mapping[str, str]) -> Contents:
    from dist_tool.config.document import parse_document  # imports tomllib: only needed if a file exists
    from dist_tool.config.tables import DOCUMENT

    contents: Contents = DOCUMENT(parse_document(name, data, environ))
    return contents


class _Candidate(NamedTuple):
    """A file to read. If `optional`, it may be absent; `named_by` is the option or variable that names it."""

    name: str
    optional: bool = False
    named_by: str = ""


def _files(environ: Mapping[str, str], file: str | None) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that exists, in ascending order of precedence."""
    for candidate in _candidates(environ, file):
        data = _read(candidate)
        if data is not None:
            yield candidate.name, data


def _candidates(environ: Mapping[str, str], file: str | None) -> list[_Candidate]:
    chosen, named_by = (file, "--config") if file is not None else (environ.get("DIST_CONFIG"), "DIST_CONFIG")
    if chosen == "":
        return []
    found = [*_in_directory(SYSTEM_DIRECTORY)]
    if chosen is None:
        return [*found, *_in_directory(_directory(environ, "XDG_CONFIG_HOME", ".config"))]
    return [*found, _Candidate(chosen, named_by=named_by)]


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
    hint = f"given by {candidate.named_by}" if candidate.named_by else ""
    return read_file(candidate.name, optional=candidate.optional, hint=hint)


def _directory(environ: Mapping[str, str], variable: str, default: str) -> str:
    """The `dist` directory below an XDG base directory, "" if there is none. Relative paths are ignored (XDG)."""
    base = environ.get(variable, "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return ""
        base = f"{home}/{default}"
    return f"{base}/dist"
