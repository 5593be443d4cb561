"""HTTP download of an object from an offset: ranges, restarts without them, content codings (B24-B33)."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

from dist_tool.context import Context
from dist_tool.errors import DistError
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import essence, kind
from dist_tool.redaction import hide
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Attempts
from dist_tool.transport.client import HttpBody
from dist_tool.transport.encoding import spooled
from dist_tool.transport.failures import should_retry_with_get
from dist_tool.transport.ranges import extent
from dist_tool.transport.session import Reply

_LEAST_SECRET = 8  # characters
_STRONG_TAG = re.compile(r'"[!#-~]+"')  # excludes blanks, and so a list of several tags

Ask = Callable[[Mapping[str, str], Container[int]], Reply]
AskFor = Callable[[str, str, Mapping[str, str], Container[int]], Reply]


class DownloadRequest(NamedTuple):
    """An object to download: `headers` of the request, and the digest if it is known.

    `size` in bytes limits the decoded size of an encoded body. `validator` is that of an earlier
    response for the same name: a range is used only if it still matches (B28).
    """

    headers: Mapping[str, str]
    digest: Digest | None = None
    size: int | None = None
    validator: str = ""


def head_or_get(ask: AskFor, path: str, headers: Mapping[str, str]) -> Reply:
    """Status and headers of an object, by HEAD, or by GET if HEAD fails and GET may work or explain why.

    Returns a closed response. `ask` sends a request with the given method, path and headers and
    accepts the given statuses.
    """
    try:
        reply = ask("HEAD", path, headers, (200,))
    except DistError as error:
        if not should_retry_with_get(error):
            raise
        reply = ask("GET", path, headers, (200,))
    reply.close()
    return reply


def open_object(ask: Ask, request: DownloadRequest, offset: int, context: Context) -> Body:
    """GET the object from `offset`, or from 0 if the server provides no usable range.

    In that case the caller compares the bytes that it already has. `ask` sends the request with
    the given headers and accepts the given statuses. Raises the errors of `ask`.
    """
    if offset:
        reply = ask({**request.headers, **_range(request, offset)}, (200, 206, 416))
        span = extent(reply.status, reply.headers, offset)
        usable = reply.status == 200 or ("Content-Encoding" not in reply.headers and _continues(reply, request))
        if span is not None and usable:
            return _body(reply, HttpBody(reply, span, content_type(reply)), request)
        reply.close()  # an unusable range: read from the beginning
    with Attempts(context.retry, context.run) as attempts:
        while True:
            reply = ask(request.headers, (200,))
            span = extent(200, reply.headers, 0)
            assert span is not None
            try:
                return _body(reply, HttpBody(reply, span, content_type(reply)), request)
            except DistError as error:  # an encoded body is read completely here, and may be truncated
                reply.close()
                attempts.failed(error)


def _range(request: DownloadRequest, offset: int) -> dict[str, str]:
    tag = request.validator.partition(" ")[2]
    return {"Range": f"bytes={offset}-", **({"If-Range": tag} if tag else {})}


def _continues(reply: Reply, request: DownloadRequest) -> bool:
    """Whether a 206 or 416 continues the version of the object that was read before.

    If the digest is known, it is checked at the end. Otherwise the response must repeat the strong
    validator (RFC 9110 15.3.7), as some servers ignore If-Range; and it must declare the total
    size, as an undeclared end may be a truncation.
    """
    if request.digest is not None:
        return not request.validator or validator(reply) in ("", request.validator)
    declared = not reply.headers.get("Content-Range", "").rstrip().endswith("/*")
    return declared and request.validator != "" and validator(reply) == request.validator


def _body(reply: Reply, body: Body, request: DownloadRequest) -> Body:
    body = decoded(reply, body, request.digest, request.size)
    body.validator = validator(reply) if "Content-Encoding" not in reply.headers else ""
    return body


def decoded(reply: Reply, body: Body, digest: Digest | None = None, limit: int | None = None) -> Body:
    """`body`, decoded if it has a Content-Encoding, which was not requested (behaviours B32)."""
    coding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return body
    return spooled(body, coding, digest, limit)


def content_type(reply: Reply) -> str:
    """The media type that the server declares, redacted, "" for none; see `without_secrets`."""
    return without_secrets(essence(reply.headers.get("Content-Type", "")))


def without_secrets(media_type: str) -> str:
    """Redact our secrets from a media type sent by a server, as it may be printed on standard output.

    Media types that dist uses are left unchanged, and secrets shorter than 8 characters are not
    redacted: a password may be "docker".
    """
    return media_type if kind(media_type) != "other" else hide(media_type, least=_LEAST_SECRET)


def validator(reply: Reply) -> str:
    """The response's origin and strong validator, "" if it has none (RFC 9110 13.1.5, 8.8.2.2; B28).

    A weak ETag does not guarantee identical bytes. Last-Modified is strong only if it is at least
    one second before Date. The origin is included, as another host may use the same ETag for other
    content (B29).
    """
    tag = reply.headers.get("ETag", "").strip()
    if _STRONG_TAG.fullmatch(tag):
        return f"{reply.origin} {tag}"
    date = reply.headers.get("Last-Modified", "").strip()
    if not tag and _is_strong_date(date, reply.headers.get("Date", "")):
        return f"{reply.origin} {date}"
    return ""


def _is_strong_date(modified: str, sent: str) -> bool:
    from email.utils import parsedate_to_datetime

    try:
        return (parsedate_to_datetime(sent) - parsedate_to_datetime(modified)).total_seconds() >= 1
    except (ValueError, TypeError, OverflowError):
        return False
