"""Decoding of responses with a Content-Encoding that was not requested (behaviours B32, trap T1).

Some servers label a stored gzip file as `gzip` or `x-gzip`: the object is the raw body. Others
compress the response: the object is the decoded body. The digest decides between them.
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

# The largest ratio of decoded to encoded size if the object's size is unknown: real content compresses 100-fold
# at most, except for long runs of one byte. Bodies that decode to `_RATIO_FLOOR` bytes or less are always allowed.
_MOST_RATIO = 100
_RATIO_FLOOR = 16 << 20
_SLACK = 4096  # bytes: with an eighth of the size, the most that a coding adds to incompressible content


def spooled(body: Body, coding: str, digest: Digest | None, limit: int | None = None) -> Body:
    """The object in an encoded body, read completely: it can be neither streamed nor resumed (B33).

    Without a digest the body is decoded, as HTTP specifies. Without a `limit` in bytes, the decoded
    size may be up to 100 times the encoded size. Raises the errors of reading, LimitExceeded above
    either limit, ProtocolError if the body cannot be decoded, Unsupported for an unknown coding,
    LocalFailure if writing the temporary file fails.
    """
    verifier = Verifier(digest)
    raw = _spool(_pieces(body), verifier.update, None if limit is None else limit + limit // 8 + _SLACK)
    if digest is not None and verifier.matches():
        return _body_of(raw, body)
    try:
        return _body_of(_spool(_decoded(raw, coding), lambda _: None, _bound(raw) if limit is None else limit), body)
    except LimitExceeded as error:
        if limit is not None:
            raise
        hint = f"it decodes to more than {_MOST_RATIO} times its size; size: or --max-size allows a larger object"
        raise error.with_(hint=hint) from error.cause
    except zlib.error as error:
        raise ProtocolError(f"{body.source}: the body is not {coding}, as its Content-Encoding says") from error
    finally:
        raw.close()


def _bound(raw: Spool) -> int:
    return max(_RATIO_FLOOR, _MOST_RATIO * raw.size)


def _body_of(spool: Spool, body: Body) -> Body:
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
    """Write the pieces to a spool, which the body that reads it closes. Raises LimitExceeded."""
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
    """Decode one coding with bounded memory: a small body may decode to gigabytes."""
    name = coding.strip().lower()
    if name in ("gzip", "x-gzip"):
        return _inflate(raw.reader(), zlib.MAX_WBITS | 32)
    if name == "deflate":
        return _inflate(raw.reader(), zlib.MAX_WBITS if _has_zlib_header(raw) else -zlib.MAX_WBITS)
    raise Unsupported(f"Content-Encoding {name!r} is not supported")


def _has_zlib_header(raw: Spool) -> bool:
    """`deflate` is the zlib format (RFC 9110), but some servers send a raw deflate stream."""
    head = raw.reader().read(2)
    return len(head) == 2 and head[0] & 15 == zlib.DEFLATED and int.from_bytes(head) % 31 == 0


def _inflate(file: SpoolReader, wbits: int) -> Iterator[bytes]:
    engine: Any = zlib.decompressobj(wbits)
    pending = b""
    while True:
        data = pending or file.read(CHUNK)
        if not data:
            if not engine.eof:
                raise zlib.error("truncated")
            return
        if engine.eof:
            engine = zlib.decompressobj(wbits)  # another member
        out = engine.decompress(data, CHUNK)
        pending = engine.unconsumed_tail or engine.unused_data
        if out:
            yield out
