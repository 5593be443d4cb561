"""Pins: adding or changing one in a configuration file, with every other byte unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dist_tool.config.document import Value, parse_document
from dist_tool.config.tables import DOCUMENT
from dist_tool.config.values import pinned_name
from dist_tool.errors import InvalidArgument
from dist_tool.files import replace_file
from dist_tool.oci.digest import Digest


def write_pin(file: str, name: str, digest: Digest, environ: Mapping[str, str]) -> None:
    """Pin a canonical `NAME:TAG` in a file, which is created if it does not exist.

    Raises InvalidArgument if the file is invalid or has a form that cannot be edited,
    LocalFailure if it cannot be written; the file is not changed then.
    """
    replace_file(file, partial(_with_pin, file, name, digest, environ))


def _with_pin(file: str, name: str, digest: Digest, environ: Mapping[str, str], data: bytes) -> bytes:
    document = parse_document(file, data, environ)
    DOCUMENT(document)  # raises InvalidArgument: invalid files are not edited
    lines = data.decode().split("\n")
    end = "\r" if lines[0].endswith("\r") else ""
    key = _key_of(document, name)
    if key is None:
        _insert(document, lines, f'"{name}" = "{digest}"', end)
    else:
        _replace(document, lines, key, str(digest))
    after = "\n".join(lines).encode()
    _check(file, after, environ, _expected(document.raw, key or name, str(digest)))
    return after


def _key_of(document: Value, name: str) -> str | None:
    """The key of the name in the file, in the file's spelling; None if the file does not pin it."""
    if "pin" not in document.raw:
        return None
    return next((str(pin.path[-1]) for pin in document.child("pin").children() if pinned_name(pin) == name), None)


def _replace(document: Value, lines: list[str], key: str, digest: str) -> None:
    at = document.source.lines.get(("pin", key), 0) - 1
    old = document.raw["pin"][key]
    for quote in ('"', "'"):
        head, found, tail = lines[at].rpartition(f"{quote}{old}{quote}")
        if found:
            lines[at] = f'{head}"{digest}"{tail}'
            return


def _insert(document: Value, lines: list[str], entry: str, end: str) -> None:
    """Insert an entry after the last pin, else after the table's header, else at the end of the file."""
    at = [line for path, line in document.source.lines.items() if path[0] == "pin"]
    if at:
        if max(at) == len(lines):  # the last line has no line end
            lines[-1] += end
            lines.append(entry)
        else:
            lines.insert(max(at), entry + end)
        return
    if lines[-1]:
        lines[-1] += end
        lines.append("")
    gap = [end] if len(lines) > 1 else []
    lines[-1:] = [*gap, f"[pin]{end}", f"{entry}{end}", ""]


def _expected(raw: Mapping[str, Any], key: str, digest: str) -> dict[str, Any]:
    return {**raw, "pin": {**raw.get("pin", {}), key: digest}}


def _check(file: str, data: bytes, environ: Mapping[str, str], expected: Mapping[str, Any]) -> None:
    """Check that only the pin has changed, since TOML has more forms than this module can edit.

    Raises InvalidArgument.
    """
    try:
        changed = parse_document(file, data, environ).raw
    except InvalidArgument:
        changed = None
    if changed != expected:
        raise InvalidArgument(
            f"{file}: the pins have a form that dist cannot edit",
            hint="write them as a table, [pin], with one pin per line",
        )
