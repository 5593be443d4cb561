"""Registers the secrets of a request for redaction, as servers may repeat them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

from dist_tool.names.origin import may_be_signature
from dist_tool.redaction import remember

# Request headers and query parameters of registries that contain no secrets.
_OPEN = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "if-range", "range"),
        *("user-agent", "x-amz-content-sha256", "x-amz-date"),
        *("artifacttype", "client_id", "last", "n", "ns", "scope", "service"),
    }
)
_SHORTEST = 8  # characters: shorter values are not registered, as they may be part of any word


def remember_request(headers: Mapping[str, str], own: Mapping[str, str], urls: Iterable[str]) -> None:
    """Register the secrets in a request: in its `headers`, in `own` (configured) headers, and in URLs.

    In a URL these are the password, and the values of query and path parameters, which may be
    signatures.
    """
    remember(secret for name, value in own.items() for secret in _of_pair(name, value))
    for name, value in headers.items():
        if name.lower() == "authorization":  # signatures belong to one request only
            remember(_of_authorization(value), lasting=value.lower().startswith(("basic ", "bearer ")))
        elif name not in own:
            remember(_of_pair(name, value), lasting=False)
    for url in urls:
        remember(_of_url(url), lasting=False)


def remember_proxy(url: str) -> None:
    """Register the credentials in a proxy URL. A URL that cannot be parsed is reported when it is used."""
    with suppress(ValueError):
        remember(_of_userinfo(urlsplit(url)))


def remember_path(path: str) -> None:
    """Register the parts of a redirect's path that may be signatures."""
    remember(filter(may_be_signature, path.split("/")), lasting=False)


def _of_pair(name: str, value: str) -> Iterator[str]:
    if name.lower() not in _OPEN and len(value) >= _SHORTEST:
        yield value


def _of_authorization(value: str) -> Iterator[str]:
    """The credentials, and the part that is secret by itself: signature or password."""
    scheme, _, credentials = value.partition(" ")
    yield credentials
    yield credentials.partition("Signature=")[2]
    if scheme.lower() == "basic":
        with suppress(ValueError):  # a configured header may have any value
            yield b64decode(credentials).decode("utf-8", "surrogateescape").partition(":")[2]


def _of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    for pair in (*parts.query.split("&"), *_parameters(parts.path)):
        name, _, value = pair.partition("=")
        yield from _of_pair(name, value)
        yield from _of_pair(name, unquote(value))
    yield from _of_userinfo(parts)


def _parameters(path: str) -> Iterator[str]:
    for segment in path.split("/"):
        yield from segment.split(";")[1:]


def _of_userinfo(parts: SplitResult) -> Iterator[str]:
    if parts.password:
        user, password = unquote(parts.username or ""), unquote(parts.password)
        yield password
        yield b64encode(f"{user}:{password}".encode("latin-1", "replace")).decode()  # as requests does
