"""Bodies whose end two readers may see in two places: refused as the server's fault, never cut or padded in silence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import faults
from support.content import blob
from support.faults import blob_path
from support.fetching import SHORT, fetch
from support.kinds import REPOSITORY, Kind
from support.server import FaultServer

from dist_tool import errors
from dist_tool.settings import Endpoint

BLOB = blob("framing", 100)
PATH = blob_path(REPOSITORY, BLOB.digest)
CHUNKS = b"28\r\n%b\r\n3c\r\n%b\r\n0\r\n\r\n" % (BLOB.data[:40], BLOB.data[40:])


def _head(*fields: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n%b\r\n" % b"".join(field + b"\r\n" for field in fields)


MALFORMED = {
    "two equal lengths": _head(b"Content-Length: 100", b"Content-Length: 100") + BLOB.data,
    "two lengths": _head(b"Content-Length: 40", b"Content-Length: 100") + BLOB.data,
    "a list of lengths": _head(b"Content-Length: 100, 100") + BLOB.data,
    "a length with a sign": _head(b"Content-Length: +100") + BLOB.data,
    "a length with an underscore": _head(b"Content-Length: 1_00") + BLOB.data,
    "a length behind a bare CR": _head(b"X: y\rContent-Length: 40") + BLOB.data,
    "a length behind a line that is no field": _head(b"no field", b"Content-Length: 100") + BLOB.data,
    "two codings": _head(b"Transfer-Encoding: gzip, chunked") + CHUNKS,
    "a coding that is none": _head(b"Transfer-Encoding: identity", b"Content-Length: 100") + BLOB.data,
    "a coding with a parameter": _head(b"Transfer-Encoding: chunked;x") + CHUNKS,
    "a chunk size with a sign": _head(b"Transfer-Encoding: chunked") + b"+" + CHUNKS,
    "a last chunk with an underscore": _head(b"Transfer-Encoding: chunked") + CHUNKS[:-5] + b"0_0\r\n\r\n",
    "junk after a chunk": _head(b"Transfer-Encoding: chunked") + CHUNKS.replace(b"\r\n3c", b"xx3c"),
    "a response in a trailer": _head(b"Transfer-Encoding: chunked") + CHUNKS[:-2] + _head() * 2,
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_ambiguous_framing_is_a_failure_of_the_server(kind: Kind, server: FaultServer, answer: bytes) -> None:
    server.script("GET", PATH, faults.raw(answer))
    outcome = fetch(kind.at(server), BLOB.digest)
    assert isinstance(outcome.error, errors.ProtocolError)
    assert (outcome.code, outcome.data) == (7, b"")
    assert "malformed HTTP response" in outcome.error.what


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_ambiguous_framing_of_a_name_delivers_nothing(tree: Kind, server: FaultServer, answer: bytes) -> None:
    """No digest would notice that a part is missing, or that the framing itself came out as content."""
    server.script("GET", tree.path("disk.img"), faults.raw(answer))
    outcome = fetch(tree.at(server), "disk.img")
    assert (outcome.code, outcome.data) == (7, b"")


@pytest.mark.parametrize(
    "answer",
    [
        _head(b"Content-Length: 100") + BLOB.data,
        _head(b"Content-Length:100", b"X: a", b"\tb") + BLOB.data,
        _head(b"Transfer-Encoding: Chunked") + CHUNKS,
        _head(b"Transfer-Encoding: chunked", b"Content-Length: 7") + CHUNKS,
        _head(b"Transfer-Encoding: chunked") + CHUNKS.replace(b"3c\r\n", b'3C ;a="b"\r\n'),
        _head(b"Transfer-Encoding: chunked") + CHUNKS[:-2] + b"X-Checksum: abc\r\n\r\n",
    ],
)
def test_sound_framing_is_read(kind: Kind, server: FaultServer, answer: bytes) -> None:
    server.script("GET", PATH, faults.raw(answer))
    assert fetch(kind.at(server), BLOB.digest).data == BLOB.data


@pytest.mark.parametrize("cut", [b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\n"])
def test_a_cut_in_the_headers_is_tried_again(kind: Kind, server: FaultServer, cut: bytes) -> None:
    def step(exchange: faults.Exchange) -> None:
        exchange.send(cut)
        exchange.close()

    server.script("GET", PATH, step, faults.content(BLOB.data))
    assert fetch(kind.at(server), BLOB.digest).data == BLOB.data


def test_extensions_of_chunks_are_bounded(kind: Kind, server: FaultServer) -> None:
    def step(exchange: faults.Exchange) -> None:
        exchange.head("200 OK", [("Transfer-Encoding", "chunked")])
        exchange.pour(b"1;x=%b\r\na\r\n" % (b"x" * 4000) * 16, most=4 << 20)

    server.script("GET", PATH, step)
    outcome = fetch(kind.at(server), BLOB.digest)
    assert (outcome.code, outcome.data) == (7, b"")


def test_extensions_of_chunks_are_no_progress(kind: Kind, server: FaultServer) -> None:
    """Under 1000 bytes of content a second, four times as many with what is around them."""
    piece = b"a;x=%b\r\n0123456789\r\n" % (b"x" * 20)

    def step(exchange: faults.Exchange) -> None:
        exchange.head("200 OK", [("Transfer-Encoding", "chunked")])
        while exchange.wait(0.01):
            exchange.body(piece)

    server.script("GET", PATH, step)
    remote = Endpoint(timeout=replace(SHORT, floor=2048))
    outcome = fetch(kind.at(server), BLOB.digest, remote=remote, attempts=1)
    assert outcome.code == 6
    assert "slower than" in outcome.said
