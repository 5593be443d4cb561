"""Scripted answers: a request without an answer fails the test and is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread

import pytest
import requests
import responses
from support.content import blob
from support.mocked import MockedRegistry, scripted_answers

BLOB = blob("mocked", 10)


@contextmanager
def _failing(message: str) -> Iterator[responses.RequestsMock]:
    """Scripted answers that must end with this failure."""
    with pytest.raises(pytest.fail.Exception) as failure, scripted_answers() as mock:
        yield mock
    assert str(failure.value) == message


def test_an_unexpected_request_and_the_expected_one_are_named() -> None:
    with _failing(f"unexpected GET blobs/{BLOB.digest}; expected GET manifests/{BLOB.digest}") as mock:
        registry = MockedRegistry(mock)
        registry.answer("GET", f"manifests/{BLOB.digest}", body=BLOB.data)
        with closing(registry):
            registry.fetch(BLOB.digest)


def test_a_request_after_the_last_answer_is_unexpected() -> None:
    with _failing("unexpected GET https://other.test/; expected no further request") as mock:
        MockedRegistry(mock).answer("GET", "https://registry.test/")
        requests.get("https://registry.test/", timeout=1)
        requests.get("https://other.test/", timeout=1)


def test_an_unexpected_request_of_another_thread_fails_the_test_at_its_end() -> None:
    def ask() -> None:
        with pytest.raises(pytest.fail.Exception):
            requests.get("https://other.test/", timeout=1)

    with _failing("unexpected GET https://other.test/; expected no further request"):
        thread = Thread(target=ask)
        thread.start()
        thread.join()


def test_an_answer_without_a_request_is_named() -> None:
    with pytest.raises(AssertionError, match="team/app/manifests/latest"), scripted_answers() as mock:
        MockedRegistry(mock).answer("GET", "manifests/latest")
