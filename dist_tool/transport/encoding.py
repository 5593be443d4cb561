"""Answers that carry a Content-Encoding although none was accepted (behaviours B32, trap T1).

Two things are done by servers: a stored gzip file labelled `gzip` or `x-gzip`, whose raw bytes
are the object; and a real transfer coding, whose decoded bytes are. The digest tells which.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from dist_tool.errors import LimitExceeded, ProtocolError, Unsupported
from dist_tool.spec.digest import Digest
from dist_tool.stream import CHUNK, Body
from dist_tool.verifier import Verifier

_IN_MEMORY = 1 << 20


def spooled(body: Body, coding: str, digest: Digest | None, limit: int | None = None) -> Body:
    """The object behind an encoded body, read whole: it can be neither streamed nor resumed (B33).

    Without a digest the coding is believed, as HTTP has it. Raises what reading raises,
    LimitExceeded above `limit` bytes, ProtocolError for a body that does not decode,
    Unsupported for a coding that is not known.
    """
    raw = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  lives in the Body
    verifier = Verifier(digest)
    size = _write(raw, _pieces(body), verifier.update, limit)
    if digest is not None and verifier.matches():
        return _served(raw, size, body)
    decoded = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    try:
        raw.seek(0)
        size = _write(decoded, _decoded(raw, coding), lambda _: None, limit)
    except zlib.error as error:
        decoded.close()
        raise ProtocolError(f"{body.source}: the body is not {coding}, as its Content-Encoding says") from error
    except BaseException:
        decoded.close()
        raise
    finally:
        raw.close()
    return _served(decoded, size, body)


def _served(file: IO[bytes], size: int, body: Body) -> Body:
    file.seek(0)
    return Body(file, total=size, source=body.source, media_type=body.media_type)


def _pieces(body: Body) -> Iterator[bytes]:
    view = memoryview(bytearray(CHUNK))
    try:
        while got := body.readinto(view):
            yield bytes(view[:got])
    finally:
        body.close()


def _write(file: IO[bytes], pieces: Iterator[bytes], note: Callable[[bytes], None], limit: int | None) -> int:
    size = 0
    for piece in pieces:
        size += len(piece)
        if limit is not None and size > limit:
            raise LimitExceeded(f"more than the limit of {limit} bytes")
        note(piece)
        file.write(piece)
    return size


def _decoded(file: IO[bytes], coding: str) -> Iterator[bytes]:
    """Undo one coding, with bounded memory: a small body may unfold to gigabytes."""
    name = coding.strip().lower()
    if name in ("gzip", "x-gzip", "deflate"):
        return _inflate(file, 47 if name != "deflate" else zlib.MAX_WBITS)
    raise Unsupported(f"Content-Encoding {name!r} is not supported")


def _inflate(file: IO[bytes], wbits: int) -> Iterator[bytes]:
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
