"""Locators: a canonical name, a local path or `KIND::REST` (behaviours A1-A9)."""

from __future__ import annotations

import re
from typing import NamedTuple

from dist_tool.errors import InvalidArgument
from dist_tool.names.host import check_host
from dist_tool.names.hub import HUB, canonical_host, full_repository, short_repository

_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*")
KIND = re.compile(r"[a-z][a-z0-9+.-]*")
_HEX64 = re.compile(r"[a-f0-9]{64}")
_WITH_DEFAULT = frozenset({"containerd", "store"})  # kinds with a default location
_LONGEST_REPOSITORY = 255
_LONGEST_TEXT = 4096
# Schemes that other tools use, and the equivalent in our syntax.
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
    """The location of objects: a canonical name (`docker.io/library/redis`), a local path, or `KIND::REST`.

    `kind` is "" for a name, which the remotes table resolves, and "path" for a local path.
    """

    kind: str
    rest: str

    def __str__(self) -> str:
        return self.rest if self.kind in ("", "path") else f"{self.kind}::{self.rest}"

    @property
    def host(self) -> str:
        """The registry part of a name, with its port: also the key for credentials.

        It does not include text before an `@`, such as a bucket, or a nested kind
        (`layout::http::HOST/PATH`): hosts are configured and blocked by name alone.
        """
        head = self.rest.partition("/")[0]
        while self.kind and (inner := KIND.match(head)) and head.startswith("::", inner.end()):
            head = head[inner.end() + 2 :]
        return head.rpartition("@")[2]

    @property
    def path(self) -> str:
        """The repository part of a name."""
        return self.rest.partition("/")[2]


def checked_text(text: str, what: str) -> str:
    """Return `text` if it is not empty, printable and not too long; else raise InvalidArgument about the `what`."""
    if not text:
        raise InvalidArgument(f"the {what} is empty")
    if len(text) > _LONGEST_TEXT:
        raise InvalidArgument(f"the {what} {text[:80]!r}… has {len(text)} characters, the limit is {_LONGEST_TEXT}")
    if not text.isprintable():
        # Python decodes bytes of arguments that are not UTF-8 to surrogates.
        is_utf8 = not any("\ud800" <= character <= "\udfff" for character in text)
        raise InvalidArgument(f"the {what} {text[:80]!r} {'has control characters' if is_utf8 else 'is not UTF-8'}")
    return text


def is_path(text: str) -> bool:
    """True if a locator is a local path: absolute, or with the first component `.`, `..` or `~`."""
    return text.startswith("/") or text.partition("/")[0] in (".", "..", "~")


def parse_locator(text: str) -> Locator:
    """Parse a locator: `HOST[:PORT]/PATH`, a local path or `KIND::REST`.

    Names are returned in canonical form (docker.io rules: behaviours A2-A5). Raises InvalidArgument,
    with the correct spelling as its hint if it can be derived.
    """
    checked_text(text, "locator")
    scheme, separator, rest = text.partition("://")
    if separator:
        raise InvalidArgument(f"{text!r}: locators have no scheme", hint=f"write {_respelled(scheme, rest)}")
    if is_path(text):
        return Locator("path", text)
    kind, separator, rest = text.partition("::")
    if separator and KIND.fullmatch(kind):
        if not rest and kind not in _WITH_DEFAULT:
            raise InvalidArgument(f"{text!r}: nothing follows {kind}::")
        return Locator(kind, _parse_name(rest)) if kind == "registry" else Locator(kind, rest)
    head, separator, rest = text.partition(":")
    if separator and _FOREIGN.get(head) and not rest[:1].isdigit():
        raise InvalidArgument(f"{text!r}: locators have no scheme", hint=f"write {_FOREIGN[head]}{rest}")
    return Locator("", _parse_name(text))


def parse_host(text: str) -> str:
    """Parse a registry host; returns the key of its credentials. Raises InvalidArgument."""
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
            f"{text!r}: a locator must not have a tag or digest", hint="give the object as the next argument"
        )
    if not path or path.endswith("/") or path.startswith("/") or "//" in path:
        raise InvalidArgument(f"{text!r}: a component of the path is empty", hint="expected HOST[:PORT]/PATH")
    path = full_repository(host, path)
    check_host(host, text)
    _check_repository(path, text)
    return f"{host}/{path}"


def _split_host(text: str) -> tuple[str, str]:
    host, separator, path = text.partition("/")
    if not separator and ":" in host and not host.startswith("["):
        raise InvalidArgument(f"{text!r}: a locator must not have a tag", hint="give the object as the next argument")
    if not host:
        raise InvalidArgument(f"{text!r}: the host is empty")
    if not separator:
        return HUB, text
    lowered = host.lower()
    if lowered == "localhost" or "." in host or ":" in host:
        # Canonical, since it is the key for credentials, mirrors and policy.
        host = canonical_host(host)
    elif host == lowered:
        return HUB, text
    return host, path


def _check_repository(path: str, text: str) -> None:
    if len(path) > _LONGEST_REPOSITORY:
        raise InvalidArgument(f"{text[:80]!r}…: the repository has {len(path)} characters, the limit is 255")
    if _HEX64.fullmatch(short_repository(path)):
        raise InvalidArgument(f"{text!r}: 64 hexadecimal digits cannot be a repository")
    if _REPOSITORY.fullmatch(path):
        return
    if _REPOSITORY.fullmatch(path.lower()):
        raise InvalidArgument(f"{text!r}: a repository must be lower case", hint=f"did you mean {path.lower()!r}?")
    raise InvalidArgument(f"{text!r}: {path!r} is not a repository")
