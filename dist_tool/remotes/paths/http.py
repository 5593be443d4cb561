"""Files of a web server: `http::HOST[:PORT]/PATH` (behaviours R5)."""

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

# Characters of a path that are sent as they are (RFC 3986, pchar); all others are quoted, including `%`, `?` and `#`.
_PLAIN = "/-._~!$&'()*+,;=:@"


class _HttpTree:
    def __init__(self, host: str, context: Context) -> None:
        self._site = HttpService(host, context)

    def ask(self, method: str, path: str, headers: Mapping[str, str], ok: Container[int]) -> Reply:
        return self._site.ask(method, f"/{quote(path, safe=_PLAIN)}", headers, ok)

    def close(self) -> None:
        self._site.close()


def open_remote(locator: Locator, context: Context) -> PathRemote:
    """The tree of a location, by https except on loopback or with `plain_http`. Raises InvalidArgument."""
    host, _, path = locator.rest.partition("/")
    check_host(host, str(locator))
    return PathRemote(_HttpTree(host.lower(), context), parse_template(path), context)
