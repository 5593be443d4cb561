"""What servers say, as far as it may be quoted: some repeat what they were sent, secrets included."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from urllib.parse import unquote, urlsplit

# Headers of a request that hold nothing of anybody's, and what registries' queries ask.
_OPEN = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "if-range", "range"),
        *("user-agent", "x-amz-content-sha256", "x-amz-date"),
        *("artifacttype", "last", "n", "ns"),
    }
)
_SHORTEST = 8  # characters: what is configured and shorter is no secret, and may be a part of any word
_HIDDEN = "***"


def quotable(text: str, sent: Mapping[str, str], urls: Iterable[str] = ()) -> str:
    """`text`, of an answer to a request with the headers `sent`, without their secrets and those of `urls`.

    Of a URL these are its password, and the values of its query, which may be signatures. JSON may
    have a slash escaped, which tokens are full of.
    """
    secrets = {*_of_headers(sent), *(secret for url in urls for secret in _of_url(url))} - {""}
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, _HIDDEN).replace(secret.replace("/", "\\/"), _HIDDEN)
    return text


def _of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name.lower() == "authorization":
            yield from _of_authorization(value)
        else:
            yield from _of_pair(name, value)


def _of_pair(name: str, value: str) -> Iterator[str]:
    if name.lower() not in _OPEN and len(value) >= _SHORTEST:
        yield value


def _of_authorization(value: str) -> Iterator[str]:
    """The credentials; of those that have parts, the part that is secret by itself, too."""
    scheme, _, credentials = value.partition(" ")
    yield credentials
    yield credentials.partition("Signature=")[2]
    if scheme.lower() == "basic":
        with suppress(ValueError):  # a header of the configuration may hold anything
            yield b64decode(credentials).decode("latin-1").partition(":")[2]


def _of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        yield from _of_pair(name, value)
        yield from _of_pair(name, unquote(value))
    if parts.password:
        user, password = unquote(parts.username or ""), unquote(parts.password)
        yield password
        yield b64encode(f"{user}:{password}".encode("latin-1", "replace")).decode()  # as requests does
