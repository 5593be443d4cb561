"""Readers: convert a `Value` to a validated Python value, or raise InvalidArgument with its file and line."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from dist_tool.config.document import Value
from dist_tool.config.quantity import checked_bytes, checked_seconds, parse_bytes, parse_duration
from dist_tool.errors import InvalidArgument
from dist_tool.names.hub import HUB
from dist_tool.names.locator import parse_locator
from dist_tool.names.reference import parse_object, parse_reference
from dist_tool.oci.digest import VERIFIABLE, Digest

Reader = Callable[[Value], Any]

_KIND = re.compile(r"[a-z][a-z0-9+.-]*")
_HELPER = re.compile(r"[A-Za-z0-9._-]+")  # part of a program's name (behaviours C27)
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_API_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, "token"
_FIELD_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_USERINFO = re.compile(r"([A-Za-z]+://)([^@]*)@(.*)", re.DOTALL)
# Header fields that the transport sets, or that would change the meaning of a response.
_OURS = re.compile(
    "accept|accept-encoding|connection|content-.*|cookie|expect|host|if-.*|keep-alive|proxy-connection|range"
    "|te|trailer|transfer-encoding|upgrade"
)
_CREDENTIALS = {
    "authorization": "credentials come from the files and helpers that [remote.auth] names",
    "proxy-authorization": 'write proxy = "http://USER:PASSWORD@HOST:PORT"',
}


def text(value: Value) -> str:
    """A string that is not empty and has no control characters."""
    if not isinstance(value.raw, str):
        raise value.expected("a string")
    if not value.raw:
        raise value.error(f"{value.name} is empty")
    if not value.raw.isprintable():
        raise value.error(f"{value.name} has control characters")
    return value.raw


def flag(value: Value) -> bool:
    """`true` or `false`."""
    if not isinstance(value.raw, bool):
        raise value.expected("true or false")
    return value.raw


def integer(low: int, high: int) -> Reader:
    """A reader of integers from `low` to `high`."""

    def read(value: Value) -> int:
        if type(value.raw) is not int:
            raise value.expected("an integer")
        if not low <= value.raw <= high:
            raise value.error(f"{value.name} is not between {low} and {high}")
        return value.raw

    return read


def duration(value: Value) -> float:
    """Seconds, from a number or a string like `1m30s`."""
    if isinstance(value.raw, str):
        return value.parsed(parse_duration)
    if type(value.raw) not in (int, float):
        raise value.expected("a duration")
    return value.parsed(checked_seconds)


def positive_duration(value: Value) -> float:
    """A duration of more than 0: a limit that cannot be disabled."""
    seconds = duration(value)
    if not seconds:
        raise value.error(f"{value.name} must be more than 0")
    return seconds


def size(value: Value) -> int:
    """Bytes, from an integer or a string like `8MiB`."""
    if isinstance(value.raw, str):
        return value.parsed(parse_bytes)
    if type(value.raw) is not int:
        raise value.expected("a size")
    return value.parsed(checked_bytes)


def choice(*names: str) -> Reader:
    """A reader of one of several strings."""

    def read(value: Value) -> str:
        word = text(value)
        if word not in names:
            raise value.error(f"{value.name} is {word!r}", f"expected one of {', '.join(names)}")
        return word

    return read


def words(known: tuple[str, ...]) -> Reader:
    """A reader of lists of one or more of several strings. Returns a set."""
    read_each = each(choice(*known), "words", f'["{known[0]}"]')

    def read(value: Value) -> frozenset[str]:
        found = frozenset(read_each(value))
        if not found:
            raise value.error(f"{value.name} is empty", f"expected some of {', '.join(known)}")
        return found

    return read


def each(read: Reader, what: str, example: str) -> Reader:
    """A reader of lists. Returns tuples. `what` describes the elements, for messages."""

    def read_list(value: Value) -> tuple[Any, ...]:
        if not isinstance(value.raw, list):
            raise value.expected(f"a list of {what}", example)
        return tuple(value.each(read))

    return read_list


def pair_of_files(value: Value) -> tuple[str, str]:
    """A list of two files: a certificate and its key."""
    if not isinstance(value.raw, list) or len(value.raw) != 2:
        raise value.error(f"{value.name}: expected a certificate and its key", 'as in client = [["c.pem", "c.key"]]')
    certificate, key = value.children()
    return existing_file(certificate), existing_file(key)


def path(value: Value) -> str:
    """An absolute path; relative paths are resolved against the directory of the configuration file."""
    return absolute(value, text(value))


def absolute(value: Value, name: str) -> str:
    """`name` with `~` expanded, resolved against the directory of the file of `value`."""
    if name == "~" or name.startswith("~/"):
        home = value.source.environ.get("HOME", "")
        if not home:
            raise value.error(f"{value.name}: cannot expand ~: HOME is not set")
        name = home + name[1:]
    return os.path.abspath(os.path.join(os.path.dirname(value.source.file), name))


def existing_file(value: Value) -> str:
    """The path of an existing file."""
    name = path(value)
    if not os.path.exists(name):
        raise value.error(f"{value.name}: {name} does not exist")
    if os.path.isdir(name):
        raise value.error(f"{value.name}: {name} is a directory")
    return name


def api_path(value: Value) -> str:
    """The path of a registry's API, such as /v2, without a trailing slash."""
    word = text(value)
    if not _API_PATH.fullmatch(word) or "." in (parts := word.split("/")) or ".." in parts:
        raise value.error(f"{value.name}: {word!r} is not a path", "as in /v2 or /artifactory/hub/v2")
    return word


def digest(value: Value) -> Digest:
    """A digest of an algorithm that can be verified."""
    text(value)
    found = value.parsed(Digest.parse)
    if found.algorithm not in VERIFIABLE:
        raise value.error(f"{value.name}: digests of {found.algorithm} cannot be verified here")
    return found


def pinned_name(value: Value) -> str:
    """The key of a pin, `NAME:TAG`, in canonical form."""
    key = str(value.path[-1])
    try:
        found = parse_reference(key)
    except InvalidArgument as error:
        raise value.error(error.what, error.hint) from error
    name = parse_object(found.object_id)
    if found.locator.kind or name.digest or not key.endswith(f":{name.tag}"):
        raise value.error(f"{key!r} is not NAME:TAG", 'as in "docker.io/library/redis:7"')
    return f"{found.locator}:{name.tag}"


def name_pattern(value: Value) -> str:
    """A name pattern of a policy: a prefix, with or without a trailing `/*`, or `*` for all names."""
    word = text(value)
    if word == "*":
        return word
    bare = word.removesuffix("/*")
    if bare.startswith("*."):
        return "*." + _checked_location(value, word, bare[2:])
    return _checked_location(value, word, bare)


def kind(value: Value) -> str:
    """The kind of a remote, as before the `::` of a locator. Only the syntax is checked."""
    word = text(value)
    if not _KIND.fullmatch(word):
        raise value.error(f"{value.name}: {word!r} is not a kind", "expected a word like registry, http or layout")
    return word


def helper(value: Value) -> str:
    """The name of a credential helper, without `docker-credential-`."""
    word = text(value)
    if not _HELPER.fullmatch(word):
        raise value.error(f"{value.name}: {word!r} is not the name of a helper", "expected a name like ecr-login")
    return word


def prefix(value: Value) -> str:
    """`HOST[:PORT][/PATH]` or `*.HOST[:PORT]` in canonical form, with the host in lower case.

    The rules are those of locators (behaviours A2-A9), except that a single component on docker.io
    is a namespace and does not become `library/...` (D9).
    """
    word = text(value)
    if not word.startswith("*."):
        return registry_location(value)
    if "/" in word:
        raise value.error(f"{value.name}: {word!r}: a wildcard prefix cannot have a path")
    return "*." + _checked_location(value, word, word[2:])


def registry_location(value: Value) -> str:
    """`HOST[:PORT][/PATH]` of a registry, in canonical form."""
    word = text(value)
    return _checked_location(value, word, word)


def _checked_location(value: Value, shown: str, word: str) -> str:
    """Parse `word` as the beginning of a locator. Messages contain `shown`, the text as the user wrote it."""
    if "://" in word:
        raise value.error(f"{value.name}: {shown!r}: a name has no scheme", "for http://, set plain_http = true")
    if "*" in word:
        raise value.error(
            f"{value.name}: {shown!r}: a wildcard must be the first label of a host", "as in *.example.com"
        )
    probe = f"{word}/x"
    try:
        locator = parse_locator(probe)
    except InvalidArgument as error:
        reason = error.what.removeprefix(f"{probe!r}: ").removeprefix(f"{word!r}: ")
        raise value.error(f"{value.name}: {shown!r}: {reason}", "expected HOST[:PORT][/PATH]") from error
    if locator.kind or str(locator) == f"{HUB}/{probe}":
        hint = "expected HOST[:PORT][/PATH]" if locator.kind else f"did you mean {f'{HUB}/{word}'!r}?"
        raise value.error(f"{value.name}: {shown!r} does not begin with a host", hint)
    inner = locator.path.removesuffix("x").removesuffix("/") if "/" in word else ""
    return locator.host.lower() + (f"/{inner}" if inner else "")


def host_pattern(value: Value) -> str:
    """A host or `*.HOST`, without a port: an allowed redirect target. IPv6 addresses are returned without brackets."""
    word = text(value).lower()
    if not _HOST.fullmatch(word) and not _is_ipv6(word):
        raise value.error(f"{value.name}: {word!r} is not a host", "expected HOST or *.HOST, without port or path")
    return word.strip("[]")


def host_and_port_pattern(value: Value) -> str:
    """A host, with or without a port, or `*.HOST`: an allowed token server."""
    word = text(value).lower()
    host, _, port = word.rpartition(":")
    if _HOST.fullmatch(word) or _is_ipv6(word):
        return word
    if _is_port(port) and "*" not in host and (_HOST.fullmatch(host) or _is_ipv6(host)):
        return word
    raise value.error(f"{value.name}: {word!r} is not a host", "expected HOST, HOST:PORT or *.HOST")


def _is_port(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 5 and 1 <= int(word) <= 65535


def _is_ipv6(word: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address

    try:
        return bool(IPv6Address(word[1:-1] if word.startswith("[") and word.endswith("]") else word))
    except AddressValueError:
        return False


def secret(value: Value) -> str:
    """A string with environment variables as `${NAME}`; `$${` is a literal `${`.

    Errors never contain the value of a variable.
    """
    if not isinstance(value.raw, str):
        raise value.expected("a string")
    return expanded(value, value.raw)


def expanded(value: Value, template: str, transform: Callable[[str], str] = str) -> str:
    """`template` with its `${NAME}` replaced by the values of the variables, passed through `transform`."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            if match[0] == "$${":
                return "${"
            raise value.error(f"{value.name}: '${{' does not begin a ${{NAME}}", "write $${ for a literal ${")
        if name not in value.source.environ:
            raise value.error(f"{value.name}: the environment variable {name} is not set")
        return transform(value.source.environ[name])

    return _VARIABLE.sub(replacement, template)


def proxy(value: Value) -> str:
    """The URL of an HTTP proxy, or "" for none. A variable before the `@` is percent-encoded."""
    if not isinstance(value.raw, str):
        raise value.expected("a string")
    match = _USERINFO.fullmatch(value.raw)
    if match is None:
        url = expanded(value, value.raw)
    else:
        account = expanded(value, match[2], lambda variable: quote(variable, safe=""))
        url = f"{match[1]}{account}@{expanded(value, match[3])}"
    if url and not _is_proxy(url):
        raise value.error(f"{value.name} is not the URL of a proxy", 'as in proxy = "http://proxy.example:3128"')
    return url


def _is_proxy(url: str) -> bool:
    if not re.fullmatch(r"[!-~]+", url):
        return False
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and parts.scheme in ("http", "https") and parts.path in ("", "/") and not parts.query + parts.fragment


def header(value: Value) -> dict[str, str]:
    """Additional header fields: valid, and not among those that dist sets itself."""
    if not isinstance(value.raw, dict):
        raise value.expected("a table", 'header = { x-tenant = "blue" }')
    fields: dict[str, str] = {}
    for child in value.children():
        name = str(child.path[-1])
        _check_field_name(child, name)
        if name.lower() in map(str.lower, fields):
            raise child.error(f"{child.name} is given twice (case is ignored)")
        fields[name] = secret(child)
        if not _FIELD_VALUE.fullmatch(fields[name]):
            raise child.error(
                f"{child.name} is not a header value",
                "use printable ASCII only, without leading or trailing spaces or line ends",
            )
    return fields


def plain_header(value: Value) -> str:
    """The value of a header field, or several values joined; `${NAME}` is not expanded."""
    name = str(value.path[-1])
    _check_field_name(value, name)
    parts = value.children() if isinstance(value.raw, list) else [value]
    joined = ", ".join(text(part) for part in parts)
    if not _FIELD_VALUE.fullmatch(joined):
        raise value.error(f"{value.name} is not a header value")
    return joined


def _check_field_name(value: Value, name: str) -> None:
    if not _FIELD_NAME.fullmatch(name):
        raise value.error(f"{value.name} is not a header name")
    if name.lower() in _CREDENTIALS:
        raise value.error(f"{value.name} cannot be set here", _CREDENTIALS[name.lower()])
    if _OURS.fullmatch(name.lower()):
        raise value.error(f"{value.name} cannot be set: it controls how content is requested")
