"""Clients that read slowly: honest ones get everything, many of them do not keep the others out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import pytest
from component.service.http.test_server import add_huge, serving, stall
from support.serving import Sample, ask

from dist_tool.service.http.connection import Phase
from dist_tool.service.http.eviction import choose, client_of
from dist_tool.service.http.settings import ServerLimits


@contextmanager
def reading(sock: socket.socket, rate: int) -> Iterator[None]:
    """Read `rate` bytes a second, in small pieces, on a thread; the end of the connection is no error."""
    stop = threading.Event()

    def read() -> None:
        pause_s = 0.1
        with suppress(OSError):
            while not stop.wait(pause_s) and sock.recv(int(rate * pause_s)):
                pass

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_honest_slow_readers_keep_their_connections(sample: Sample) -> None:
    """What the kernel buffers at the start is no measure: after it, a slow reader takes nothing for a while."""
    add_huge(sample.path)
    with serving(sample, send_window_s=2, floor=1024) as server, ExitStack() as stack:
        for rate in (8 << 10, 32 << 10):
            sock = stack.enter_context(stall(server.address, 3))
            stack.enter_context(reading(sock, rate))
        for _ in range(14):
            time.sleep(0.5)
            assert server.connections == 2


def test_a_client_that_stops_reading_is_gone_after_two_windows(sample: Sample) -> None:
    add_huge(sample.path)
    with serving(sample, send_window_s=1) as server, stall(server.address, 3) as sock:
        sock.recv(1)
        started = time.monotonic()
        while server.connections:
            assert time.monotonic() - started < 10
            time.sleep(0.05)
        assert time.monotonic() - started > 0.5


def test_slow_readers_in_every_place_do_not_lock_others_out(sample: Sample) -> None:
    """Each takes more than the floor, so that no deadline ends it."""
    add_huge(sample.path)
    with serving(sample, connections=12, send_window_s=10, floor=512) as server, ExitStack() as stack:
        for _ in range(12):
            sock = stack.enter_context(stall(server.address, 3))
            stack.enter_context(reading(sock, 2048))
        started = time.monotonic()
        assert [ask(server.address, "/v2/").status for _ in range(7)] == [200] * 7
        assert time.monotonic() - started < 8


@dataclass(eq=False)
class Fake:
    """What `choose` looks at."""

    name: str
    client: str = "a"
    since: float = 0.0
    speed: float | None = None
    phase: Phase = Phase.SEND

    def rate(self, now: float) -> float | None:
        return self.speed


def chosen(*connections: Fake) -> str:
    waiting = [each for each in connections if each.phase is Phase.HEAD]
    found = choose(connections, waiting, 100.0, ServerLimits())  # type: ignore[arg-type]
    return found.name if found else ""  # type: ignore[attr-defined]


IDLE = Fake("idle", since=50.0, phase=Phase.HEAD)
NEW = Fake("new", since=99.9, phase=Phase.HEAD)
SLOW = Fake("slow", speed=1000.0)
SLOWER = Fake("slower", speed=900.0)
FAST = Fake("fast", speed=1e6)
UNKNOWN = Fake("unknown")


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        ([FAST, SLOW, NEW, IDLE], "idle"),
        ([IDLE, Fake("later", since=60.0, phase=Phase.HEAD)], "idle"),
        ([NEW, SLOW, SLOWER, FAST, UNKNOWN], "slower"),
        ([NEW, FAST, UNKNOWN], "new"),
        ([FAST, UNKNOWN], ""),
        ([SLOWER, SLOW, Fake("other", client="b", speed=1.0)], "slower"),
        ([IDLE, Fake("first", "b", 70.0, phase=Phase.HEAD), Fake("second", "b", 80.0, phase=Phase.HEAD)], "first"),
        ([], ""),
    ],
    ids=[
        "idle before slow",
        "longest idle",
        "slowest before new",
        "new when all others are fast",
        "nobody when all are fast or cannot be judged yet",
        "of the client with the most connections, slowest",
        "of the client with the most connections, longest idle",
        "nobody of none",
    ],
)
def test_the_connection_that_makes_room(connections: list[Fake], expected: str) -> None:
    assert chosen(*connections) == expected


def test_a_client_is_an_ipv4_address_or_an_ipv6_network() -> None:
    assert client_of("192.0.2.1") != client_of("192.0.2.2")
    assert client_of("::ffff:192.0.2.1") == client_of("192.0.2.1")
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1%eth0") != client_of("2001:db8:0:1::1")
