"""Routing: the read-only endpoints of the distribution-spec, from request to response."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from dist_tool.errors import InvalidArgument, NotFound, RegistryError, Unavailable
from dist_tool.names.hints import parse_size
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_INDEX, OCTET_STREAM
from dist_tool.service.http.access import CATALOG_SCOPE, Gate, TokenGate, pull_scope
from dist_tool.service.http.documents import Documents
from dist_tool.service.http.layout import ServedBlob, ServedLayout, ServedRepository, Snapshot, after, is_repository
from dist_tool.service.http.message import FileSlice, RequestRefused, ServerRequest, ServerResponse
from dist_tool.service.http.referrers import Referrers

# A single range. For several the whole content is sent, as RFC 9110 14.2 allows.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))", re.IGNORECASE)
_READING = ("GET", "HEAD")


class RequestTarget(NamedTuple):
    """The repository of a request, and the snapshot it is in."""

    name: str
    repository: ServedRepository
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Routes:
    """Answers requests from one layout."""

    layout: ServedLayout
    documents: Documents
    referrers: Referrers
    gate: Gate
    page: int

    def answer(self, request: ServerRequest) -> ServerResponse:
        """The response to a request; errors are responses too. A client can cause no exception but Unfinished."""
        try:
            response = self._route(request)
        except RequestRefused as refused:
            response = refused.response()
        except Unavailable as error:
            response = RequestRefused(
                503, RegistryError("UNAVAILABLE", error.what), headers={"Retry-After": "1"}
            ).response()
        return response.without_body() if request.method == "HEAD" else response

    def _route(self, request: ServerRequest) -> ServerResponse:
        if request.segments == ("token",) and request.method != "HEAD":
            return self._token(request)
        if request.segments[0] != "v2":
            raise _not_found("UNSUPPORTED", "all endpoints are under /v2/")
        if request.method not in _READING:
            raise _read_only("GET, HEAD")
        match request.segments[1:]:
            case () | ("",):
                self.gate.check(request, "")
                return ServerResponse.of_json(200, {})
            case ("_catalog",):
                self.gate.check(request, CATALOG_SCOPE)
                return self._catalog(request)
            case (*name, "tags", "list"):
                return self._tags(request, self._target(request, name))
            case (*name, "manifests" | "blobs" | "referrers" as endpoint, reference):
                return _ENDPOINTS[endpoint](self, request, self._target(request, name), reference)
        raise _not_found("UNSUPPORTED", "no such endpoint")

    def _token(self, request: ServerRequest) -> ServerResponse:
        if request.method not in ("GET", "POST"):
            raise _read_only("GET, POST")
        if not isinstance(self.gate, TokenGate):
            raise _not_found("UNSUPPORTED", "this server has no token server")
        return self.gate.token(request)

    def _target(self, request: ServerRequest, segments: list[str]) -> RequestTarget:
        """The repository in the path. Access is checked first, so that unauthorized clients cannot test names."""
        name = "/".join(segments)
        if not is_repository(name):
            raise RequestRefused(400, RegistryError("NAME_INVALID", f"{name!r} is not a valid repository name"))
        self.gate.check(request, pull_scope(name))
        snapshot = self.layout.snapshot()
        repository = snapshot.repositories.get(name)
        if repository is None:
            raise _not_found("NAME_UNKNOWN", f"no such repository: {name}")
        return RequestTarget(name, repository, snapshot)

    def _catalog(self, request: ServerRequest) -> ServerResponse:
        names = after(self.layout.snapshot().names, request.parameter("last") or "")
        return self._paged(request, {}, "repositories", names)

    def _tags(self, request: ServerRequest, target: RequestTarget) -> ServerResponse:
        tags = after(target.repository.sorted_tags, request.parameter("last") or "")
        return self._paged(request, {"name": target.name}, "tags", tags)

    def _paged(self, request: ServerRequest, body: dict[str, Any], key: str, rest: tuple[str, ...]) -> ServerResponse:
        """A page of a list, of at most `n` names and the server's limit (CVE-2023-2253)."""
        size = min(_number(request.parameter("n"), self.page), self.page)
        page = rest[:size]
        headers = {}
        if page and len(rest) > size:
            path = "/".join(quote(segment) for segment in request.segments)
            headers["Link"] = f'</{path}?{urlencode({"last": page[-1], "n": size})}>; rel="next"'
        return ServerResponse.of_json(200, body | {key: list(page)}, headers=headers)

    def _manifest(self, request: ServerRequest, target: RequestTarget, reference: str) -> ServerResponse:
        """A manifest or an index by tag or digest, unconverted; Accept is ignored."""
        digest, media_type = self._lookup(target, reference)
        try:
            blob = self.layout.open_blob(digest)
        except NotFound as error:
            raise _not_found("MANIFEST_UNKNOWN", error.what) from error
        return _content(request, digest, blob, media_type)

    def _lookup(self, target: RequestTarget, reference: str) -> tuple[Digest, str]:
        if ":" not in reference:
            entry = target.repository.tags.get(reference)
            if entry is None:
                raise _not_found("MANIFEST_UNKNOWN", f"no such tag: {reference}")
            return entry.digest, entry.media_type
        digest = _digest(reference)
        media_type = target.snapshot.types.get(digest)
        if media_type is None:
            try:
                document = self.documents.read(digest)
            except NotFound as error:
                raise _not_found("MANIFEST_UNKNOWN", error.what) from error
            if document is None:  # another blob of the layout, such as a layer
                raise _not_found("MANIFEST_UNKNOWN", f"{digest} is not a manifest or an index")
            media_type = document.media_type
        return digest, media_type

    def _blob(self, request: ServerRequest, _target: RequestTarget, reference: str) -> ServerResponse:
        """Any blob of the layout, manifests included, from every repository."""
        digest = _digest(reference)
        try:
            blob = self.layout.open_blob(digest)
        except NotFound as error:
            raise _not_found("BLOB_UNKNOWN", error.what) from error
        return _content(request, digest, blob, OCTET_STREAM)

    def _referrers(self, request: ServerRequest, target: RequestTarget, reference: str) -> ServerResponse:
        """An index of the manifests that refer to a digest; an empty one if there are none. Raises Unfinished."""
        artifact_type = request.parameter("artifactType")
        body = self.referrers.body(target.snapshot, _digest(reference), artifact_type)
        headers = {"Content-Type": OCI_INDEX}
        if artifact_type is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        return ServerResponse(200, headers, body, len(body))


_ENDPOINTS: dict[str, Callable[[Routes, ServerRequest, RequestTarget, str], ServerResponse]] = {
    "manifests": Routes._manifest,
    "blobs": Routes._blob,
    "referrers": Routes._referrers,
}


def _content(request: ServerRequest, digest: Digest, blob: ServedBlob, media_type: str) -> ServerResponse:
    """The bytes of a blob, whole or a range (RFC 9110 13 and 14). The digest is the strong entity tag."""
    tag = f'"{digest}"'
    headers = {"Content-Type": media_type, "Docker-Content-Digest": str(digest), "ETag": tag, "Accept-Ranges": "bytes"}
    expected = request.headers.get("if-match")
    if expected is not None and not _lists(expected, tag):
        os.close(blob.fd)
        error = RegistryError("UNKNOWN", "the entity tag does not match If-Match")
        raise RequestRefused(412, error, headers={"ETag": tag})
    if _lists(request.headers.get("if-none-match", "").replace('W/"', '"'), tag):  # weak comparison: RFC 9110 8.8.3.2
        os.close(blob.fd)
        return ServerResponse(HTTPStatus.NOT_MODIFIED, headers)
    requested = request.headers.get("range", "") if request.method == "GET" else ""
    span = _span(requested, blob.size) if request.headers.get("if-range", tag) == tag else None
    if span is None:
        return ServerResponse(200, headers, FileSlice(blob.fd, 0, blob.size), blob.size)
    first, last = span
    if first > last:
        os.close(blob.fd)
        error = RegistryError("SIZE_INVALID", f"the blob has {blob.size} bytes")
        raise RequestRefused(416, error, headers={"Content-Range": f"bytes */{blob.size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
    return ServerResponse(206, headers, FileSlice(blob.fd, first, last - first + 1), last - first + 1)


def _lists(field: str, tag: str) -> bool:
    """True if a list of entity tags contains `tag`, or is `*` (RFC 9110 13.1.1, 13.1.2)."""
    return field.strip() == "*" or tag in (value.strip() for value in field.split(","))


def _span(text: str, size: int) -> tuple[int, int] | None:
    """The first and last byte of a Range field; None for the whole; last < first if it cannot be satisfied."""
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    if match[3] is not None:
        length = min(int(match[3]), size)
        return (size - length, size - 1) if length else (1, 0)
    first, last = int(match[1]), int(match[2]) if match[2] else size
    if last < first and match[2]:
        return None  # an invalid range is ignored (RFC 9110 14.1.1)
    return (first, min(last, size - 1))


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidArgument as error:
        raise RequestRefused(400, RegistryError("DIGEST_INVALID", error.what)) from error


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return parse_size(text, "n")
    except InvalidArgument as error:
        raise RequestRefused(400, RegistryError("UNSUPPORTED", "n is not a whole number")) from error


def _not_found(code: str, message: str) -> RequestRefused:
    return RequestRefused(404, RegistryError(code, message))


def _read_only(allowed: str) -> RequestRefused:
    return RequestRefused(405, RegistryError("UNSUPPORTED", "this registry is read-only"), headers={"Allow": allowed})
