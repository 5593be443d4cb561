"""Options, arguments and output formats shared by the commands on the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dist_tool.cli._completion import DIR
from dist_tool.cli._options import decorated, show_notice

if TYPE_CHECKING:
    from dist_tool.oci.digest import Digest
    from dist_tool.store.disk import DiskStore

_F = TypeVar("_F", bound=Callable[..., Any])
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))

_OPTIONS = (
    click.option("--root", type=DIR, help="Use the store in this directory; also DIST_STORE."),
    click.option(
        "--error-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Format of error messages. Default: text.",
    ),
    click.option("--debug", is_flag=True, help="Show a traceback with an error."),
)


def store_options(function: _F) -> _F:
    """Add --root, --error-format and --debug; the command is called with `store`."""
    return _with_store(function, creating=False)


def new_store_options(function: _F) -> _F:
    """`store_options` for a command that creates the store if it does not exist."""
    return _with_store(function, creating=True)


def _with_store(function: _F, *, creating: bool) -> _F:
    def invoke(*args: Any, root: str | None, **kwargs: Any) -> Any:
        for name in ("debug", "error_format"):
            kwargs.pop(name)  # read by main and `Failures`
        return function(*args, store=_open(root, creating=creating), **kwargs)

    return decorated(invoke, function, _OPTIONS)


def _open(root: str | None, *, creating: bool) -> DiskStore:
    """Open the store. A missing default store counts as empty; a missing `root` raises NotFound unless `creating`."""
    from dist_tool.run import Run
    from dist_tool.store.disk import DiskStore

    path = os.path.expanduser(_default_store() if root is None else root)
    if root and not creating and not os.path.exists(path):
        from dist_tool.errors import NotFound

        raise NotFound(f"{root}: no such store")
    return DiskStore(path, Run(show_notice))


def _default_store() -> str:
    """The directory of the store that `dist fetch --store` uses: `DIST_STORE`, the configured one, the default."""
    from dist_tool.store import configured_path, default_path

    if os.environ.get("DIST_STORE"):
        return default_path(os.environ)
    from dist_tool.config import load

    return configured_path(load(os.environ))


def expand_stdin(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments, with `-` replaced by the lines of standard input, each as soon as it is read."""
    for argument in arguments:
        if argument != "-":
            yield argument
            continue
        from dist_tool.cli._output import stdin_lines

        for line in stdin_lines():
            if value := line.decode("utf-8", "surrogateescape").strip():
                yield value


def labels_of(pairs: Iterable[str]) -> dict[str, str]:
    """Parse KEY=VALUE arguments. Raises InvalidArgument."""
    from dist_tool.errors import InvalidArgument
    from dist_tool.store.labels import check

    labels = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise InvalidArgument(f"{pair!r} is not a label", hint="expected KEY=VALUE, or KEY= to remove one")
        labels[key] = value
    check(labels)
    return labels


def media_type_of(text: str | None) -> str:
    """Parse the value of --media-type, "" for None. Raises InvalidArgument."""
    from dist_tool.cli._options import value_of
    from dist_tool.errors import InvalidArgument
    from dist_tool.names.hints import parse_hints

    if text is None:
        return ""
    media_type = value_of("--media-type", lambda given: parse_hints([f"mediatype:{given}"]).stated_type(), text)
    if media_type and "*" in media_type:
        raise InvalidArgument(f"--media-type: {media_type!r} is a pattern", hint="give one media type without *")
    return media_type or ""


def names_of(store: DiskStore) -> dict[Digest, list[str]]:
    """The reference names of each digest in index.json."""
    from dist_tool.oci.layout import name_of

    found: dict[Digest, list[str]] = {}
    for entry in store.index.entries():
        if name := name_of(entry):
            found.setdefault(entry.digest, []).append(name)
    return found


def show_age(seconds: float) -> str:
    """Format a duration: `12s`, `5m`, `3h`, `40d`."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def print_table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print rows in aligned columns. `right` has the indexes of right-aligned columns."""
    from dist_tool.cli._output import print_line
    from dist_tool.errors import printable

    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print_line("  ".join(cells).rstrip())


def print_json(value: dict[str, Any]) -> None:
    """Print a JSON object on one line."""
    import json

    from dist_tool.cli._output import print_line

    print_line(json.dumps(value))
