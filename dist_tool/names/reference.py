"""Locators, objects, references and hints: the words of the command line, parsed once.

Everything here is grammar: no look-up, no file is touched (behaviours group A).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dist_tool.errors import InvalidArgument
from dist_tool.names.locator import KIND, Locator, checked_text, is_path, parse_locator
from dist_tool.oci.digest import Digest, is_hash_name, looks_like_digest, reject_misspelled_digest

POSITION = re.compile(r"@([0-9]{1,5})")  # of an entry in a layout's index.json, from 0
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_COLON_ENDS_PLACE = frozenset({"", "layout", "archive", "store"})


class ObjectName(NamedTuple):
    """A tag, a digest, or both: then the digest decides (behaviours A13, A14)."""

    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        return f"{self.tag}{'@' if self.tag else ''}{self.digest}" if self.digest else self.tag


class Reference(NamedTuple):
    """A locator and an object in one word. `object_id` "" means the only image there is."""

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
    """Read `TAG`, `DIGEST`, `TAG@DIGEST` or `@DIGEST` (behaviours A10-A15).

    A tag holds no `:`, so whatever has one is a digest or an error. Raises InvalidArgument.
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
    """Read an object of a remote whose names have a grammar of their own: a digest, or any other text as a name.

    Only hash functions make a digest: `redis:7` has the form of one and is a name, and so is `@N`,
    the position of an entry in a layout. Raises InvalidArgument for a misspelled digest: the
    content of a name can be delivered without verification.
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
    """The digest in an object, None for a name. Raises InvalidArgument as `as_object`."""
    return as_object(text).digest


def _parse_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise InvalidArgument(
            f"{text[:150]!r} is not a tag", hint="1 to 128 of A-Z a-z 0-9 _ . - , not beginning with . or -"
        )
    return text


def parse_reference(text: str) -> Reference:
    """Read `LOCATOR[:TAG][@DIGEST]`; a name without either means the tag `latest` (behaviours A16).

    In paths and layouts the reference name begins at the first `:` (it may hold more) and may
    be absent. Raises InvalidArgument.
    """
    checked_text(text, "reference")
    if "://" in text:
        parse_locator(text)  # raises with the right spelling
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
    """A layout's reference name follows the first `:`; other places keep theirs for a port."""
    kind = text[: max(start - 2, 0)]
    while (nested := KIND.match(text, start)) and text.startswith("::", nested.end()):
        kind, start = nested[0], nested.end() + 2  # layout::http::HOST:PORT/PATH:NAME
    rest, digest = text[start:], ""
    head, at, last = rest.rpartition("@")
    if at and ":" in last and "/" not in last:
        rest, digest = head, str(Digest.parse(last))
    if kind in _COLON_ENDS_PLACE:
        place, separator, name = rest.partition(":")
    else:
        directory, slash, last = rest.rpartition("/")
        place, separator, name = last.partition(":")
        place = directory + slash + place
    if separator and not name:
        raise InvalidArgument(f"{text!r}: nothing follows the ':'")
    return Reference(parse_locator(text[:start] + place), "@".join(part for part in (name, digest) if part))
