"""Objects and references: parsing command-line arguments (behaviours group A). No lookups, no I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from dist_tool.errors import InvalidArgument
from dist_tool.names.locator import KIND, Locator, checked_text, is_path, parse_locator
from dist_tool.oci.digest import Digest, is_hash_name, looks_like_digest, reject_misspelled_digest

POSITION = re.compile(r"@([0-9]{1,5})")  # the position of an entry in a layout's index.json, from 0
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_COLON_ENDS_LOCATION = frozenset({"", "layout", "archive", "store"})


class ObjectName(NamedTuple):
    """A tag, a digest, or both, in which case the digest determines the object (behaviours A13, A14)."""

    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        return f"{self.tag}{'@' if self.tag else ''}{self.digest}" if self.digest else self.tag


class Reference(NamedTuple):
    """A locator and an object as one argument. `object_id` "" means the only image of the location."""

    locator: Locator
    object_id: str

    def __str__(self) -> str:
        if not self.object_id:
            return str(self.locator)
        return f"{self.locator}{'@' if _is_digest(self.object_id) else ':'}{self.object_id}"


def _is_digest(text: str) -> bool:
    try:
        return bool(Digest.parse(text))
    except InvalidArgument:
        return False


def parse_object(text: str) -> ObjectName:
    """Parse `TAG`, `DIGEST`, `TAG@DIGEST` or `@DIGEST` (behaviours A10-A15).

    Tags do not contain `:`, so text with one is a digest or an error. Raises InvalidArgument.
    """
    reject_misspelled_digest(text)
    checked_text(text, "object")
    tag, separator, digest = text.rpartition("@")
    if separator:
        return ObjectName(_parse_tag(tag) if tag else "", Digest.parse(digest))
    if ":" in text:
        return ObjectName("", Digest.parse(text))
    return ObjectName(_parse_tag(text))


def as_object(text: str) -> ObjectName:
    """Parse an object of a remote with its own grammar of names: a digest, or any other text as a name.

    A digest begins with the name of a hash function: `redis:7` has the form of a digest, but is a
    name. `@N`, the position of an entry in a layout, is also a name. Raises InvalidArgument for a
    misspelled digest, since the content of a name can be delivered without verification.
    """
    if not text or POSITION.fullmatch(text):
        return ObjectName(text)
    try:
        found = parse_object(text)
    except InvalidArgument:
        if looks_like_digest(text) or text.startswith("@"):
            raise
        return ObjectName(text)
    return found if found.digest is None or is_hash_name(found.digest.algorithm) else ObjectName(text)


def as_digest(text: str) -> Digest | None:
    """The digest in an object, None for a name. Raises InvalidArgument like `as_object`."""
    return as_object(text).digest


def _parse_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise InvalidArgument(
            f"{text[:150]!r} is not a tag", hint="use 1 to 128 of A-Z a-z 0-9 _ . - , not beginning with . or -"
        )
    return text


def parse_reference(text: str) -> Reference:
    """Parse `LOCATOR[:TAG][@DIGEST]`; the tag of a name without either is `latest` (behaviours A16).

    In paths and layouts, the reference name follows the first `:`. It may contain more of them,
    and may be absent. Raises InvalidArgument.
    """
    checked_text(text, "reference")
    if "://" in text:
        parse_locator(text)  # raises InvalidArgument with the correct spelling
    kind, separator, _ = text.partition("::")
    explicit = kind if separator and KIND.fullmatch(kind) and not is_path(text) else ""
    if is_path(text) or explicit not in ("", "registry"):
        return _split_local(text, len(explicit) + 2 if explicit else 0)
    rest, at, digest = text.partition("@")
    tag = ""
    if ":" in rest.rpartition("/")[2] and not rest.endswith("]"):
        rest, _, tag = rest.rpartition(":")
        _parse_tag(tag)
    locator = parse_locator(rest)
    if at:
        digest = str(Digest.parse(digest))
    return Reference(locator, f"{tag}@{digest}" if tag and at else digest if at else tag or "latest")


def _split_local(text: str, start: int) -> Reference:
    """Parse a reference with a path or a kind; `start` is the index after `KIND::`.

    The reference name of a layout follows the first `:`. In other kinds it follows the first `:` of the
    last component, since the host may have a port.
    """
    kind = text[: max(start - 2, 0)]
    while (nested := KIND.match(text, start)) and text.startswith("::", nested.end()):
        kind, start = nested[0], nested.end() + 2  # layout::http::HOST:PORT/PATH:NAME
    rest, digest = text[start:], ""
    head, at, last = rest.rpartition("@")
    if at and ":" in last and "/" not in last:
        rest, digest = head, str(Digest.parse(last))
    if kind in _COLON_ENDS_LOCATION:
        location, separator, name = rest.partition(":")
    else:
        directory, slash, last = rest.rpartition("/")
        location, separator, name = last.partition(":")
        location = directory + slash + location
    if separator and not name:
        raise InvalidArgument(f"{text!r}: nothing follows the ':'")
    return Reference(parse_locator(text[:start] + location), "@".join(part for part in (name, digest) if part))
