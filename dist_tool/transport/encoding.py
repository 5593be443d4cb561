"""Answers that carry a Content-Encoding although none was accepted (behaviours B32, trap T1).

Two things are done by servers: a stored gzip file labelled `gzip` or `x-gzip`, whose raw bytes
are the object; and a real transfer coding, whose decoded bytes are. The digest tells which.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from dist_tool.errors import LimitExceeded, ProtocolError, Unsupported
from dist_tool.oci.digest import Digest
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.retry import received
from dist_tool.stream.spool import Spool, SpoolReader
from dist_tool.stream.verify import Verifier

# What a coding may unfold to when no size bounds it: content compresses 100-fold at most, save for long runs
# of one byte. Below the floor no ratio counts.
_MOST_RATIO = 100
_RATIO_FLOOR = 16 << 20
_SLACK = 4096  # bytes, beside an eighth: what a coding may add to content that does not compress


def spooled(body: Body, coding: str, digest: Digest | None, limit: int | None = None) -> Body:
    """The object behind an encoded body, read whole: it can be neither streamed nor resumed (B33).

    Without a digest the coding is trusted, as HTTP has it. Without a `limit` in bytes a body may
    unfold 100-fold. Raises what reading raises, LimitExceeded above either limit, ProtocolError
    for a body that does not decode, Unsupported for a coding that is not known, LocalFailure where
    the disk fails.
    """
    verifier = Verifier(digest)
    raw = _spool(_pieces(body), verifier.update, None if limit is None else limit + limit // 8 + _SLACK)
    if digest is not None and verifier.matches():
        return _served(raw, body)
    try:
        return _served(_spool(_decoded(raw, coding), lambda _: None, _bound(raw) if limit is None else limit), body)
    except LimitExceeded as error:
        if limit is not None:
            raise
        hint = f"it unfolds more than {_MOST_RATIO}-fold; size: or --max-size allows a larger object"
        raise error.with_(hint=hint) from error.cause
    except zlib.error as error:
        raise ProtocolError(f"{body.source}: the body is not {coding}, as its Content-Encoding says") from error
    finally:
        raw.close()


def _bound(raw: Spool) -> int:
    return max(_RATIO_FLOOR, _MOST_RATIO * raw.size)


def _served(spool: Spool, body: Body) -> Body:
    return Body(spool.reader(), total=spool.size, source=body.source, media_type=body.media_type)


def _pieces(body: Body) -> Iterator[bytes]:
    view = memoryview(bytearray(CHUNK))
    try:
        while got := body.readinto(view):
            received(got)
            yield bytes(view[:got])
    finally:
        body.close()


def _spool(pieces: Iterator[bytes], note: Callable[[bytes], None], limit: int | None) -> Spool:
    """The pieces in a spool, which the returned body closes."""
    spool = Spool()
    try:
        size = 0
        for piece in pieces:
            size += len(piece)
            if limit is not None and size > limit:
                raise LimitExceeded(f"more than the limit of {limit} bytes")
            note(piece)
            spool(memoryview(piece))
    except BaseException:
        spool.close()
        raise
    spool.end()
    return spool


def _decoded(raw: Spool, coding: str) -> Iterator[bytes]:
    """Undo one coding, with bounded memory: a small body may unfold to gigabytes."""
    name = coding.strip().lower()
    if name in ("gzip", "x-gzip"):
        return _inflate(raw.reader(), zlib.MAX_WBITS | 32)
    if name == "deflate":
        return _inflate(raw.reader(), zlib.MAX_WBITS if _has_zlib_header(raw) else -zlib.MAX_WBITS)
    raise Unsupported(f"Content-Encoding {name!r} is not supported")


def _has_zlib_header(raw: Spool) -> bool:
    """RFC 9110 means the zlib format by `deflate`; some servers send the bare stream."""
    head = raw.reader().read(2)
    return len(head) == 2 and head[0] & 15 == zlib.DEFLATED and int.from_bytes(head) % 31 == 0


def _inflate(file: SpoolReader, wbits: int) -> Iterator[bytes]:
    engine: Any = zlib.decompressobj(wbits)
    pending = b""
    while True:
        data = pending or file.read(CHUNK)
        if not data:
            if not engine.eof:
                raise zlib.error("cut short")
            return
        if engine.eof:
            engine = zlib.decompressobj(wbits)  # another member
        out = engine.decompress(data, CHUNK)
        pending = engine.unconsumed_tail or engine.unused_data
        if out:
            yield out
