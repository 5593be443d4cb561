"""Objects of an S3 bucket: `s3::BUCKET/PREFIX`, `s3::BUCKET@HOST[:PORT]/PREFIX` (behaviours R6)."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from threading import Lock
from time import time
from typing import NamedTuple

from dist_tool.context import Context
from dist_tool.errors import (
    DistError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ProtocolError,
    ServerError,
    Unauthenticated,
    printable,
)
from dist_tool.names.host import check_host
from dist_tool.names.locator import Locator
from dist_tool.names.origin import Origin, is_loopback
from dist_tool.names.template import parse_template
from dist_tool.remotes.paths.aws import Profile
from dist_tool.remotes.paths.remote import PathRemote
from dist_tool.remotes.paths.sigv4 import Keys, quoted, sign
from dist_tool.stream.retry import Attempts
from dist_tool.transport.client import error_body, failure_of
from dist_tool.transport.schemes import schemes_for
from dist_tool.transport.session import HttpSession, Reply, Request

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_DEFAULT_REGION = "us-east-1"
_ELEMENT = re.compile(r"<(Code|Message|Region|BucketEndpoint)>([^<]{0,1000})</")
_MOST_MOVES = 4  # to another region, and through an expired redirect, once each
_MOVED = frozenset({301, 302, 303, 307, 308})
_CLASSES: Mapping[str, type[DistError]] = {
    "AccessDenied": PermissionDenied,
    "AllAccessDisabled": PermissionDenied,
    "ExpiredToken": Unauthenticated,
    "InvalidAccessKeyId": Unauthenticated,
    "InvalidToken": Unauthenticated,
    "NoSuchBucket": NotFound,
    "NoSuchKey": NotFound,
    "RequestTimeTooSkewed": Unauthenticated,
    "RequestTimeout": ServerError,  # with 400, which else is final
    "SignatureDoesNotMatch": Unauthenticated,
    "SlowDown": ServerError,
}
_HINTS = {
    "AccessDenied": "S3 says so, too, of what is not there, to those who may not list the bucket",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}


class BucketEndpoint(NamedTuple):
    """Where a bucket is: an origin, and the path before keys. `own`: not AWS, so it has no other regions' hosts."""

    origin: Origin
    path: str
    own: bool

    def url(self, key: str) -> str:
        """The URL of a key."""
        return f"{self.origin}{self.path}/{quoted(key)}"


def aws_endpoint(bucket: str, region: str, scheme: str = "https") -> BucketEndpoint:
    """The bucket at AWS: a host of its own, except for names with dots, which no certificate covers."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:
        return BucketEndpoint(Origin.of(f"{scheme}://s3.{region}.{domain}"), f"/{bucket}", False)
    return BucketEndpoint(Origin.of(f"{scheme}://{bucket}.s3.{region}.{domain}"), "", False)


class _Home(NamedTuple):
    """Where the bucket is, as far as is known, and the connections to there."""

    region: str
    endpoint: BucketEndpoint
    session: HttpSession


class _Door:
    """Signs, sends, and goes to the region that the bucket turns out to be in. Thread-safe."""

    def __init__(self, bucket: str, host: str, context: Context) -> None:
        self._bucket = bucket
        self._context = context
        profile = Profile(context.settings.environ)
        region = _checked_region(profile.region() or _DEFAULT_REGION)
        self._keys: Keys | None = None if context.endpoint.auth.source == "none" else profile.keys()
        endpoint = self._find(host, profile.endpoint(), region)
        self._moving = Lock()
        self._left: list[HttpSession] = []  # other threads may be using them still
        self._home = _Home(region, endpoint, HttpSession(endpoint.origin, context))

    def _find(self, host: str, url: str, region: str) -> BucketEndpoint:
        plain = self._context.endpoint.plain_http
        if host:
            scheme, *_ = schemes_for(self._context.endpoint, host)  # S3 has no fallback to the second
            url = f"{scheme}://{host}"
        elif not url:
            return aws_endpoint(self._bucket, region, "http" if plain else "https")
        origin = Origin.of(url)
        if origin.scheme == "http" and not plain and not is_loopback(origin.host):
            raise InvalidArgument(f"{url} is plain http", hint="set plain_http = true for it, if that is meant")
        return BucketEndpoint(origin, f"/{self._bucket}", True)

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        with Attempts(self._context.retry, self._context.run) as attempts:
            while True:
                try:
                    return self._ask_once(method, path, headers, ok)
                except DistError as error:
                    attempts.failed(error)

    def _ask_once(self, method: str, key: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        expired = False
        for _ in range(_MOST_MOVES):
            home = self._home
            first = self._send(home, method, key, headers)
            if first.status in ok:
                return first
            body = error_body(first)
            if self._moved(home, first, body):
                continue
            # Elsewhere for a reason that is not the region: without a signature, which would be of no use there.
            reply = home.session.follow_redirects(first, headers)
            if reply is first:
                raise _failure(first, body, self._keys)
            if reply.status in ok:
                return reply
            if reply.status not in (401, 403) or expired:
                raise _failure(reply, error_body(reply), None)
            reply.drain()
            expired = True  # a URL that somebody signed may have, on the way: once more from the front door
        raise ProtocolError(f"{self._home.endpoint.origin.netloc}: sends us from place to place")

    def _send(self, home: _Home, method: str, key: str, headers: Mapping[str, str]) -> Reply:
        url = home.endpoint.url(key)
        signed = sign(method, url, self._keys, home.region, time()) if self._keys else {}
        return home.session.send(Request(method, url, {**headers, **signed}))

    def _moved(self, home: _Home, reply: Reply, body: bytes) -> bool:
        """Take note of the region that the bucket is in, to sign anew: a signature is good for one (R6)."""
        if reply.status not in _MOVED and reply.status != 400:
            return False
        region = reply.headers.get("x-amz-bucket-region") or _elements(body).get("Region", "")
        if not _REGION.fullmatch(region) or region == home.region:
            return False
        with self._moving:
            if self._home is home:  # else another thread was told before
                self._home = self._in(region, home)
        return True

    def _in(self, region: str, home: _Home) -> _Home:
        if home.endpoint.own:
            return home._replace(region=region)
        self._left.append(home.session)
        endpoint = aws_endpoint(self._bucket, region, home.endpoint.origin.scheme)
        return _Home(region, endpoint, HttpSession(endpoint.origin, self._context))

    def close(self) -> None:
        for session in (*self._left, self._home.session):
            session.close()


def _checked_region(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise InvalidArgument(f"{printable(region, 60)!r} is not an AWS region")
    return region


def _elements(body: bytes) -> dict[str, str]:
    """What an error body says. Not read as XML: four flat elements need none of its powers."""
    return dict(_ELEMENT.findall(body.decode("utf-8", "replace")))


def _failure(reply: Reply, body: bytes, keys: Keys | None) -> DistError:
    """The error for S3's answer; of a HEAD the status is all that there is."""
    found = _elements(body)
    error = failure_of(reply, b"")
    code = found.get("Code") or ("AccessDenied" if reply.status == 403 else "")
    make = _CLASSES.get(code)
    if make is not None and not error.retryable:
        said = ": ".join(printable(text, 300) for text in (code, found.get("Message", "")) if text)
        error = make(f"{said} ({reply})", host=reply.origin.netloc, status=reply.status)
    hint = error.hint or _HINTS.get(code, "")
    if isinstance(error, PermissionDenied | Unauthenticated):
        who = f"with the key from {keys.source}" if keys else "without a key"
        hint = "; ".join(text for text in (f"asked {who}", hint) if text)
    return error.with_(hint=hint)


def open_remote(locator: Locator, context: Context) -> PathRemote:
    """The bucket of a location. Raises InvalidArgument."""
    place, _, prefix = locator.rest.partition("/")
    bucket, at, host = place.partition("@")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise InvalidArgument(f"{locator}: {printable(bucket, 80)!r} is not the name of a bucket")
    if at:
        check_host(host, str(locator))
    return PathRemote(_Door(bucket, host.lower(), context), parse_template(prefix), context)
