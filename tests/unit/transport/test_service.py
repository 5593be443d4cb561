"""Which scheme a host speaks: guessed, found out once, and kept by all threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from dist_tool.context import Context
from dist_tool.errors import DistError, NotFound, NotHttp, NotTls, RemoteFailed, Unavailable
from dist_tool.names.origin import Origin
from dist_tool.settings import Endpoint
from dist_tool.transport.service import HttpService

LOOPBACK = "127.0.0.1:5000"
Answer = Callable[[], str]


class Host:
    """Answers by scheme, in the place of a server. `asked` are the schemes of all requests, `clients` those made."""

    def __init__(self, http: Answer, https: Answer) -> None:
        self.answers = {"http": http, "https": https}
        self.asked: list[str] = []
        self.clients: list[_Client] = []

    def client(self, home: Origin, *_: Any, **__: Any) -> _Client:
        self.clients.append(_Client(home, self))
        return self.clients[-1]


class _Client:
    def __init__(self, home: Origin, host: Host) -> None:
        self.home = home
        self.closed = False
        self._host = host

    def request(self, *_: Any, **__: Any) -> str:
        self._host.asked.append(self.home.scheme)
        try:
            return self._host.answers[self.home.scheme]()
        except DistError as error:
            raise error.with_(host=self.home.netloc) from error.cause

    def close(self) -> None:
        self.closed = True


def failing(error: DistError) -> Answer:
    def answer() -> str:
        raise error

    return answer


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Callable[..., HttpService]:
    def made(host: Host, **remote: Any) -> HttpService:
        monkeypatch.setattr("dist_tool.transport.service.Client", host.client)
        return HttpService("registry.test" if remote else LOOPBACK, Context(Endpoint(**remote)))

    return made


def ask(site: HttpService) -> object:
    return site.ask("GET", "/v2/", {}, (200,))


def test_threads_that_meet_at_the_wrong_scheme_all_get_the_right_one(site: Callable[..., HttpService]) -> None:
    together = Barrier(4)

    def wants_tls() -> str:
        together.wait(5)  # all have asked before the first one hears of it
        raise NotHttp("not HTTP")

    host = Host(wants_tls, lambda: "secure")
    one = site(host)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: ask(one), range(4))) == ["secure"] * 4
    one.close()
    assert [client.home.scheme for client in host.clients] == ["http", "https"]
    assert all(client.closed for client in host.clients)


def test_a_registry_that_is_insecure_is_found_out_once_for_all_threads(site: Callable[..., HttpService]) -> None:
    together = Barrier(4)

    def wants_http() -> str:
        together.wait(5)
        raise NotTls("not TLS")

    host = Host(lambda: "plain", wants_http)
    one = site(host, insecure=True)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: ask(one), range(4))) == ["plain"] * 4
    assert [client.home.scheme for client in host.clients] == ["https", "http"]


def test_a_400_that_has_another_reason_leaves_the_scheme_as_it_was(site: Callable[..., HttpService]) -> None:
    host = Host(failing(RemoteFailed("400", status=400)), failing(NotTls("not TLS")))
    one = site(host)
    with pytest.raises(RemoteFailed, match="400"):
        ask(one)
    host.answers["http"] = lambda: "plain"
    assert ask(one) == "plain"
    assert host.asked == ["http", "https", "http"]


def test_what_was_answered_once_is_not_doubted(site: Callable[..., HttpService]) -> None:
    host = Host(lambda: "plain", failing(AssertionError("asked by TLS")))  # type: ignore[arg-type]
    one = site(host)
    assert ask(one) == "plain"
    host.answers["http"] = failing(RemoteFailed("400", status=400))
    with pytest.raises(RemoteFailed):
        ask(one)
    assert host.asked == ["http", "http"]


def test_an_error_by_the_other_scheme_is_an_answer_too(site: Callable[..., HttpService]) -> None:
    host = Host(failing(NotHttp("not HTTP")), failing(NotFound("no", status=404)))
    one = site(host)
    for _ in range(2):
        with pytest.raises(NotFound):
            ask(one)
    assert host.asked == ["http", "https", "https"]


def test_where_neither_scheme_works_the_first_error_counts(site: Callable[..., HttpService]) -> None:
    host = Host(failing(Unavailable("refused by http")), failing(Unavailable("refused by https")))
    with pytest.raises(Unavailable, match="by https"):
        ask(site(host, insecure=True))
    assert host.asked == ["https", "http"]
