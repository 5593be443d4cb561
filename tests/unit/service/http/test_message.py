"""Reading requests: what is one, and what is refused as soon as it can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_tool.service.http.message import RequestRefused, ServerRequest, ServerResponse, parse_head, split_head
from dist_tool.service.http.settings import ServerLimits

LIMITS = ServerLimits(target_bytes=100, head_bytes=300, header_fields=5)


def read(data: bytes) -> ServerRequest | None:
    head = split_head(bytearray(data), LIMITS)
    return None if head is None else parse_head(head, LIMITS)


def parsed(data: bytes) -> ServerRequest:
    request = read(data)
    assert request is not None
    return request


def test_a_request_is_read() -> None:
    request = parsed(
        b"GET /v2/a/b/tags/list?n=2&last=x%20y&e= HTTP/1.1\r\nHost: h.test:1\r\nX-A:  b \t\r\nx-a: c\r\n\r\n"
    )
    assert request.method == "GET"
    assert request.segments == ("v2", "a", "b", "tags", "list")
    assert request.query == (("n", "2"), ("last", "x y"), ("e", ""))
    assert request.headers == {"host": "h.test:1", "x-a": "b, c"}
    assert request.keep_alive
    assert request.content_length == 0


@pytest.mark.parametrize(
    ("line", "keep_alive"),
    [(b"HTTP/1.1\r\n", True), (b"HTTP/1.0\r\n", False), (b"HTTP/1.1\r\nConnection: a, Close\r\n", False)],
)
def test_a_connection_is_kept_unless_the_client_says_otherwise(line: bytes, keep_alive: bool) -> None:
    assert parsed(b"GET / " + line + b"Host: h\r\n\r\n").keep_alive is keep_alive


def test_what_follows_a_head_stays_in_the_buffer() -> None:
    buffer = bytearray(b"\r\n\r\nGET / HTTP/1.1\r\n\r\nGET")
    assert split_head(buffer, LIMITS) == b"GET / HTTP/1.1"
    assert buffer == b"GET"
    assert split_head(buffer, LIMITS) is None
    assert buffer == b"GET"


def test_paths_are_decoded_once() -> None:
    assert parsed(b"GET /v2/a/blobs/sha256%3Aab HTTP/1.0\r\n\r\n").segments[-1] == "sha256:ab"
    assert parsed(b"GET /%2561 HTTP/1.0\r\n\r\n").segments == ("%61",)


@pytest.mark.parametrize(
    ("target", "segments"),
    [
        (b"http://other:80/v2/a?n=1", ("v2", "a")),
        (b"HTTPS://[::1]/v2/a?n=1", ("v2", "a")),
        (b"http://other?n=1", ("",)),
        (b"http://other/?n=1", ("",)),
    ],
)
def test_an_absolute_target_is_read_and_its_host_counts(target: bytes, segments: tuple[str, ...]) -> None:
    """RFC 9112 3.2.2."""
    request = read(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (request.segments, request.parameter("n")) == (segments, "1")
    assert request.headers["host"] == target.decode().split("/")[2].partition("?")[0]
    assert request.target == target.decode()


def test_a_later_minor_version_is_answered_as_the_one_we_have() -> None:
    assert read(b"GET / HTTP/1.2\r\nHost: h\r\n\r\n").keep_alive


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/../etc",
        b"/v2/./a",
        b"/v2/%2e%2e/a",
        b"/v2/%2E./a",
        b"/v2/a%2Fb/tags/list",
        b"/v2/a%00",
        b"/v2/a%0d%0aX: y",
        b"/v2/a%1b[2J",
        b"/v2/%ff",
        b"/v2/%",
        b"/v2/%4",
        b"/v2/%zz",
        b"/v2/a#b",
        b"/v2/?n=%zz",
        b"/v2/?n=%ff",
        b"v2/",
        b"*",
        b"",
        b"http://",
        b"http:///v2/",
        b"http://user@h/v2/",
        b"http://h:x/",
        b"http://h\\v2/",
        b"ftp://h/v2/",
        b"http://h/v2/../x",
        b"/v2/ /x",
        b"/v2/\xc3\xa4",
        b"/v2/\x01",
    ],
)
def test_a_target_that_means_no_path_is_refused(target: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        read(b"GET " + target + b" HTTP/1.0\r\n\r\n")
    assert caught.value.status == 400
    assert caught.value.close


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b'GET / HTTP/1.1\r\nHost: h",x="\r\n\r\n', 400),
        (b"GET / HTTP/1.1\r\nHost: user@h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nX : a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nX\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nContent-Length: +1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nContent-Length: 1_0\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nContent-Length: \xb2\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nRange: bytes=0-\r\nRange: bytes=1-\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 411),
        (b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.2\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/3\r\n\r\n", 505),
        (b"GET /" + b"a" * 150, 414),
        (b"GET /" + b"a" * 150 + b" HTTP/1.0\r\n", 414),
        (b"GET /" + b"a" * 120 + b" HTTP/1.0\r\n\r\n", 414),
        (b"GET / HTTP/1.0\r\nX: " + b"a" * 300, 431),
        (b"GET / HTTP/1.0\r\n" + b"X: a\r\n" * 6 + b"\r\n", 431),
    ],
)
def test_what_is_no_request_within_the_limits_is_refused_at_once(data: bytes, status: int) -> None:
    with pytest.raises(RequestRefused) as caught:
        read(data)
    assert caught.value.status == status
    assert caught.value.close


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_refused_or_not_yet_whole(data: bytes) -> None:
    for prefix in (b"", b"GET ", b"GET / HTTP/1.1\r\nHost: h\r\n"):
        found: ServerRequest | RequestRefused | None
        try:
            found = read(prefix + data)
        except RequestRefused as refused:
            found = refused
        if isinstance(found, RequestRefused):
            assert found.status in (400, 411, 414, 431, 505)
            assert found.response().close
        else:
            assert found is None or found.method.isalpha()


def test_a_query_has_a_bounded_number_of_parameters() -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_head(b"GET /?" + b"&".join([b"a=b"] * 65) + b" HTTP/1.0", ServerLimits())
    assert caught.value.status == 400


def test_a_parameter_given_twice_is_refused_when_it_is_asked_for() -> None:
    request = parsed(b"GET /?n=1&n=2&last=x HTTP/1.0\r\n\r\n")
    assert request.parameter("last") == "x"
    assert request.parameter("absent") is None
    with pytest.raises(RequestRefused):
        request.parameter("n")


def test_a_response_head_has_the_length_and_says_when_the_connection_ends() -> None:
    head = ServerResponse.of_json(404, {}, headers={"X": "y"}, close=True).head("today")
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\nDate: today\r\n")
    assert b"\r\nX: y\r\n" in head
    assert b"\r\nContent-Length: 2\r\n" in head
    assert head.endswith(b"\r\nConnection: close\r\n\r\n")


def test_not_modified_has_no_length() -> None:
    assert b"Content-Length" not in ServerResponse(304).head("today")
