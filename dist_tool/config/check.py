"""Validation of all configuration files, with every error in each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from dist_tool import config
from dist_tool.config.document import Value, parse_document
from dist_tool.config.options import from_environ, imports_from_environ
from dist_tool.config.reading import read_file
from dist_tool.config.tables import DOCUMENT
from dist_tool.errors import InvalidArgument
from dist_tool.settings import Settings


class Checked(NamedTuple):
    """A file, or the environment, and all errors in it."""

    name: str
    errors: tuple[InvalidArgument, ...]


def check(environ: Mapping[str, str], file: str | None = None) -> Iterator[Checked]:
    """Check our own files in ascending order of precedence, the environment, and files of other programs (D7).

    `file` is as in `config.load`. Files of other programs are checked only if our own
    configuration is valid, since it determines which are read.
    """
    broken = False
    for name in config.candidates(environ, file):
        if not os.path.exists(name) and name.endswith("/config.toml") and name != file:
            continue
        checked = Checked(name, _errors(name, environ, DOCUMENT))
        broken = broken or bool(checked.errors)
        yield checked
    errors = _environ_errors(from_environ, environ) + _environ_errors(imports_from_environ, environ)
    if errors:
        yield Checked("the environment", errors)
    if not broken and not errors:
        yield from _foreign(config.load(environ, file=file), environ)


def _foreign(settings: Settings, environ: Mapping[str, str]) -> Iterator[Checked]:
    from dist_tool.config.foreign.hosts_toml import read_hosts
    from dist_tool.config.foreign.registries_conf import read_document

    files: Iterator[str] = getattr(settings.others, "files", lambda: iter(()))()
    for name in files:
        if os.path.basename(name) == "hosts.toml":
            host = os.path.basename(os.path.dirname(name))
            yield Checked(name, _errors(name, environ, partial(read_hosts, host=host)))
        else:
            yield Checked(name, _errors(name, environ, read_document))


def _errors(name: str, environ: Mapping[str, str], read: Callable[[Value], object]) -> tuple[InvalidArgument, ...]:
    try:
        document = parse_document(name, read_file(name) or b"", environ)
    except InvalidArgument as error:
        return (error,)
    try:
        read(document)
    except InvalidArgument as error:
        return tuple(document.source.errors) or (error,)
    return ()


def _environ_errors(
    read: Callable[[Mapping[str, str]], object], environ: Mapping[str, str]
) -> tuple[InvalidArgument, ...]:
    try:
        read(environ)
    except InvalidArgument as error:
        return (error,)
    return ()
