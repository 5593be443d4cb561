"""Faults after which no answer follows. Each must end in one clear failure."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import NamedTuple

from support import faults
from support.server import Step


class Fault(NamedTuple):
    """What a server does with every request for an object, and the exit codes that may come of it.

    `attempts` are as many as show all of it: a second silence is like the first, and takes as long.
    """

    step: Step
    codes: tuple[int, ...]
    attempts: int = 2


def failing(body: bytes, host: str) -> Mapping[str, Fault]:
    """The faults of a server at `host` that is asked for the object `body`, again and again."""
    return {
        **_bodies(body),
        **_chunks(body),
        **_ranges(body),
        **_codings(body),
        **_silence(body),
        **_statuses(),
        **_redirects(host),
    }


def _bodies(body: bytes) -> dict[str, Fault]:
    size, middle = len(body), len(body) // 2
    out = {
        "a flipped bit": Fault(faults.flipped(body, 7).but(ranges=False), (5,)),
        "a flipped last bit": Fault(faults.flipped(body, 8 * size - 1).but(ranges=False), (5,)),
        "another object": Fault(faults.content(body[::-1]), (5,)),
        "nothing at all": Fault(faults.content(b""), (5,)),
        "extra bytes": Fault(faults.longer(body), (5,)),
        "extra bytes, chunked": Fault(faults.longer(body, framing="chunked"), (5,)),
        "extra bytes, to the end": Fault(faults.longer(body, framing="close"), (5,)),
        "one byte less": Fault(faults.content(body[:-1]), (5,)),
        "too large a Content-Length": Fault(faults.declaring(body, size + 10), (5, 6)),
        "too small a Content-Length": Fault(faults.declaring(body, size - 10), (5,)),
        "a web page": Fault(faults.html_page(), (5, 7)),
        "no HTTP": Fault(faults.not_http, (7,)),
    }
    for framing in ("length", "chunked", "close", "http10"):
        for at in (0, 1, middle, size - 1):
            step = faults.cut(body, at, framing).but(ranges=False)
            out[f"a cut at {at}, {framing}"] = Fault(step, (5, 6))
    for framing in ("length", "chunked"):
        out[f"a reset in the body, {framing}"] = Fault(
            faults.cut(body, middle, framing, "reset").but(ranges=False), (6,)
        )
    return out


def _chunks(body: bytes) -> dict[str, Fault]:
    size, middle = len(body), len(body) // 2
    return {
        "endless trailers": Fault(faults.endless_trailers(body[::-1]), (5, 6, 7)),
        "an endless line of a chunk": Fault(faults.endless_chunk_size, (6, 7)),
        "a chunk of a negative size": Fault(faults.chunks(b"-%x\r\n%b\r\n0\r\n\r\n" % (size, body)), (5, 6, 7)),
        "a chunk of no size": Fault(faults.chunks(b"\r\n%b\r\n0\r\n\r\n" % body), (5, 6, 7)),
        "a chunk larger than memory": Fault(faults.chunks(b"ffffffffffffffff\r\n", body), (5, 6, 7)),
        "a chunk that is shorter than it says": Fault(
            faults.chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body[:middle])), (5, 6, 7)
        ),
        "a coding of the transfer": Fault(
            faults.status(200, body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
            .but(framing="close")
            .with_header("Transfer-Encoding", "gzip, chunked"),
            (5, 6, 7),
        ),
    }


def _ranges(body: bytes) -> dict[str, Fault]:
    middle = len(body) // 2
    start = faults.cut(body, middle)
    rests: dict[str, Step] = {
        "bytes of another place": faults.partial(body, middle, f"bytes {middle}-{len(body) - 1}/{len(body)}").but(
            body=body[: len(body) - middle]
        ),
        "another total": faults.content(body + b"more"),
        "another beginning": faults.range_ignored(bytes(len(body))),
        "a 404": faults.status(404),
    }
    return {f"a cut, then {name}": Fault(faults.in_turn(start, rest), (3, 5, 6)) for name, rest in rests.items()}


def _codings(body: bytes) -> dict[str, Fault]:
    return {
        "a coding that is none": Fault(faults.labelled(bytes(100), "gzip"), (5, 7)),
        "a coding of other bytes": Fault(faults.coded(body[::-1], "gzip"), (5,)),
        "a coding that is cut": Fault(faults.coded(body, "gzip").but(cut=100), (6,)),
        "a coding without its trailer": Fault(faults.labelled(gzip.compress(body)[:-8], "gzip"), (5, 7)),
        "a coding that is not known": Fault(faults.labelled(body[::-1], "zstd, br"), (5, 8)),
    }


def _silence(body: bytes) -> dict[str, Fault]:
    return {
        "a reset": Fault(faults.reset, (6,)),
        "no answer": Fault(faults.hang_up, (6,)),
        "silence": Fault(faults.silent, (6,), 1),
        "silence in the headers": Fault(faults.silent_in_headers, (6,), 1),
        "silence in the body": Fault(faults.cut(body, 100, ending="hang"), (6,), 1),
        "silence in a chunk": Fault(faults.cut(body, 100, "chunked", "hang"), (6,), 1),
        "slow headers": Fault(faults.slow_headers(0.02), (6,), 1),
        "a slow body": Fault(faults.slow_body(body, 0.02), (6,), 1),
        "100 Continue for ever": Fault(faults.endless_continue, (6, 7), 1),
        "an endless header": Fault(faults.endless_header, (6, 7)),
        "endless headers": Fault(faults.endless_headers, (6, 7)),
    }


def _statuses() -> dict[str, Fault]:
    exits = {400: 7, 401: 4, 403: 4, 404: 3, 405: 8, 408: 7, 410: 3, 425: 7, 418: 7, 429: 7, 204: 7, 206: 7, 304: 7}
    exits |= dict.fromkeys((500, 501, 502, 503, 504, 599), 7)
    out = {f"status {code}": Fault(faults.status(code), (exit_code,)) for code, exit_code in exits.items()}
    return {
        **out,
        "DENIED": Fault(faults.registry_error(403, "DENIED", "no\x1b[31m\nway"), (4,)),
        "BLOB_UNKNOWN": Fault(faults.registry_error(404, "BLOB_UNKNOWN", "not here"), (3,)),
        "429 for a day": Fault(faults.too_many("86400"), (7,)),
        "an error that stops": Fault(faults.status(403, body=b"<Error>").but(declared=100, ending="hang"), (4,), 1),
        "an endless error": Fault(faults.endless_body(403), (4,)),
        "a page of an error": Fault(faults.html_page(502), (7,)),
        "a scheme that is not known": Fault(faults.status(401, headers=[("WWW-Authenticate", "Negotiate")]), (4,)),
        "a challenge that is none": Fault(faults.status(401, headers=[("WWW-Authenticate", '",=,"')]), (4,)),
    }


def _redirects(host: str) -> dict[str, Fault]:
    return {
        "a redirect in a circle": Fault(faults.in_turn(faults.redirect("?again")), (7,)),
        "a redirect to nowhere": Fault(faults.status(307), (7,)),
        "a redirect to no URL": Fault(faults.redirect("http://[::1/"), (7,)),
        "a redirect to another scheme": Fault(faults.redirect("ftp://cdn.test/x"), (7,)),
        "a redirect to link-local": Fault(faults.redirect("http://169.254.169.254/latest/meta-data"), (10,)),
        "a redirect into the void": Fault(faults.redirect(f"http://registry.invalid/{host}"), (6,)),
    }
