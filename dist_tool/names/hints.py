"""Hints: arguments `TYPE:CONTENT` that describe an object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dist_tool.errors import InvalidArgument
from dist_tool.names.locator import checked_text
from dist_tool.oci.digest import looks_like_digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, OCTET_STREAM, is_media_type


class Hints(NamedTuple):
    """Hints about an object. They are never trusted.

    `size` is in bytes; `kind` is the value of `type:`; `other` has unknown hints, for the remote.
    With `content`, the caller reads the object next, so that the remote can resolve and open it
    in one request.
    """

    media_types: tuple[str, ...] = ()
    size: int | None = None
    kind: str = ""
    other: tuple[tuple[str, str], ...] = ()
    content: bool = False

    def media_type(self) -> str:
        """The media type that the hints suggest, "" for none. It only selects the request."""
        return self.media_types[0] if self.media_types else KIND_TYPES.get(self.kind, "")

    def stated_type(self) -> str:
        """The media type of a `mediatype:` hint, "" for none.

        For remotes that do not select an endpoint by type, since `type:manifest` also means an index.
        """
        return self.media_types[0] if self.media_types else ""

    def platform(self) -> str:
        """The value of a `platform:` hint, "" for none."""
        return next((content for name, content in self.other if name == "platform"), "")


KIND_TYPES = {
    "manifest": OCI_MANIFEST,
    "index": OCI_INDEX,
    "config": OCI_CONFIG,
    "layer": OCI_LAYER,
    "blob": OCTET_STREAM,
}
KNOWN_KINDS = tuple(KIND_TYPES)


def parse_hints(words: Iterable[str]) -> Hints:
    """Parse `TYPE:CONTENT` hints, split at the first `:`.

    A single `-` is ignored: `shasum` prints it for standard input, and
    `dist fetch R sha256:$(… | shasum -a256)` is to work. Raises InvalidArgument, also for a
    further object, which must not be ignored as an unknown hint.
    """
    media_types: list[str] = []
    other: list[tuple[str, str]] = []
    size: int | None = None
    kind = ""
    for word in words:
        if word == "-":
            continue
        name, content = _split_hint(word)
        if name == "mediatype":
            media_types.append(_media_type(content))
        elif name == "size":
            size = _agreed(_size(content), size)
        elif name == "type":
            kind = _kind(content)
        else:
            other.append((name, content))
    return Hints(tuple(media_types), size, kind, tuple(other))


def _split_hint(word: str) -> tuple[str, str]:
    if looks_like_digest(word):
        raise InvalidArgument(
            f"{word[:150]!r} is a second object, not a hint",
            hint="give one OBJECT, or several as lines of --stdin, or use xargs -n1",
        )
    name, separator, content = checked_text(word, "hint").partition(":")
    if not separator or not name or not content:
        raise InvalidArgument(
            f"{word!r} is not a hint",
            hint="expected TYPE:CONTENT, as in size:1234; give further objects as lines of --stdin, or use xargs -n1",
        )
    return name, content


def _media_type(text: str) -> str:
    """Validate a media type (RFC 6838 names), since it is copied into a header. Raises InvalidArgument."""
    if not is_media_type(f"{text[:-1]}any" if text.endswith("/*") else text):
        raise InvalidArgument(f"{text!r} is not a media type")
    return text


def parse_size(text: str, what: str = "size") -> int:
    """Parse a number of bytes in ASCII digits. `int()` alone would accept "1_0" and "٣" (trap T7)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63):
        raise InvalidArgument(f"{what} {text!r} is not a number of bytes")
    return int(text)


def _size(text: str) -> int:
    return parse_size(text, "hint size:")


def _agreed(new: int, old: int | None) -> int:
    if old is not None and old != new:
        raise InvalidArgument(f"two sizes are given, {old} and {new}")
    return new


def _kind(text: str) -> str:
    if text not in KIND_TYPES:
        raise InvalidArgument(f"hint type:{text} is not known", hint=f"one of {', '.join(KNOWN_KINDS)}")
    return text
