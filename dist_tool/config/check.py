"""Checking every file that configures anything, for all that is wrong with it."""

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
    """One file, or the environment, and everything that is wrong with it."""

    name: str
    errors: tuple[InvalidArgument, ...]


def check(environ: Mapping[str, str], file: str | None = None) -> Iterator[Checked]:
    """Our own files in ascending order of weight, the environment, and others' files (D7).

    `file` is as in `config.load`. Others' files can only be found where ours are in order.
    """
    broken = False
    for name in config.candidates(environ, file):
        if not os.path.exists(name) and name.endswith("/config.toml") and name != file:
            continue
        checked = Checked(name, _errors(name, environ, DOCUMENT))
        broken = broken or bool(checked.errors)
        yield checked
    wrong = _faults(from_environ, environ) + _faults(imports_from_environ, environ)
    if wrong:
        yield Checked("the environment", wrong)
    if not broken and not wrong:
        yield from _others(config.load(environ, file=file), environ)


def _others(settings: Settings, environ: Mapping[str, str]) -> Iterator[Checked]:
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
        return tuple(document.source.faults) or (error,)
    return ()


def _faults(read: Callable[[Mapping[str, str]], object], environ: Mapping[str, str]) -> tuple[InvalidArgument, ...]:
    try:
        read(environ)
    except InvalidArgument as error:
        return (error,)
    return ()
