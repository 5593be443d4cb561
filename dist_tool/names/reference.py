"""Locators, objects, references and hints: the words of the command line, parsed once.

Everything here is grammar: no look-up, no file is touched (behaviours group A).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from dist_tool.errors import InvalidArgument
from dist_tool.names.host import check_host, normal_host
from dist_tool.oci.digest import Digest, is_hash_name, looks_like_digest, reject_misspelled_digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, OCTET_STREAM, is_media_type

HUB = "docker.io"
HUB_API = "registry-1.docker.io"  # docker.io itself is no registry (behaviours A5)
_HUB_HOSTS = frozenset({HUB, "index.docker.io", HUB_API})
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_KIND = re.compile(r"[a-z][a-z0-9+.-]*")
_HEX64 = re.compile(r"[a-f0-9]{64}")
_WITH_DEFAULT = frozenset({"containerd", "store"})  # kinds that have a place of their own
_COLON_ENDS_PLACE = frozenset({"", "layout", "archive", "store"})
_LONGEST_REPOSITORY = 255
_LONGEST_TEXT = 4096
# Spellings of other tools, and ours.
_FOREIGN = {
    "docker": "",
    "oci": "layout::",
    "dir": "layout::",
    "oci-archive": "archive::",
    "docker-archive": "archive::",
    "http": "http::",
    "https": "http::",
    "s3": "s3::",
    "file": "",
    "ocidir": "layout::",
    "ocifile": "archive::",
}


class Locator(NamedTuple):
    """Where objects are: a canonical name (`docker.io/library/redis`), a local path, or `KIND::REST`.

    `kind` is "" for a name, which the remotes table looks up, and "path" for a local path.
    """

    kind: str
    rest: str

    def __str__(self) -> str:
        return self.rest if self.kind in ("", "path") else f"{self.kind}::{self.rest}"

    @property
    def host(self) -> str:
        """The registry part of a name, with its port: also the key of credentials.

        What stands before an `@`, as a bucket does, is no part of it, nor is a kind within
        another one (`layout::http::HOST/PATH`): a host is configured and blocked by its name alone.
        """
        head = self.rest.partition("/")[0]
        while self.kind and (inner := _KIND.match(head)) and head.startswith("::", inner.end()):
            head = head[inner.end() + 2 :]
        return head.rpartition("@")[2]

    @property
    def path(self) -> str:
        """The repository part of a name."""
        return self.rest.partition("/")[2]


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


class Hints(NamedTuple):
    """Advice about an object, never trusted.

    `size` in bytes; `kind` is the value of `type:`; `other` holds unknown hints for the remote.
    `content` tells the remote that the caller reads the object next, so that one request can
    do both.
    """

    media_types: tuple[str, ...] = ()
    size: int | None = None
    kind: str = ""
    other: tuple[tuple[str, str], ...] = ()
    content: bool = False

    def media_type(self) -> str:
        """The media type that the hints suggest, "" for none: it only steers the request."""
        return self.media_types[0] if self.media_types else _KIND_TYPES.get(self.kind, "")

    def stated_type(self) -> str:
        """The media type of a `mediatype:` hint, "" for none.

        For remotes that do not choose an endpoint by type: `type:manifest` also means an index.
        """
        return self.media_types[0] if self.media_types else ""

    def platform(self) -> str:
        """The value of a `platform:` hint, "" for none."""
        return next((content for name, content in self.other if name == "platform"), "")


_KIND_TYPES = {
    "manifest": OCI_MANIFEST,
    "index": OCI_INDEX,
    "config": OCI_CONFIG,
    "layer": OCI_LAYER,
    "blob": OCTET_STREAM,
}
KNOWN_KINDS = tuple(_KIND_TYPES)


def _is_digest(text: str) -> bool:
    try:
        return bool(Digest.parse(text))
    except InvalidArgument:
        return False


def _checked(text: str, what: str) -> str:
    if not text:
        raise InvalidArgument(f"the {what} is empty")
    if len(text) > _LONGEST_TEXT:
        raise InvalidArgument(f"the {what} {text[:80]!r}… has {len(text)} characters, {_LONGEST_TEXT} is the most")
    if not text.isprintable():
        is_utf8 = not any("\ud800" <= character <= "\udfff" for character in text)  # so Python has what is none
        raise InvalidArgument(f"the {what} {text[:80]!r} {'has control characters' if is_utf8 else 'is not UTF-8'}")
    return text


def is_path(text: str) -> bool:
    """True where a locator's first component marks a local path: absolute, `.`, `..` or `~`."""
    return text.startswith("/") or text.partition("/")[0] in (".", "..", "~")


def parse_locator(text: str) -> Locator:
    """Read a locator: `HOST[:PORT]/PATH`, a local path or `KIND::REST`.

    Names come out canonical (docker.io rules: behaviours A2-A5). Raises InvalidArgument,
    saying what to write instead where that can be known.
    """
    _checked(text, "locator")
    scheme, separator, rest = text.partition("://")
    if separator:
        raise InvalidArgument(f"{text!r}: locators have no scheme", hint=f"write {_respelled(scheme, rest)}")
    if is_path(text):
        return Locator("path", text)
    kind, separator, rest = text.partition("::")
    if separator and _KIND.fullmatch(kind):
        if not rest and kind not in _WITH_DEFAULT:
            raise InvalidArgument(f"{text!r}: nothing follows {kind}::")
        return Locator(kind, _parse_name(rest)) if kind == "registry" else Locator(kind, rest)
    head, separator, rest = text.partition(":")
    if separator and _FOREIGN.get(head) and not rest[:1].isdigit():
        raise InvalidArgument(f"{text!r}: locators have no scheme", hint=f"write {_FOREIGN[head]}{rest}")
    return Locator("", _parse_name(text))


def canonical_host(host: str) -> str:
    """The one spelling of a host, also of Docker Hub: see `normal_host`."""
    host = normal_host(host)
    return HUB if host.removesuffix(":443") in _HUB_HOSTS else host


def parse_host(text: str) -> str:
    """A registry's host as credentials are kept under it. Raises InvalidArgument."""
    if "/" in text:
        raise InvalidArgument(f"{text!r} is not a host", hint="expected HOST[:PORT], without scheme or path")
    check_host(text, text)
    locator = parse_locator(f"{text}/any/name")
    if locator.host == HUB and canonical_host(text) != HUB:
        raise InvalidArgument(f"{text!r} is not a host", hint="expected HOST[:PORT], as in ghcr.io")
    return locator.host


def _respelled(scheme: str, rest: str) -> str:
    prefix = _FOREIGN.get(scheme.lower())
    if prefix is None:
        return f"KIND::{rest}, or the name without {scheme}://"
    if prefix == "http::":
        return f"{prefix}{rest} for files of a web server, {rest} for a registry"
    return prefix + rest


def _parse_name(text: str) -> str:
    host, path = _split_host(text)
    if ":" in path or "@" in path:
        raise InvalidArgument(
            f"{text!r}: a locator holds no tag or digest", hint="give the object as the next argument"
        )
    if not path or path.endswith("/") or path.startswith("/") or "//" in path:
        raise InvalidArgument(f"{text!r}: a component of the path is empty", hint="expected HOST[:PORT]/PATH")
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    check_host(host, text)
    _check_repository(path, text)
    return f"{host}/{path}"


def _split_host(text: str) -> tuple[str, str]:
    host, separator, path = text.partition("/")
    if not separator and ":" in host and not host.startswith("["):
        raise InvalidArgument(f"{text!r}: a locator holds no tag", hint="give the object as the next argument")
    if not host:
        raise InvalidArgument(f"{text!r}: the host is empty")
    if not separator:
        return HUB, text
    lowered = host.lower()
    if lowered == "localhost" or "." in host or ":" in host:
        # One name for one host: credentials, mirrors and policy are looked up by it.
        host = canonical_host(host)
    elif host == lowered:
        return HUB, text
    return host, path


def _check_repository(path: str, text: str) -> None:
    if len(path) > _LONGEST_REPOSITORY:
        raise InvalidArgument(f"{text[:80]!r}…: a repository of {len(path)} characters, 255 is the most")
    if _HEX64.fullmatch(path.removeprefix("library/")):
        raise InvalidArgument(f"{text!r}: 64 hexadecimal digits cannot be a repository")
    if _REPOSITORY.fullmatch(path):
        return
    if _REPOSITORY.fullmatch(path.lower()):
        raise InvalidArgument(f"{text!r}: a repository must be lower case", hint=f"did you mean {path.lower()!r}?")
    raise InvalidArgument(f"{text!r}: {path!r} is not a repository")


def parse_object(text: str) -> ObjectName:
    """Read `TAG`, `DIGEST`, `TAG@DIGEST` or `@DIGEST` (behaviours A10-A15).

    A tag holds no `:`, so whatever has one is a digest or an error. Raises InvalidArgument.
    """
    reject_misspelled_digest(text)
    _checked(text, "object")
    tag, separator, digest = text.rpartition("@")
    if separator:
        return ObjectName(_parse_tag(tag) if tag else "", Digest.parse(digest))
    if ":" in text:
        return ObjectName("", Digest.parse(text))
    return ObjectName(_parse_tag(text))


def digest_in(text: str) -> Digest | None:
    """The digest in an object of a remote whose names have a grammar of their own; None for a name.

    `redis:7` has the form of a digest and is none. Raises InvalidArgument for what is meant as a
    digest and is not spelled as one: the content of a name can come out unverified.
    """
    try:
        digest = parse_object(text).digest if text else None
        return digest if digest is None or is_hash_name(digest.algorithm) else None
    except InvalidArgument:
        if looks_like_digest(text) or text.startswith("@"):
            raise
        return None


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
    _checked(text, "reference")
    if "://" in text:
        parse_locator(text)  # raises with the right spelling
    kind, separator, _ = text.partition("::")
    explicit = kind if separator and _KIND.fullmatch(kind) and not is_path(text) else ""
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
    while (nested := _KIND.match(text, start)) and text.startswith("::", nested.end()):
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


def parse_hints(words: Iterable[str]) -> Hints:
    """Read `TYPE:CONTENT` hints, split at the first `:`.

    A lone `-` is what `shasum` prints for standard input and is ignored, so that
    `dist fetch R sha256:$(… | shasum -a256)` works as typed. A further object is no hint, and
    is not dropped as if it were one. Raises InvalidArgument.
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
            hint="one OBJECT at a time: give several as lines of --stdin, or use xargs -n1",
        )
    name, separator, content = _checked(word, "hint").partition(":")
    if not separator or not name or not content:
        raise InvalidArgument(
            f"{word!r} is not a hint",
            hint="expected TYPE:CONTENT, as in size:1234; give further objects as lines of --stdin, or use xargs -n1",
        )
    return name, content


def _media_type(text: str) -> str:
    """A media type goes into a header as it is: RFC 6838 names, nothing else."""
    if not is_media_type(f"{text[:-1]}any" if text.endswith("/*") else text):
        raise InvalidArgument(f"{text!r} is not a media type")
    return text


def parse_size(text: str, what: str = "size") -> int:
    """A whole number of bytes in ASCII digits: `int()` alone would take "1_0" and "٣" (trap T7)."""
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
    if text not in _KIND_TYPES:
        raise InvalidArgument(f"hint type:{text} is not known", hint=f"one of {', '.join(KNOWN_KINDS)}")
    return text
