"""What a tree of files gives: digests by a template, names by their path."""

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
    """How a tree is asked for a path, which is given unquoted and without a leading slash."""

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        """Send a request; an answer whose status is in `ok`, its body unread. Raises for any other."""

    def close(self) -> None:
        """Close every connection."""


class PathRemote:
    """A tree of files behind a `PathClient`."""

    def __init__(self, door: PathClient, template: Template, context: Context) -> None:
        self._door = door
        self._template = template
        self._context = context

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """A digest, with its size where somebody is asked. Raises NoDigest for names: only their bytes could tell."""
        digest = as_digest(object_id)
        if digest is None:
            self._template.path(object_id)
            raise NoDigest(f"the digest of {object_id!r} is not known before it is read")
        digest.hasher()
        size = hints.size if hints.content else self._size(self._template.blob_path(digest))
        return Descriptor(digest, size, hints.stated_type() or OCTET_STREAM)

    def _size(self, path: str) -> int | None:
        return content_length(head_or_get(self._door.ask, path, _HEADERS).headers)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a digest from `offset`, or from 0 where the server knows no ranges."""
        desc.digest.hasher()
        wanted = DownloadRequest(_HEADERS, desc.digest, desc.size)
        return self._open(self._template.blob_path(desc.digest), wanted, offset)

    def open_name(self, object_id: str, hints: Hints) -> Body:
        """The bytes of a path below the location."""
        body = self._open(self._template.path(object_id), DownloadRequest(_HEADERS, None, hints.size), 0)
        if body.total is None and hints.size is None:  # B30
            text = f"{object_id}: {body.source} declares no size: an end that comes too early would not be noticed"
            self._context.run.report(Notice("warning", text))
        return body

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:
        """The bytes from the cut on while the validator holds, else from the beginning (behaviours B28)."""
        wanted = DownloadRequest(_HEADERS, None, hints.size, cut.validator)
        return self._open(self._template.path(object_id), wanted, cut.offset if cut.validator else 0)

    def open_path(self, path: str, desc: Descriptor | None = None, offset: int = 0) -> Body:
        """The bytes of a path, which are those of `desc` where that is given; see `api.PathFetcher`."""
        wanted = DownloadRequest(_HEADERS, desc.digest, desc.size) if desc else DownloadRequest(_HEADERS)
        return self._open(self._template.path(path), wanted, offset if desc else 0)

    def _open(self, path: str, wanted: DownloadRequest, offset: int) -> Body:
        size = wanted.size
        if size is None:
            wanted = wanted._replace(size=self._context.settings.max_size)
        body = open_object(partial(self._door.ask, "GET", path), wanted, offset, self._context)
        return bounded(body, size, partial(self._size, path))

    def close(self) -> None:
        """Close every connection."""
        self._door.close()
