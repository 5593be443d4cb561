"""Registry remote: resolves tags and digests and opens objects (behaviours group B)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from dist_tool.context import Context
from dist_tool.errors import Cancelled, DigestMismatch, DistError, InvalidArgument, NotFound, ProtocolError
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import parse_object
from dist_tool.oci import mediatypes
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import VERIFIABLE, Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT, document_type, parse_json
from dist_tool.remotes.registry.endpoint import RegistryEndpoint
from dist_tool.run import Notice
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Attempts
from dist_tool.transport.client import HttpBody
from dist_tool.transport.download import DownloadRequest, content_type, head_or_get, open_object, without_secrets
from dist_tool.transport.failures import should_retry_with_get
from dist_tool.transport.ranges import Extent, content_length
from dist_tool.transport.session import Reply
from dist_tool.transport.unsized import bounded


class RegistryRemote:
    """One repository of a registry."""

    def __init__(self, locator: Locator, context: Context) -> None:
        self._context = context
        self._endpoint = RegistryEndpoint(locator.host, locator.path, context)
        self._collections: dict[Digest, str] = {}  # "manifests" or "blobs", for each object opened before
        self._limit = context.settings.policy.max_manifest or MANIFEST_LIMIT
        # Media types from hints, by digest: `open` gets the digest only.
        self._wanted: dict[Digest, tuple[str, ...]] = {}

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a tag or digest; see `api.Resolver`.

        A tag costs one HEAD if the registry answers it in full. With `hints.content` it costs one
        GET, which also returns the content; a digest then costs no request.
        """
        name = parse_object(object_id)
        if name.digest is None:
            accept = _accept(hints.media_types)
            return self._get_tag(name.tag, accept) if hints.content else self._head_tag(name.tag, accept)
        name.digest.hasher()  # refuse an algorithm that cannot be verified before any request
        desc = Descriptor(name.digest, hints.size, hints.media_type() or mediatypes.OCTET_STREAM)
        self._wanted[name.digest] = hints.media_types
        return desc if hints.content else self._head_digest(desc)

    def _head_tag(self, tag: str, accept: str) -> Descriptor:
        """HEAD, which Docker Hub does not meter; GET if the response lacks a needed header (B13-B15)."""
        try:
            reply = self._endpoint.ask("HEAD", f"manifests/{tag}", {"Accept": accept}, (200,))
        except DistError as error:
            if not should_retry_with_get(error):
                raise
            return self._get_tag(tag, accept)
        reply.close()
        digest, size = _header_digest(reply), content_length(reply.headers)
        media_type = content_type(reply)
        if digest is None or size is None or not media_type:
            return self._get_tag(tag, accept)
        _refuse_schema1(media_type)
        return Descriptor(digest, size, media_type)

    def _head_digest(self, desc: Descriptor) -> Descriptor:
        """Check that a digest exists. The registry's Docker-Content-Digest is ignored (B11)."""
        manifest_first = mediatypes.is_manifest_like(desc.media_type) or desc.media_type == mediatypes.OCTET_STREAM
        failure: NotFound | None = None
        for collection in ("manifests", "blobs") if manifest_first else ("blobs", "manifests"):
            try:
                reply = head_or_get(self._endpoint.ask, f"{collection}/{desc.digest}", self._headers(collection, desc))
            except NotFound as error:
                failure = failure or error
                continue
            media_type = content_type(reply) or desc.media_type
            return replace(desc, size=content_length(reply.headers), media_type=media_type)
        raise self._not_found(failure)

    def _headers(self, collection: str, desc: Descriptor) -> dict[str, str]:
        if collection != "manifests":
            return {"Accept": "*/*"}
        declared = (desc.media_type,) if mediatypes.is_manifest_like(desc.media_type) else ()
        return {"Accept": _accept((*self._wanted.get(desc.digest, ()), *declared))}

    def _get_tag(self, tag: str, accept: str) -> Descriptor:
        """GET a tag and pin it: the digest of the received bytes is used from here on (behaviours B1)."""
        with Attempts(self._context.retry, self._context.run) as attempts:
            for last in (False, True):
                reply, data = self._endpoint.document(f"manifests/{tag}", {"Accept": accept}, self._limit)
                claimed = _header_digest(reply)
                digest = Digest.of(data, claimed.algorithm if claimed else "sha256")
                if claimed in (None, digest):
                    break
                text = f"{reply.origin.netloc} declares {claimed}, the content is {digest}"
                if self._context.settings.lenient:
                    self._context.run.report(Notice("warning", text))
                    break
                # The header contradicts the body (B12): once may be a race, twice is an error.
                mismatch = DigestMismatch(text, hint="--lenient uses the digest of the content")
                if last:
                    raise mismatch
                attempts.wasted(mismatch)
        media_type = _document_type(reply, data)
        return Descriptor(digest, len(data), media_type, data=data)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of an object from `offset`, or from 0 if the registry does not support ranges.

        Manifests are requested from manifests/ first, all other objects from blobs/. The other
        collection is tried on a 404 only (B2, B3); then the descriptor's `urls`, without
        credentials (B48).
        """
        desc.digest.hasher()
        is_manifest = mediatypes.is_manifest_like(desc.media_type)
        collections = ["manifests", "blobs"] if is_manifest else ["blobs", "manifests"]
        if desc.digest in self._collections:
            collections = [self._collections[desc.digest]]
        failure: NotFound | None = None
        for collection in collections:
            try:
                body = self._open_in(collection, desc, offset)
            except NotFound as error:
                if error.status != 404:
                    raise
                failure = failure or error
            else:
                self._collections[desc.digest] = collection
                return body
        return self._open_foreign(desc, self._not_found(failure))

    def _open_in(self, collection: str, desc: Descriptor, offset: int) -> Body:
        limit = self._limit if collection == "manifests" else None
        size = desc.size
        if size is None:
            size = limit if limit is not None else self._context.settings.max_size
        request = DownloadRequest(self._headers(collection, desc), desc.digest, size)
        ask = partial(self._endpoint.ask, "GET", f"{collection}/{desc.digest}")
        body = open_object(ask, request, offset, self._context)
        body.limit = limit
        return bounded(body, desc.size, partial(self._size, collection, desc))

    def _size(self, collection: str, desc: Descriptor) -> int | None:
        reply = head_or_get(self._endpoint.ask, f"{collection}/{desc.digest}", self._headers(collection, desc))
        return content_length(reply.headers)

    def _not_found(self, failure: NotFound | None) -> NotFound:
        """The error of the first collection, reworded to cover both."""
        failure = failure or NotFound("404 Not Found")
        return failure.with_(what=f"no such blob or manifest in {self._endpoint.path}: {failure.what}")

    def _open_foreign(self, desc: Descriptor, failure: NotFound) -> Body:
        last: DistError = failure
        for url in desc.urls:
            try:
                reply = self._endpoint.foreign(url)
            except Cancelled:
                raise
            except DistError as error:
                last = error
                continue
            return HttpBody(reply, Extent(0, content_length(reply.headers)))
        raise last

    def tags(self) -> Iterator[str]:
        """Every tag, page by page (behaviours B44)."""
        from dist_tool.remotes.registry.listing import tags

        return tags(self._endpoint)

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Manifests that refer to `subject` (behaviours B46, B47)."""
        from dist_tool.remotes.registry.listing import referrers

        return referrers(self._endpoint, subject, artifact_type)

    def close(self) -> None:
        """Close every connection."""
        self._endpoint.close()


def _accept(wanted: tuple[str, ...]) -> str:
    """The Accept header: the requested types first, then every supported type (B4-B6)."""
    return ", ".join(dict.fromkeys([*wanted, *mediatypes.ACCEPTED, "*/*"]))


def _header_digest(reply: Reply) -> Digest | None:
    """Docker-Content-Digest, None if it is absent, malformed or of an algorithm that cannot be verified."""
    try:
        digest = Digest.parse(reply.headers.get("Docker-Content-Digest", "").strip())
    except InvalidArgument:
        return None
    return digest if digest.algorithm in VERIFIABLE else None


def _refuse_schema1(media_type: str) -> None:
    if media_type in mediatypes.SCHEMA1_TYPES:
        document_type({}, media_type)


def _document_type(reply: Reply, data: bytes) -> str:
    """The media type of a tag's content, which must be a JSON document that agrees with its Content-Type (B7-B9)."""
    declared = content_type(reply)
    if declared in ("text/html", "application/xhtml+xml"):
        raise ProtocolError(f"{reply.origin.netloc} answered with a web page ({reply})", hint="is it a registry?")
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ProtocolError(f"{reply.origin.netloc} answered with content that is not a manifest ({reply})")
    if declared in ("", "application/json", "text/plain", mediatypes.OCTET_STREAM):
        declared = ""
    return without_secrets(document_type(value, declared)) or declared or mediatypes.OCTET_STREAM
