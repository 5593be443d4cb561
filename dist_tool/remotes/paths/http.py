"""A tree of files on a web server: `http::HOST[:PORT]/PATH` (behaviours R5)."""

from __future__ import annotations

from collections.abc import Container, Mapping
from urllib.parse import quote

from dist_tool.context import Context
from dist_tool.names.host import check_host
from dist_tool.names.locator import Locator
from dist_tool.names.template import parse_template
from dist_tool.remotes.paths.remote import PathRemote
from dist_tool.transport.service import HttpService
from dist_tool.transport.session import Reply

# What a path may hold as it is (RFC 3986, pchar); all else is quoted, `%`, `?` and `#` included.
_PLAIN = "/-._~!$&'()*+,;=:@"


class _Door:
    def __init__(self, host: str, context: Context) -> None:
        self._site = HttpService(host, context)

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        return self._site.ask(method, f"/{quote(path, safe=_PLAIN)}", headers, ok)

    def close(self) -> None:
        self._site.close()


def open_remote(locator: Locator, context: Context) -> PathRemote:
    """The tree of a location; https, save for loopback and `plain_http`. Raises InvalidArgument."""
    host, _, path = locator.rest.partition("/")
    check_host(host, str(locator))
    return PathRemote(_Door(host.lower(), context), parse_template(path), context)
