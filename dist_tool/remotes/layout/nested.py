"""Image layouts over a remote that serves files: `layout::http::HOST/PATH`, `layout::s3::BUCKET/PREFIX`."""

from __future__ import annotations

from dist_tool.api import Closable, PathFetcher
from dist_tool.context import Context
from dist_tool.errors import DistError, InvalidArgument, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.remotes import table
from dist_tool.remotes.layout.reader import LayoutReader, read_whole, repository_of
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Attempts


class NestedLayout(LayoutReader):
    """A layout behind another remote, opened with that remote's own settings."""

    def __init__(self, locator: Locator, context: Context) -> None:
        self._files = _Files(locator, context)
        super().__init__(self._files, repository_of(context))

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """See `LayoutReader.resolve`; a digest with `hints.content` costs no request."""
        digest = as_digest(object_id)
        if digest is None:
            return self._named(object_id, hints)
        digest.hasher()
        if not hints.content:
            return super().resolve(object_id, hints)
        return Descriptor(digest, hints.size, hints.stated_type() or OCTET_STREAM)

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a blob, in one request: the layout version is not checked, since digests are verified."""
        return self._files.open_blob(desc, offset)

    def close(self) -> None:
        """Close the other remote."""
        self._files.close()


class _Files:
    """The files of a layout, read from one other remote, so with one login and one connection pool."""

    def __init__(self, locator: Locator, context: Context) -> None:
        inner = parse_locator(locator.rest.rstrip("/"))
        if "{" in inner.rest:
            raise InvalidArgument(
                f"{locator}: a layout cannot have a template for blobs", hint="remove the braces from the location"
            )
        self.where = locator.rest
        self._context = context
        remote = table.open_remote(inner, context.settings, context.run)
        if not isinstance(remote, PathFetcher):
            close_remote(remote)
            raise Unsupported(f"{locator}: a remote of kind {inner.kind or 'registry'} does not serve files by path")
        self._remote = remote

    def document(self, name: str) -> bytes:
        """A file by its path; a cut transfer is restarted from the beginning."""
        with Attempts(self._context.retry, self._context.run) as attempts:
            while True:
                try:
                    return read_whole(self._remote.open_path(name), MANIFEST_LIMIT + 1)
                except DistError as error:
                    attempts.failed(error)

    def open(self, digest: Digest, offset: int) -> Body:
        return self.open_blob(Descriptor(digest), offset)

    def open_blob(self, desc: Descriptor, offset: int) -> Body:
        path = f"blobs/{desc.digest.algorithm}/{desc.digest.encoded}"
        return self._remote.open_path(path, desc, offset)

    def close(self) -> None:
        close_remote(self._remote)


def close_remote(remote: object) -> None:
    """Close a remote if it can be closed."""
    if isinstance(remote, Closable):
        remote.close()
