"""Path templates for remotes without an index: paths of names and of digests.

A location such as `files.example/blobs/{algorithm}/{encoded}` defines both. Names are below the
components that precede the first placeholder. In a location without placeholders, digests are at
`{algorithm}/{encoded}` below it (docs/remotes.md).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dist_tool.errors import InvalidArgument, printable
from dist_tool.oci.digest import Digest

_DEFAULT = "{algorithm}/{encoded}"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAMES = ("algorithm", "digest", "encoded", "prefix")


class Template(NamedTuple):
    """Path templates: `base` is the directory of names, `blob` the template for digests, without outer slashes."""

    base: str
    blob: str

    def path(self, name: str) -> str:
        """The path of a name. Raises InvalidArgument for a name that could lead out of `base`."""
        return f"{self.base}/{checked_path(name)}" if self.base else checked_path(name)

    def blob_path(self, digest: Digest) -> str:
        """The path of a digest. It contains nothing that allows path traversal (behaviours A11)."""
        values = {
            "algorithm": digest.algorithm,
            "digest": str(digest),
            "encoded": digest.encoded,
            "prefix": digest.encoded[:2],
        }
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self.blob)


def parse_template(location: str) -> Template:
    """Parse the path of a location. Raises InvalidArgument for an unknown placeholder, and for `..`."""
    text = location.strip("/")
    for part in text.split("/") if text else ():
        if part in (".", "..", ""):
            raise InvalidArgument(f"{printable(location, 200)!r}: a component of the path is {part or 'empty'!r}")
    found = _PLACEHOLDER.findall(text)
    unknown = next((name for name in found if name not in _NAMES), None)
    if unknown is not None or "{" in _PLACEHOLDER.sub("", text) or "}" in _PLACEHOLDER.sub("", text):
        what = f"unknown placeholder {{{unknown}}}" if unknown is not None else "unmatched brace"
        raise InvalidArgument(
            f"{printable(location, 200)!r}: {what}", hint=f"use {', '.join(f'{{{name}}}' for name in _NAMES)}"
        )
    if not found:
        return Template(text, f"{text}/{_DEFAULT}" if text else _DEFAULT)
    if "encoded" not in found and "digest" not in found:
        raise InvalidArgument(
            f"{printable(location, 200)!r}: without {{encoded}}, all digests would have the same path"
        )
    return Template(text[: text.index("{")].rpartition("/")[0], text)


def checked_path(name: str) -> str:
    """Return `name` if it is a relative path without `.` and `..`. Raises InvalidArgument."""
    if not name or len(name) > 1024 or not name.isprintable():
        raise InvalidArgument(f"{printable(name, 80)!r} cannot be the path of an object")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise InvalidArgument(
            f"{printable(name, 200)!r} is not the path of an object", hint="expected components without . and .."
        )
    return name
