"""A registry of answers, without sockets: what is asked, in which order, and with which headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import responses
from responses.registries import FirstMatchRegistry

from dist_tool.context import Context
from dist_tool.names.hints import Hints, parse_hints
from dist_tool.names.locator import parse_locator
from dist_tool.remotes.registry import RegistryRemote
from dist_tool.run import Notice, Run
from dist_tool.settings import Endpoint, Settings
from dist_tool.transfer.opening import FetchOptions
from support.repositories import fetch_to

HOST = "registry.test"
REPOSITORY = "team/app"


def _short(method: str | None, url: str | None) -> str:
    """METHOD and URL, the URL relative to the repository if it is in it."""
    return f"{method} {(url or '').removeprefix(f'https://{HOST}/v2/{REPOSITORY}/')}"


class ScriptedAnswers(FirstMatchRegistry):
    """Fails the test on a request without an answer.

    The failure is not an `Exception`, so that the client under test cannot turn it into a connection error. A request
    of another thread cannot fail the test by itself: it is in `unexpected`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unexpected: list[str] = []

    def find(self, request: requests.PreparedRequest) -> tuple[responses.BaseResponse | None, list[str]]:
        match, reasons = super().find(request)
        if match is None:
            unasked = [_short(each.method, str(each.url)) for each in self.registered if each.call_count == 0]
            expected = ", ".join(unasked) or "no further request"
            self.unexpected.append(f"unexpected {_short(request.method, request.url)}; expected {expected}")
            pytest.fail(self.unexpected[-1])
        return match, reasons


@contextmanager
def scripted_answers() -> Iterator[responses.RequestsMock]:
    """Replace the network by answers. An unexpected request fails the test, and so does an answer without a request."""
    with responses.RequestsMock(assert_all_requests_are_fired=True, registry=ScriptedAnswers) as mock:
        answers = mock.get_registry()
        assert isinstance(answers, ScriptedAnswers)
        try:
            yield mock
        finally:
            if answers.unexpected:
                mock.assert_all_requests_are_fired = False  # the first unexpected request explains those that are left
        if answers.unexpected:
            pytest.fail(answers.unexpected[0])


class MockedRegistry:
    """`registry.test/team/app`. A request without an answer fails the test, and so does an answer without a request."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.mock = mock
        self.notices: list[Notice] = []
        self.waits: list[float] = []
        self._open: list[RegistryRemote] = []

    def answer(self, method: str, tail: str, status: int = 200, body: bytes = b"", **headers: str | None) -> None:
        """Answer one request for `tail`, such as `manifests/latest`; the last answer stays.

        Header names have `_` for `-`; a Content-Length that is right is sent unless another, or None, is given.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Length", str(len(body)))
        sent = {name: value for name, value in named.items() if value is not None and name != "Content-Type"}
        url = tail if "://" in tail else f"https://{HOST}/v2/{REPOSITORY}/{tail}"
        content = b"" if method == "HEAD" else body
        self.mock.add(method, url, content, status=status, headers=sent, content_type=named.get("Content-Type"))

    def remote(self, *, lenient: bool = False, locator: str = f"{HOST}/{REPOSITORY}", **table: Any) -> RegistryRemote:
        """The remote, its retries not sleeping. It is closed with the fixture."""
        run = Run(self.notices.append, pause=self.waits.append, random=lambda: 0.0)
        context = Context(Endpoint(**table), Settings(lenient=lenient), run)
        self._open.append(RegistryRemote(parse_locator(locator), context))
        return self._open[-1]

    def fetch(self, object_id: object, *words: str, remote: RegistryRemote | None = None) -> bytes:
        """All bytes of an object, verified."""
        out = bytearray()
        options = FetchOptions(run=Run(self.notices.append, pause=self.waits.append))
        fetch_to(remote or self.remote(), str(object_id), out.extend, parse_hints(words), options)
        return bytes(out)

    @property
    def asked(self) -> list[str]:
        """The requests so far: METHOD and what of the repository."""
        return [_short(call.request.method, call.request.url) for call in self.mock.calls]

    def headers(self, name: str) -> list[str | None]:
        """A header of each request so far."""
        return [call.request.headers.get(name) for call in self.mock.calls]

    @property
    def warnings(self) -> list[str]:
        return [notice.text for notice in self.notices if notice.level == "warning"]

    def close(self) -> None:
        for remote in self._open:
            remote.close()


def hinted(*words: str, content: bool = False) -> Hints:
    """Hints as typed."""
    return parse_hints(words)._replace(content=content)


@pytest.fixture
def mocked_registry() -> Iterator[MockedRegistry]:
    with scripted_answers() as mock:
        registry = MockedRegistry(mock)
        try:
            yield registry
        finally:
            registry.close()


def joined(types: Sequence[str]) -> str:
    """An Accept header."""
    return ", ".join(types)
