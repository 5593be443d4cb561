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
_SEND_LIMIT = 4  # for one request, including those after a change of region and after an expired redirect
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CLASSES: Mapping[str, type[DistError]] = {
    "AccessDenied": PermissionDenied,
    "AllAccessDisabled": PermissionDenied,
    "ExpiredToken": Unauthenticated,
    "InvalidAccessKeyId": Unauthenticated,
    "InvalidToken": Unauthenticated,
    "NoSuchBucket": NotFound,
    "NoSuchKey": NotFound,
    "RequestTimeTooSkewed": Unauthenticated,
    "RequestTimeout": ServerError,  # sent with 400, which is final otherwise
    "SignatureDoesNotMatch": Unauthenticated,
    "SlowDown": ServerError,
}
_HINTS = {
    "AccessDenied": "S3 also answers this for a missing key if you may not list the bucket",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}


class BucketEndpoint(NamedTuple):
    """The address of a bucket: an origin, and the path before keys.

    `own` is set for a server other than AWS, whose host does not depend on the region.
    """

    origin: Origin
    path: str
    own: bool

    def url(self, key: str) -> str:
        """The URL of a key."""
        return f"{self.origin}{self.path}/{quoted(key)}"


def aws_endpoint(bucket: str, region: str, scheme: str = "https") -> BucketEndpoint:
    """The bucket's endpoint at AWS: a host for each bucket, except for names with dots, which no certificate covers."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:
        return BucketEndpoint(Origin.of(f"{scheme}://s3.{region}.{domain}"), f"/{bucket}", False)
    return BucketEndpoint(Origin.of(f"{scheme}://{bucket}.s3.{region}.{domain}"), "", False)


class _Location(NamedTuple):
    """The bucket's region and endpoint as currently known, and the connections to it."""

    region: str
    endpoint: BucketEndpoint
    session: HttpSession


class _BucketClient:
    """Signs and sends requests, and changes to the region that S3 reports for the bucket. Thread-safe."""

    def __init__(self, bucket: str, host: str, context: Context) -> None:
        self._bucket = bucket
        self._context = context
        profile = Profile(context.settings.environ)
        region = _checked_region(profile.region() or _DEFAULT_REGION)
        self._keys: Keys | None = None if context.endpoint.auth.source == "none" else profile.keys()
        endpoint = self._endpoint_for(host, profile.endpoint(), region)
        self._location_lock = Lock()
        self._old_sessions: list[HttpSession] = []  # other threads may still use them
        self._location = _Location(region, endpoint, HttpSession(endpoint.origin, context))

    def _endpoint_for(self, host: str, url: str, region: str) -> BucketEndpoint:
        plain = self._context.endpoint.plain_http
        if host:
            scheme, *_ = schemes_for(self._context.endpoint, host)  # S3 has no fallback to the second
            url = f"{scheme}://{host}"
        elif not url:
            return aws_endpoint(self._bucket, region, "http" if plain else "https")
        origin = Origin.of(url)
        if origin.scheme == "http" and not plain and not is_loopback(origin.host):
            raise InvalidArgument(f"{url} is plain http", hint="set plain_http = true for it to allow that")
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
        for _ in range(_SEND_LIMIT):
            location = self._location
            first = self._send(location, method, key, headers)
            if first.status in ok:
                return first
            body = error_body(first)
            if self._region_changed(location, first, body):
                continue
            # A redirect for another reason than the region is followed without the signature, which is not valid there.
            reply = location.session.follow_redirects(first, headers)
            if reply is first:
                raise _failure(first, body, self._keys)
            if reply.status in ok:
                return reply
            if reply.status not in (401, 403) or expired:
                raise _failure(reply, error_body(reply), None)
            reply.drain()
            expired = True  # a signed redirect URL may have expired: request a new one, once
        raise ProtocolError(f"{self._location.endpoint.origin.netloc}: too many region redirects")

    def _send(self, location: _Location, method: str, key: str, headers: Mapping[str, str]) -> Reply:
        url = location.endpoint.url(key)
        signed = sign(method, url, self._keys, location.region, time()) if self._keys else {}
        return location.session.send(Request(method, url, {**headers, **signed}))

    def _region_changed(self, location: _Location, reply: Reply, body: bytes) -> bool:
        """Record the bucket's region from an error response; True if the request is to be signed for it (R6)."""
        if reply.status not in _REDIRECTS and reply.status != 400:
            return False
        region = reply.headers.get("x-amz-bucket-region") or _elements(body).get("Region", "")
        if not _REGION.fullmatch(region) or region == location.region:
            return False
        with self._location_lock:
            if self._location is location:  # else another thread has changed it
                self._location = self._location_in(region, location)
        return True

    def _location_in(self, region: str, location: _Location) -> _Location:
        if location.endpoint.own:
            return location._replace(region=region)
        self._old_sessions.append(location.session)
        endpoint = aws_endpoint(self._bucket, region, location.endpoint.origin.scheme)
        return _Location(region, endpoint, HttpSession(endpoint.origin, self._context))

    def close(self) -> None:
        for session in (*self._old_sessions, self._location.session):
            session.close()


def _checked_region(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise InvalidArgument(f"{printable(region, 60)!r} is not an AWS region")
    return region


def _elements(body: bytes) -> dict[str, str]:
    """The known elements of an error body. Four flat elements need no XML parser."""
    return dict(_ELEMENT.findall(body.decode("utf-8", "replace")))


def _failure(reply: Reply, body: bytes, keys: Keys | None) -> DistError:
    """The error for an S3 response; for a HEAD it is derived from the status alone."""
    found = _elements(body)
    error = failure_of(reply, b"")
    code = found.get("Code") or ("AccessDenied" if reply.status == 403 else "")
    make = _CLASSES.get(code)
    if make is not None and not error.retryable:
        message = ": ".join(printable(text, 300) for text in (code, found.get("Message", "")) if text)
        error = make(f"{message} ({reply})", host=reply.origin.netloc, status=reply.status)
    hint = error.hint or _HINTS.get(code, "")
    if isinstance(error, PermissionDenied | Unauthenticated):
        key = f"with the key from {keys.source}" if keys else "without a key"
        hint = "; ".join(text for text in (f"requested {key}", hint) if text)
    return error.with_(hint=hint)


def open_remote(locator: Locator, context: Context) -> PathRemote:
    """The bucket of a location. Raises InvalidArgument."""
    address, _, prefix = locator.rest.partition("/")
    bucket, at, host = address.partition("@")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise InvalidArgument(f"{locator}: {printable(bucket, 80)!r} is not a valid bucket name")
    if at:
        check_host(host, str(locator))
    return PathRemote(_BucketClient(bucket, host.lower(), context), parse_template(prefix), context)
