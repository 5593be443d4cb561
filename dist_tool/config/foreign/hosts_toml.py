"""containerd's `hosts.toml`: the hosts that serve a registry's names (behaviours D1-D7)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

from dist_tool.config import values
from dist_tool.config.document import Value, parse_document
from dist_tool.config.foreign.certs_d import certificates_in
from dist_tool.config.reading import read_file
from dist_tool.config.tables import Key, Table
from dist_tool.names.hub import HUB, is_registry_of_hub
from dist_tool.settings import CAPABILITIES, EVERYTHING, Endpoint, Route, Timeouts, Tls

_HOST = re.compile(r"[A-Za-z0-9.\[\]:_-]+")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


def _capabilities(value: Value) -> frozenset[str]:
    if not isinstance(value.raw, list):
        raise value.expected("a list of words", 'capabilities = ["pull"]')
    return frozenset(value.each(_capability)) or EVERYTHING


def _capability(value: Value) -> str:
    word = values.text(value).lower()
    if word not in CAPABILITIES:
        raise value.error(f"{value.name} is {word!r}", f"expected one of {', '.join(CAPABILITIES)}")
    return word


def _one_or_more(read: values.Reader) -> values.Reader:
    def read_all(value: Value) -> tuple[Any, ...]:
        return tuple(value.each(read)) if isinstance(value.raw, list) else (read(value),)

    return read_all


def _client(value: Value) -> tuple[str, str]:
    """One file with certificate and key, or a pair of files; an empty second name means the first file."""
    if not isinstance(value.raw, list):
        name = values.existing_file(value)
        return name, name
    if len(value.raw) != 2:
        raise value.error(f"{value.name}: expected a certificate and its key")
    certificate = values.existing_file(value.child(0))
    return certificate, values.existing_file(value.child(1)) if value.raw[1] else certificate


def _header(value: Value) -> dict[str, str]:
    """Header fields; several values of one are joined. Variables are not expanded."""
    if not isinstance(value.raw, dict):
        raise value.expected("a table")
    return {str(child.path[-1]): values.plain_header(child) for child in value.children()}


HOST = Table(
    dict,
    {
        "capabilities": Key(_capabilities),
        "ca": Key(_one_or_more(values.existing_file)),
        "client": Key(_one_or_more(_client)),
        "skip_verify": Key(values.flag),
        "header": Key(_header),
        "override_path": Key(values.flag),
        "dial_timeout": Key(values.duration),
    },
    lenient=True,
)


def _hosts(value: Value) -> tuple[tuple[str, Value, dict[str, Any]], ...]:
    if not isinstance(value.raw, dict):
        raise value.expected("a table")
    return tuple((str(child.path[-1]), child, HOST(child)) for child in value.children())


FILE = Table(dict, {**HOST.keys, "server": Key(lambda value: value), "host": Key(_hosts)}, lenient=True)


def read_directory(directory: str, host: str, environ: Mapping[str, str]) -> Route | None:
    """The route for the names of `host` in one of containerd's directories, None if it has none.

    Reads `hosts.toml`, or docker's certificate files if it is missing or empty (D6). Raises
    InvalidArgument with the line for an invalid file; containerd falls back to the registry itself
    then, and so bypasses the configured mirror (D7).
    """
    data = read_file(f"{directory}/hosts.toml", optional=True)
    if data:
        return read_hosts(parse_document(f"{directory}/hosts.toml", data, environ), host)
    tls = certificates_in(directory)
    return Route(host, (Endpoint(tls=tls, where=directory),), where=directory) if tls != Tls() else None


def read_hosts(document: Value, host: str) -> Route:
    """The route for `host` in a parsed file: the `host` tables are its mirrors, `server` is the remote itself."""
    parameters = FILE(document)
    server: Value | None = parameters.pop("server", None)
    hosts = parameters.pop("host", ())
    mirrors = tuple(_endpoint(where, url, keys, host) for url, where, keys in hosts)
    url = values.text(server) if server is not None and server.raw else ""
    primary = _endpoint(server or document, url, parameters, host)
    return Route(host, (*mirrors, primary), where=primary.where)


def _endpoint(at: Value, url: str, keys: Mapping[str, Any], host: str) -> Endpoint:
    endpoint = Endpoint(
        tls=Tls(keys.get("ca", ()), keys.get("client", ()), bool(keys.get("skip_verify"))),
        header=keys.get("header", {}),
        capabilities=keys.get("capabilities", EVERYTHING),
        timeout=Timeouts(connect_s=keys.get("dial_timeout") or Timeouts().connect_s),
        where=at.where,
    )
    if not url:
        return endpoint
    parts = _split(at, url)
    netloc = parts.netloc.lower()
    if not any(sign in netloc for sign in ".:") and netloc != "localhost":
        # Without a dot or a port, it would be parsed as a name on docker.io.
        netloc += f":{443 if parts.scheme == 'https' else 80}"
    return replace(
        endpoint,
        location=HUB if is_registry_of_hub(netloc) else netloc,
        plain_http=parts.scheme == "http",
        api_path=_api_path(at, parts.path, override=bool(keys.get("override_path"))),
        # containerd sends the `ns` parameter to every host except the registry itself.
        ns=netloc != host and not (host == HUB and is_registry_of_hub(netloc)),
    )


def _split(at: Value, url: str) -> SplitResult:
    # The message omits the URL, which may contain a password.
    problem = at.error("this is not the URL of a registry", "as in https://mirror.example")
    if "://" not in url:
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise problem from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise problem
    if not _HOST.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise problem
    return parts


def _api_path(at: Value, path: str, *, override: bool) -> str:
    """The API path of a host: `/v2` is appended unless the path ends with it or `override_path` is set (D4)."""
    clean = posixpath.normpath(path) if path else ""
    clean = clean.rstrip("/")
    if not _PATH.fullmatch(clean):
        raise at.error(f"{path!r} is not the path of an API")
    return clean if override or clean.endswith("/v2") else f"{clean}/v2"
