"""One time limit for looking up a name and for all of its addresses."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time

import pytest
from support.scarcity import FewThreads

from dist_tool.context import Context
from dist_tool.errors import Unavailable
from dist_tool.names.origin import Origin
from dist_tool.settings import Endpoint, Timeouts
from dist_tool.transport.connecting import connect
from dist_tool.transport.session import HttpSession, Request

Address = tuple[str, int]


def _resolving(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)


@pytest.mark.parametrize("count", [1, 12, 1000])
def test_all_dead_addresses_together_have_one_limit(
    full_backlog: Address, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    _resolving(monkeypatch, *[full_backlog] * count)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        connect("many.test", 80, 0.6)
    assert 0.5 <= time.monotonic() - started < 3


def test_an_address_that_is_alive_is_reached_behind_one_that_is_dead(
    full_backlog: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _resolving(monkeypatch, full_backlog, listener.getsockname())
        with connect("two.test", 80, 1.0) as made:
            assert made.getpeername() == listener.getsockname()


def test_addresses_that_refuse_take_no_time_from_the_others(
    full_backlog: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as gone:
        refusing = gone.getsockname()
        gone.close()
        _resolving(monkeypatch, *[refusing] * 50, listener.getsockname())
        with connect("two.test", 80, 1.0) as made:
            assert made.getpeername() == listener.getsockname()


def test_a_lookup_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: ended.wait(30) and [])
    try:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            connect("slow.test", 80, 0.2)
        assert time.monotonic() - started < 5
    finally:
        ended.set()


def test_a_name_is_looked_up_where_no_thread_can_be_started(few_threads: FewThreads) -> None:
    few_threads(0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect("localhost", listener.getsockname()[1], 5.0).close()


def _session(port: int, connect_s: float = 5.0) -> HttpSession:
    timeouts = Timeouts(connect_s=connect_s)
    return HttpSession(Origin("http", "host.test", port), Context(Endpoint(timeout=timeouts, proxy="")))


def test_a_session_has_one_limit_for_all_addresses(full_backlog: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolving(monkeypatch, *[full_backlog] * 100)
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"host\.test:80: connection timed out|host\.test: connection timed out"):
        _session(80, 0.3).send(Request("GET", "http://host.test/"))
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("number", "said", "hint"),
    [
        (errno.ENETUNREACH, "host.test: network is unreachable", ""),
        (errno.EHOSTUNREACH, "host.test: no route to host", ""),
        (errno.EADDRNOTAVAIL, "host.test: cannot assign requested address", ""),
        (errno.EMFILE, "host.test: too many open files", "ulimit -n"),
    ],
)
def test_a_failure_to_connect_is_no_time_out(
    monkeypatch: pytest.MonkeyPatch, number: int, said: str, hint: str
) -> None:
    _resolving(monkeypatch, ("192.0.2.1", 80))

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dist_tool.transport.connecting._connected", refuse)
    with pytest.raises(Unavailable) as caught:
        _session(80).send(Request("GET", "http://host.test/"))
    assert caught.value.what == said
    assert hint in caught.value.hint
