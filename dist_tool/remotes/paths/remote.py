"""Remote over a tree of files: digests are located by a template, names by their path."""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import partial
from typing import Protocol

from dist_tool.api import Cut
from dist_tool.context import Context
from dist_tool.errors import NoDigest
from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.names.template import Template
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.run import Notice
from dist_tool.stream.body import Body
from dist_tool.transport.download import DownloadRequest, head_or_get, open_object
from dist_tool.transport.ranges import content_length
from dist_tool.transport.session import Reply
from dist_tool.transport.unsized import bounded

_HEADERS = {"Accept": "*/*"}


class PathClient(Protocol):
    """Sends requests for paths of a tree. A path is unquoted and has no leading slash."""

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        """Send a request; returns a response whose status is in `ok`, its body unread. Raises for any other."""

    def close(self) -> None:
        """Close every connection."""


class PathRemote:
    """A tree of files behind a `PathClient`."""

    def __init__(self, client: PathClient, template: Template, context: Context) -> None:
        self._client = client
        self._template = template
        self._context = context

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a digest, with its size from a HEAD unless `hints.content` is set.

        Raises NoDigest for a name, whose digest is known only after it is read.
        """
        digest = as_digest(object_id)
        if digest is None:
            self._template.path(object_id)
            raise NoDigest(f"the digest of {object_id!r} is not known before it is read")
        digest.hasher()
        size = hints.size if hints.content else self._size(self._template.blob_path(digest))
        return Descriptor(digest, size, hints.stated_type() or OCTET_STREAM)

    def _size(self, path: str) -> int | None:
        return content_length(head_or_get(self._client.ask, path, _HEADERS).headers)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a digest from `offset`, or from 0 if the server does not support ranges."""
        desc.digest.hasher()
        request = DownloadRequest(_HEADERS, desc.digest, desc.size)
        return self._open(self._template.blob_path(desc.digest), request, offset)

    def open_name(self, object_id: str, hints: Hints) -> Body:
        """The bytes of a path below the location."""
        body = self._open(self._template.path(object_id), DownloadRequest(_HEADERS, None, hints.size), 0)
        if body.total is None and hints.size is None:  # B30
            text = f"{object_id}: {body.source} declares no size: a cut transfer would not be noticed"
            self._context.run.report(Notice("warning", text))
        return body

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:
        """The bytes from the cut on if the validator still matches, else from 0 (behaviours B28)."""
        request = DownloadRequest(_HEADERS, None, hints.size, cut.validator)
        return self._open(self._template.path(object_id), request, cut.offset if cut.validator else 0)

    def open_path(self, path: str, desc: Descriptor | None = None, offset: int = 0) -> Body:
        """The bytes of a path; `desc` is their descriptor, if it is known; see `api.PathFetcher`."""
        request = DownloadRequest(_HEADERS, desc.digest, desc.size) if desc else DownloadRequest(_HEADERS)
        return self._open(self._template.path(path), request, offset if desc else 0)

    def _open(self, path: str, request: DownloadRequest, offset: int) -> Body:
        size = request.size
        if size is None:
            request = request._replace(size=self._context.settings.max_size)
        body = open_object(partial(self._client.ask, "GET", path), request, offset, self._context)
        return bounded(body, size, partial(self._size, path))

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
