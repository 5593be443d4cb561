"""Strict parsing of responses (RFC 9112): what is read, and what is refused instead of guessed."""

from __future__ import annotations

from http.client import BadStatusLine, IncompleteRead

import pytest

from dist_tool.transport.framing import (
    Fields,
    Framing,
    MalformedResponse,
    StatusLine,
    framing_of,
    parse_chunk_line,
    parse_fields,
    parse_status_line,
)

LENGTH_5 = ("Content-Length", "5")
CHUNKED = ("Transfer-Encoding", "chunked")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n", StatusLine(11, 200, "OK")),
        (b"HTTP/1.0 404 Not Found\r\n", StatusLine(10, 404, "Not Found")),
        (b"HTTP/1.1 200\r\n", StatusLine(11, 200, "")),
        (b"HTTP/1.1 200 \n", StatusLine(11, 200, "")),
        (b"HTTP/1.7  599\t\xfc\r\n", StatusLine(11, 599, "\xfc")),
    ],
)
def test_status_line_is_parsed(line: bytes, expected: StatusLine) -> None:
    assert parse_status_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        *(b"\r\n", b"HTTP/2 200\r\n", b"HTTP/0.9 200 OK\r\n", b"HTTP/1.10 200 OK\r\n", b"http/1.1 200 OK\r\n"),
        *(b"HTTP/1.1 +20 OK\r\n", b"HTTP/1.1 2_0 OK\r\n", b"HTTP/1.1 099 OK\r\n", b"HTTP/1.1 1000 OK\r\n"),
        *(b"HTTP/1.1 200OK\r\n", b"HTTP/1.1 200 a\rb\r\n", b"HTTP/1.1 200 a\0b\r\n", b" HTTP/1.1 200 OK\r\n"),
    ],
)
def test_malformed_status_line_is_refused(line: bytes) -> None:
    with pytest.raises(BadStatusLine):
        parse_status_line(line)


def test_status_line_without_an_end_is_a_cut() -> None:
    with pytest.raises(IncompleteRead):
        parse_status_line(b"HTTP/1.1 20")


def test_fields_keep_their_order_and_repetitions() -> None:
    lines = [b"A: 1\r\n", b"b:2\n", b"A:\t 3 \t\r\n", b"Empty:\r\n", b"U: \xfc\r\n"]
    assert parse_fields(lines) == [("A", "1"), ("b", "2"), ("A", "3"), ("Empty", ""), ("U", "\xfc")]


def test_continuation_line_is_joined_with_a_blank() -> None:
    assert parse_fields([b"A: 1\r\n", b"\t 2\r\n", b" \r\n", b"B: 3\r\n"]) == [("A", "1 2"), ("B", "3")]


@pytest.mark.parametrize(
    "line",
    [
        *(b"X: y\rContent-Length: 5\r\n", b"X: y\r\r\n", b"X: a\0b\r\n", b"no colon\r\n", b": no name\r\n"),
        *(b"Content-Length : 5\r\n", b"A B: c\r\n", b"\xfc: c\r\n", b"HTTP/1.1 200 OK\r\n", b"A: cut"),
    ],
)
def test_malformed_header_line_is_refused(line: bytes) -> None:
    with pytest.raises(MalformedResponse):
        parse_fields([b"A: 1\r\n", line])


def test_first_header_line_is_no_continuation() -> None:
    with pytest.raises(MalformedResponse):
        parse_fields([b" a: b\r\n"])


def test_number_of_header_lines_is_bounded() -> None:
    assert len(parse_fields([b"A: 1\r\n"] * 100)) == 100
    with pytest.raises(MalformedResponse):
        parse_fields([b"A: 1\r\n"] * 101)


@pytest.mark.parametrize(
    ("method", "status", "fields", "expected"),
    [
        ("GET", 200, [LENGTH_5], Framing(False, 5, True)),
        ("GET", 500, [LENGTH_5], Framing(False, 5, True)),
        ("GET", 200, [("content-length", "0")], Framing(False, 0, True)),
        ("GET", 200, [CHUNKED], Framing(True, None, True)),
        ("GET", 200, [("TRANSFER-ENCODING", "Chunked")], Framing(True, None, True)),
        ("GET", 200, [CHUNKED, LENGTH_5], Framing(True, None, False)),
        ("GET", 200, [], Framing(False, None, False)),
        ("GET", 200, [LENGTH_5, ("Connection", "x, Close")], Framing(False, 5, False)),
        ("GET", 200, [LENGTH_5, ("Connection", "not-close")], Framing(False, 5, True)),
        ("GET", 204, [], Framing(False, 0, False)),
        ("GET", 205, [("Content-Length", "0")], Framing(False, 0, False)),
        ("GET", 304, [LENGTH_5], Framing(False, 0, False)),
        ("HEAD", 200, [LENGTH_5], Framing(False, 0, True)),
        ("HEAD", 200, [CHUNKED], Framing(False, 0, True)),
        ("HEAD", 404, [LENGTH_5], Framing(False, 0, True)),
        ("HEAD", 401, [], Framing(False, 0, True)),
        ("HEAD", 403, [LENGTH_5], Framing(False, 0, False)),
    ],
)
def test_framing_of_a_body(method: str, status: int, fields: Fields, expected: Framing) -> None:
    assert framing_of(method, StatusLine(11, status, ""), fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([LENGTH_5], Framing(False, 5, False)),
        ([LENGTH_5, ("Connection", "Keep-Alive")], Framing(False, 5, True)),
        ([CHUNKED, ("Connection", "keep-alive")], Framing(True, None, False)),
    ],
)
def test_http_1_0_keeps_a_connection_only_when_it_declares_so(fields: Fields, expected: Framing) -> None:
    assert framing_of("GET", StatusLine(10, 200, ""), fields) == expected


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "fields",
    [
        [LENGTH_5, LENGTH_5],
        [LENGTH_5, ("content-length", "6")],
        *([("Content-Length", value)] for value in ("+5", "5_0", "5, 5", "-1", "0x5", "5.0", "", "1" * 20, "\xb2")),
        *(
            [("Transfer-Encoding", value)]
            for value in ("gzip, chunked", "identity", "chunked;x", "chunked, chunked", "")
        ),
        [CHUNKED, CHUNKED],
        [("Transfer-Encoding", "identity"), LENGTH_5],
    ],
)
def test_ambiguous_length_is_refused(method: str, fields: Fields) -> None:
    with pytest.raises(MalformedResponse):
        framing_of(method, StatusLine(11, 200, ""), fields)


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"28\r\n", 40),
        (b"0\r\n", 0),
        (b"aF \r\n", 175),
        (b"1;name=value\r\n", 1),
        (b'1 ; a="b c"\r\n', 1),
        (b"00\r\n", 0),
    ],
)
def test_chunk_size_is_parsed(line: bytes, size: int) -> None:
    assert parse_chunk_line(line) == size


@pytest.mark.parametrize(
    "line",
    [
        *(b"+28\r\n", b"-28\r\n", b"0_0\r\n", b"0x28\r\n", b" 28\r\n", b"\r\n", b";x\r\n", b"28 x\r\n", b"28\n"),
        *(b"28\r\r\n", b"28;a\rb\r\n", b"f" * 17 + b"\r\n", b"28"),
    ],
)
def test_malformed_chunk_size_is_refused(line: bytes) -> None:
    with pytest.raises(MalformedResponse):
        parse_chunk_line(line)
