"""Opening an object by HTTP at an offset: ranges, what to do without them, codings (behaviours B24-B33)."""

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
_STRONG_TAG = re.compile(r'"[!#-~]+"')  # a list of several tags has blanks

Ask = Callable[[Mapping[str, str], Container[int]], Reply]
AskFor = Callable[[str, str, Mapping[str, str], Container[int]], Reply]


class DownloadRequest(NamedTuple):
    """What is asked for: `headers` of the request, the digest where one is known.

    `size` in bytes bounds what a coded body may unfold to. `validator` is that of an earlier
    answer for the same name: a range counts only while it holds (B28).
    """

    headers: Mapping[str, str]
    digest: Digest | None = None
    size: int | None = None
    validator: str = ""


def head_or_get(ask: AskFor, path: str, headers: Mapping[str, str]) -> Reply:
    """The head of an object's answer, closed: by HEAD, or by GET where that may work or tells why it does not.

    `ask` sends a request with the given method, path and headers and accepts the given statuses.
    """
    try:
        reply = ask("HEAD", path, headers, (200,))
    except DistError as error:
        if not should_retry_with_get(error):
            raise
        reply = ask("GET", path, headers, (200,))
    reply.close()
    return reply


def open_object(ask: Ask, wanted: DownloadRequest, offset: int, context: Context) -> Body:
    """GET the object from `offset`, or from 0 where no range can be had; what was there is compared then.

    `ask` sends the request with the given headers and accepts the given statuses. Raises what
    it raises.
    """
    if offset:
        reply = ask({**wanted.headers, **_range(wanted, offset)}, (200, 206, 416))
        where = extent(reply.status, reply.headers, offset)
        usable = reply.status == 200 or ("Content-Encoding" not in reply.headers and _continues(reply, wanted))
        if where is not None and usable:
            return _body(reply, HttpBody(reply, where, content_type(reply)), wanted)
        reply.close()  # an unusable range: read from the beginning, what was there is compared
    with Attempts(context.retry, context.run) as attempts:
        while True:
            reply = ask(wanted.headers, (200,))
            where = extent(200, reply.headers, 0)
            assert where is not None
            try:
                return _body(reply, HttpBody(reply, where, content_type(reply)), wanted)
            except DistError as error:  # an encoded body is read whole in here, and may be cut
                reply.close()
                attempts.failed(error)


def _range(wanted: DownloadRequest, offset: int) -> dict[str, str]:
    tag = wanted.validator.partition(" ")[2]
    return {"Range": f"bytes={offset}-", **({"If-Range": tag} if tag else {})}


def _continues(reply: Reply, wanted: DownloadRequest) -> bool:
    """Whether a 206 or 416 is about the version that was read before.

    A digest decides that at the end. Without one the answer must repeat the strong validator
    (RFC 9110 15.3.7), since servers have ignored If-Range; and it must declare the total, since
    an end that nothing declares may be a cut.
    """
    if wanted.digest is not None:
        return not wanted.validator or validator(reply) in ("", wanted.validator)
    declared = not reply.headers.get("Content-Range", "").rstrip().endswith("/*")
    return declared and wanted.validator != "" and validator(reply) == wanted.validator


def _body(reply: Reply, body: Body, wanted: DownloadRequest) -> Body:
    body = decoded(reply, body, wanted.digest, wanted.size)
    body.validator = validator(reply) if "Content-Encoding" not in reply.headers else ""
    return body


def decoded(reply: Reply, body: Body, digest: Digest | None = None, limit: int | None = None) -> Body:
    """`body`, with a Content-Encoding that nobody asked for resolved (behaviours B32)."""
    coding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return body
    return spooled(body, coding, digest, limit)


def content_type(reply: Reply) -> str:
    """The media type that the server declares, "" for none; see `without_secrets`."""
    return without_secrets(essence(reply.headers.get("Content-Type", "")))


def without_secrets(media_type: str) -> str:
    """A media type from a server, which may reach standard output, without secrets that it repeats.

    The types that mean something here stay as they are, and so do short words: "docker" may be
    somebody's password.
    """
    return media_type if kind(media_type) != "other" else hide(media_type, least=_LEAST_SECRET)


def validator(reply: Reply) -> str:
    """The answer's origin and strong validator, "" where there is none (RFC 9110 13.1.5, 8.8.2.2; B28).

    A weak tag is no promise about bytes. A date is one only if the content had stood for a
    second or more when it was sent. The origin belongs to it: another host may use the same tag
    for something else (B29).
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
