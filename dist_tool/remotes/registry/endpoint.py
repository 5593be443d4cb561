"""Requests to a registry's API: paths of a repository, small documents, pagination."""

from __future__ import annotations

from collections.abc import Container, Mapping
from urllib.parse import quote

from dist_tool.auth.authenticator import pull_scope
from dist_tool.context import Context
from dist_tool.errors import DistError, LimitExceeded, ProtocolError
from dist_tool.names.hub import api_host
from dist_tool.names.origin import resolve_location, split_url
from dist_tool.oci.manifest import MANIFEST_LIMIT
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.retry import Attempts, received
from dist_tool.transport.client import HttpBody
from dist_tool.transport.download import decoded
from dist_tool.transport.ranges import Extent, content_length
from dist_tool.transport.service import HttpService
from dist_tool.transport.session import Reply


class RegistryEndpoint:
    """The API of one repository. `host` and `path` are those that are contacted, after any rewrite."""

    def __init__(self, host: str, path: str, context: Context) -> None:
        self.host = host
        self.path = path
        self._context = context
        original_host = context.asked.host if context.endpoint.ns and context.asked else ""
        self._ns = f"ns={quote(original_host, safe=':')}" if original_host else ""
        probe = f"{context.endpoint.api_path}/"
        self._site = HttpService(api_host(host), context, account=host, scopes=(pull_scope(path),), probe=probe)

    @property
    def _root(self) -> str:
        return f"{self._context.endpoint.api_path}/{self.path}/"

    def ask(self, method: str, tail: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        """Send a request for a path below this repository, such as `manifests/latest`; see `HttpService.ask`."""
        path = f"{self._root}{tail}"
        if self._ns and "ns=" not in tail.partition("?")[2]:
            path = f"{path}{'&' if '?' in tail else '?'}{self._ns}"
        return self._site.ask(method, path, headers, ok)

    def foreign(self, url: str) -> Reply:
        """GET an entry of a descriptor's `urls`; see `Client.fetch_url`."""
        return self._site.foreign(url)

    def document(self, tail: str, headers: Mapping[str, str], limit: int = MANIFEST_LIMIT) -> tuple[Reply, bytes]:
        """GET a small document into memory. A cut transfer is restarted from the beginning.

        Raises LimitExceeded above `limit` bytes, and the errors of `ask`.
        """
        with Attempts(self._context.retry, self._context.run) as attempts:
            while True:
                reply = self.ask("GET", tail, headers, (200,))
                try:
                    body = HttpBody(reply, Extent(0, content_length(reply.headers)))
                    return reply, _read_whole(decoded(reply, body, limit=limit), limit)
                except DistError as error:
                    attempts.failed(error)
                finally:
                    reply.close()

    def next_page(self, reply: Reply) -> str | None:
        """The tail of the page that a `Link` header names, None for the last page.

        Raises ProtocolError for another scheme, host or port (GHSA-h7vf-4x9w-h99v).
        """
        target = _next_link(reply.headers.get("Link", ""))
        if target is None:
            return None
        origin, path = split_url(resolve_location(reply.request.url, target))
        if origin != self._site.home or not path.startswith(self._root):
            raise ProtocolError(f"{self.host}: the next page is outside the repository's API")
        return path.removeprefix(self._root)

    def close(self) -> None:
        """Close every connection."""
        self._site.close()


def _read_whole(body: Body, limit: int) -> bytes:
    data = bytearray()
    view = memoryview(bytearray(min(CHUNK, limit + 1)))
    try:
        if body.total is not None and body.total > limit:
            raise LimitExceeded(f"{body.source} declares {body.total} bytes, over the limit of {limit}")
        while got := body.readinto(view):
            received(got)
            data += view[:got]
            if len(data) > limit:
                raise LimitExceeded(f"{body.source}: more than the limit of {limit} bytes")
    finally:
        body.close()
    return bytes(data)


def _next_link(value: str) -> str | None:
    """The target of `<target>; rel="next"` (RFC 8288) among the links of a header value."""
    rest = value
    while (start := rest.find("<")) >= 0 and (end := rest.find(">", start)) >= 0:
        target, rest = rest[start + 1 : end], rest[end + 1 :]
        parameters = rest[: rest.find("<")] if "<" in rest else rest
        for parameter in parameters.split(";"):
            name, _, content = parameter.partition("=")
            if name.strip().lower() == "rel" and "next" in content.strip(' ",').lower().split():
                return target
    return None
