"""One connection under a clock and a channel of the tests' own: deadlines, order, and what is closed."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from dist_tool.service.http.channel import Blocked
from dist_tool.service.http.connection import Connection, Phase, Service
from dist_tool.service.http.message import FileSlice, RequestRefused, ServerRequest, ServerResponse
from dist_tool.service.http.settings import ServerLimits

LIMITS = ServerLimits(head_s=20, idle_s=30, send_window_s=20, floor=1024, linger_s=2, body_bytes=100)
GET = b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n"


class Line:
    """A channel: what is in `incoming` arrives, and `room` bytes can be sent."""

    fileno = -1

    def __init__(self) -> None:
        self.incoming: deque[bytes] = deque()
        self.sent = bytearray()
        self.room = 1 << 30
        self.queued = 0
        self.ended = self.closed = False
        self.failure: type[Exception] | None = None

    def handshake(self) -> None:
        if self.failure:
            raise self.failure

    def receive(self, size: int) -> bytes:
        if not self.incoming:
            raise Blocked(EVENT_READ)
        assert len(self.incoming[0]) <= size
        return self.incoming.popleft()

    def send(self, data: memoryview, *, more: bool = False) -> int:
        return self._take(bytes(data))

    def send_file(self, fd: int, offset: int, size: int) -> int:
        return self._take(os.pread(fd, min(size, 1000), offset)) if self.room else self._take(b"x")

    def unacknowledged(self) -> int:
        return self.queued

    def end(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def _take(self, data: bytes) -> int:
        if data and not self.room:
            raise Blocked(EVENT_WRITE)
        data = data[: self.room]
        self.room -= len(data)
        self.sent += data
        return len(data)


class Bench:
    """A connection on a line, answered by `response` (default: a small one), with the time in `now`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.line = Line()
        self.asked: list[ServerRequest | None] = []
        self.response: ServerResponse | None = None
        self.connection = Connection(self.line, Service(LIMITS, self.answer, lambda: self.now, lambda: "today"))

    def answer(self, request: ServerRequest | None, refused: RequestRefused | None) -> ServerResponse:
        self.asked.append(request)
        if refused is not None:
            return refused.response()
        return self.response or ServerResponse(200, {}, b"ok", 2)

    def arrive(self, *parts: bytes) -> None:
        self.line.incoming.extend(parts)
        self.connection.advance()

    def later(self, seconds: float) -> bool:
        self.now += seconds
        return self.connection.expired(self.now)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def large(tmp_path: Path) -> FileSlice:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 200_000)
    return FileSlice(os.open(path, os.O_RDONLY), 0, 200_000)


def is_open(body: FileSlice) -> bool:
    try:
        os.fstat(body.fd)
    except OSError:
        return False
    return True


def test_a_request_in_pieces_is_answered_when_it_is_whole(bench: Bench) -> None:
    for position in range(len(GET) - 1):
        bench.arrive(GET[position : position + 1])
    assert not bench.line.sent
    bench.arrive(GET[-1:])
    assert bench.line.sent.endswith(b"\r\n\r\nok")
    assert bench.connection.interest == EVENT_READ


def test_requests_sent_together_are_answered_in_order(bench: Bench) -> None:
    bench.arrive(b"".join(GET.replace(b"/v2/", f"/{n}".encode()) for n in range(5)))
    for _ in range(5):
        bench.connection.advance()
    assert [request.target for request in bench.asked if request] == ["/0", "/1", "/2", "/3", "/4"]


def test_a_client_with_much_to_do_lets_others_go_first(bench: Bench) -> None:
    """One request a turn: it asks to be called again although nothing new arrives."""
    bench.arrive(GET * 100)
    assert len(bench.asked) == 1
    for _ in range(100):
        assert bench.connection.interest == EVENT_WRITE
        bench.connection.advance()
        if len(bench.asked) == 100:
            break
    assert len(bench.asked) == 100


def test_no_request_is_read_while_an_answer_waits(bench: Bench) -> None:
    bench.line.room = 10
    bench.arrive(GET + GET)
    assert (len(bench.asked), bench.connection.interest, bench.connection.waits) == (1, EVENT_WRITE, False)
    bench.line.room = 1 << 30
    bench.connection.advance()
    assert len(bench.asked) == 2


def test_a_head_has_a_deadline_that_bytes_do_not_move(bench: Bench) -> None:
    bench.connection.advance()
    for _ in range(19):
        assert not bench.later(1)
        bench.arrive(b"G")
    assert bench.later(1)


def test_empty_lines_before_a_request_do_not_move_the_deadline(bench: Bench) -> None:
    for _ in range(19):
        bench.arrive(b"\r\n")
        assert not bench.later(1)
    assert bench.later(1)


def test_between_requests_a_connection_is_kept_for_longer(bench: Bench) -> None:
    bench.arrive(GET)
    assert not bench.later(29.9)
    assert bench.later(0.1)


def test_the_first_byte_of_the_next_request_starts_its_deadline(bench: Bench) -> None:
    bench.arrive(GET)
    assert not bench.later(29)
    bench.arrive(b"G")
    assert not bench.later(19.9)
    bench.arrive(b"E")
    assert bench.later(0.1)


def test_half_a_request_behind_another_has_the_deadline_of_a_head(bench: Bench) -> None:
    bench.arrive(GET + b"GET")
    assert not bench.later(19.9)
    assert bench.later(0.1)


def test_a_body_has_a_deadline(bench: Bench) -> None:
    bench.arrive(b"POST /token HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
    assert bench.connection.phase is Phase.BODY
    assert not bench.later(19.9)
    bench.arrive(b"abc")
    assert bench.later(0.1)


def test_who_stops_reading_is_gone_after_two_windows(bench: Bench, large: FileSlice) -> None:
    bench.response = ServerResponse(200, {}, large, large.length)
    bench.line.room = 150_000
    while bench.line.room:
        bench.arrive(*([] if bench.asked else [GET]))
    assert not bench.later(20)  # in this window much was taken
    assert bench.later(20)
    bench.connection.close()
    assert not is_open(large)


def test_who_reads_slowly_but_steadily_is_served(bench: Bench, large: FileSlice) -> None:
    bench.response = ServerResponse(200, {}, large, large.length)
    bench.line.room = 30_000
    bench.arrive(GET)
    windows = 0
    while bench.connection.phase is Phase.SEND:
        windows += 1
        bench.line.room = 1024 * 20
        for _ in range(30):
            bench.connection.advance()
        assert not bench.later(20)
    assert windows > 5
    assert bench.line.sent.endswith(b"x" * 200_000)
    assert not is_open(large)


def test_who_reads_below_the_floor_is_gone(bench: Bench, large: FileSlice) -> None:
    bench.response = ServerResponse(200, {}, large, large.length)
    bench.line.room = 1024 * 20 - 1
    for _ in range(40):
        bench.arrive(*([] if bench.asked else [GET]))
    assert bench.later(20)
    bench.connection.close()


def test_bytes_in_the_send_queue_are_no_progress(bench: Bench, large: FileSlice) -> None:
    bench.response = ServerResponse(200, {}, large, large.length)
    bench.line.room = bench.line.queued = 1024 * 40
    for _ in range(80):
        bench.arrive(*([] if bench.asked else [GET]))
    assert bench.later(20)
    bench.connection.close()


def test_a_slow_reader_behind_a_full_send_queue_makes_progress_as_bytes_arrive(bench: Bench, large: FileSlice) -> None:
    bench.response = ServerResponse(200, {}, large, large.length)
    bench.line.room = bench.line.queued = 150_000
    for _ in range(200):
        bench.arrive(*([] if bench.asked else [GET]))
    for _ in range(6):  # nothing more is accepted by the kernel, the client takes what it has
        bench.line.queued -= 1024 * 20
        assert not bench.later(20)
    bench.line.queued -= 1024 * 20 - 1
    assert bench.later(20)
    bench.connection.close()


def test_the_rate_of_an_answer_is_that_of_the_last_seconds(bench: Bench, large: FileSlice) -> None:
    bench.response = ServerResponse(200, {}, large, large.length)
    bench.line.room = bench.line.queued = 150_000
    for _ in range(200):
        bench.arrive(*([] if bench.asked else [GET]))
    rates = []
    for second in range(14):
        bench.connection.sample(bench.now)
        rates.append(bench.connection.rate(bench.now))
        bench.line.queued -= 10_000 if second < 4 else 1000
        bench.now += 1
    assert rates[:4] == [None] * 4
    assert rates[4] == pytest.approx(10_000)
    assert rates[13] == pytest.approx(1000)
    bench.connection.close()


def test_a_file_that_becomes_shorter_ends_the_connection(bench: Bench, tmp_path: Path) -> None:
    """The client has a Content-Length: it must see the cut, not the next answer."""
    path = tmp_path / "cut"
    path.write_bytes(b"x" * 90_000)
    body = FileSlice(os.open(path, os.O_RDONLY), 0, 100_000)
    bench.response = ServerResponse(200, {}, body, body.length)
    bench.arrive(GET)
    for _ in range(100):
        bench.connection.advance()
    assert bench.connection.phase is Phase.CLOSED
    assert bench.line.sent.count(b"x") == 90_000
    bench.connection.close()
    assert not is_open(body)


def test_a_small_file_that_became_shorter_ends_the_connection(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(b"x" * 10)
    bench.response = ServerResponse(200, {}, FileSlice(os.open(path, os.O_RDONLY), 0, 100), 100)
    bench.arrive(GET + GET)
    assert (len(bench.asked), bench.line.ended) == (1, True)


def test_small_bodies_of_reads_are_taken_off_the_line(bench: Bench) -> None:
    bench.arrive(b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" + GET)
    bench.connection.advance()
    assert [request.body for request in bench.asked if request] == [b"hello", b""]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_large_body_of_a_read_is_refused_unread(bench: Bench, method: bytes) -> None:
    bench.arrive(method + b" /a HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n")
    assert bench.asked == [None]
    assert bench.line.sent.startswith(b"HTTP/1.1 413 ")
    assert (bench.line.ended, bench.connection.phase) == (True, Phase.LINGER)


def test_a_large_upload_gets_its_answer_and_is_not_read(bench: Bench) -> None:
    bench.arrive(b"PATCH /a HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in bench.line.sent
    assert bench.connection.phase is Phase.LINGER
    for _ in range(100):
        bench.arrive(b"x" * (16 << 10))
    assert bench.connection.phase is Phase.CLOSED
    assert len(bench.asked) == 1


def test_who_asks_before_sending_a_body_is_told_to_go_on(bench: Bench) -> None:
    bench.arrive(b"POST /token HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert bench.line.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    bench.arrive(b"ab")
    assert [request.body for request in bench.asked if request] == [b"ab"]


def test_who_asks_before_sending_too_much_is_told_not_to(bench: Bench) -> None:
    bench.arrive(b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n")
    assert b"100 Continue" not in bench.line.sent
    assert bench.connection.phase is Phase.LINGER


def test_after_a_refusal_it_waits_a_moment_for_the_client_to_leave(bench: Bench) -> None:
    bench.arrive(b"nonsense\r\n\r\n")
    assert (bench.line.ended, bench.connection.phase) == (True, Phase.LINGER)
    assert not bench.later(1.9)
    bench.arrive(b"more nonsense")
    assert bench.later(0.1)


def test_the_clients_end_is_the_connections_end(bench: Bench) -> None:
    bench.arrive(GET[:10], b"")
    assert (bench.connection.phase, bench.asked) == (Phase.CLOSED, [])


def test_the_longest_waiting_is_known_by_its_last_request(bench: Bench) -> None:
    assert bench.connection.since == 1000
    bench.now = 1005
    bench.arrive(b"GET")
    assert bench.connection.since == 1000
    bench.arrive(GET[3:])
    assert bench.connection.since == 1005


def test_a_network_failure_closes_quietly(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.line.failure = ConnectionResetError
    bench.connection.advance()
    assert bench.connection.phase is Phase.CLOSED
    assert not caplog.records


def test_a_bug_closes_one_connection_and_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.line.failure = ZeroDivisionError
    bench.connection.advance()
    assert bench.connection.phase is Phase.CLOSED
    assert "ZeroDivisionError" in caplog.text
