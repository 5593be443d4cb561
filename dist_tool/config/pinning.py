"""Writing a pin into a configuration file, and leaving every other byte of it as it is."""

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
    """Pin a canonical `NAME:TAG` in a file, which is made where it is not there.

    Raises InvalidArgument where the file is broken or the entry can only be written by hand,
    LocalFailure where it cannot be written; the file is untouched then.
    """
    replace_file(file, partial(_with_pin, file, name, digest, environ))


def _with_pin(file: str, name: str, digest: Digest, environ: Mapping[str, str], data: bytes) -> bytes:
    document = parse_document(file, data, environ)
    DOCUMENT(document)  # what is broken is not written to
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
    """How the file spells the name, None where it does not pin it."""
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
    """After the last pin, else after the table's header, else at the end of the file."""
    at = [line for path, line in document.source.lines.items() if path[0] == "pin"]
    if at:
        if max(at) == len(lines):  # the last line has no end
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
    """The proof that nothing else has changed: TOML can be written in more ways than are known here."""
    try:
        changed = parse_document(file, data, environ).raw
    except InvalidArgument:
        changed = None
    if changed != expected:
        raise InvalidArgument(
            f"{file}: the pins are written in a way that cannot be changed here",
            hint="write them as a table, [pin], one on a line",
        )
