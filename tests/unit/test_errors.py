from __future__ import annotations

import inspect

import pytest

from dist_tool import errors
from dist_tool.errors import DistError, NotFound, RegistryError, printable

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, DistError)]
# The numbers of docs/exit-codes.md; scripts rely on them.
EXIT_CODES = {
    "DistError": 1,
    "InvalidArgument": 2,
    "NotFound": 3,
    "Unauthenticated": 4,
    "PermissionDenied": 4,
    "DataLoss": 5,
    "Unavailable": 6,
    "RemoteFailed": 7,
    "Unsupported": 8,
    "LocalFailure": 9,
    "PolicyRefused": 10,
    "Cancelled": 130,
}
GRPC_CODES = {
    *("UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "DATA_LOSS", "UNAVAILABLE"),
    *("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNIMPLEMENTED", "FAILED_PRECONDITION", "ALREADY_EXISTS"),
    *("ABORTED", "OUT_OF_RANGE", "CANCELLED"),
}


@pytest.mark.parametrize("name", EXIT_CODES)
def test_each_kind_of_failure_has_its_exit_code(name: str) -> None:
    assert getattr(errors, name).exit_code == EXIT_CODES[name]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_the_code_of_its_kind(kind: type[DistError]) -> None:
    """A subclass refines the reason, never the number."""
    kinds = [base.__name__ for base in kind.__mro__ if base.__name__ in EXIT_CODES]
    assert kind.exit_code == EXIT_CODES[kinds[0]]
    assert kind.grpc_code in GRPC_CODES
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_only_what_may_pass_is_worth_another_try(kind: type[DistError]) -> None:
    """Wrong content, refusals and usage errors are the same next time."""
    if kind.retryable:
        assert kind.exit_code in (6, 7)


def test_an_error_is_one_line_that_names_place_object_reason_and_remedy() -> None:
    error = NotFound("no such tag", hint="try another").with_facts(locator="host/repo", object_id="v1")
    assert str(error) == "host/repo v1: no such tag: try another"
    assert str(DistError("alone")) == "alone"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("host/repo is blocked", "host/repo is blocked"),
        ("host/repo: digests only", "host/repo: digests only"),
        ("host/repo@v1 has no tag", "host/repo@v1 has no tag"),
        ("v1 has 3 bytes", "host/repo: v1 has 3 bytes"),
        ("'v1': what is that", "host/repo: 'v1': what is that"),
        ("v10 has 3 bytes", "host/repo v1: v10 has 3 bytes"),
        ("host/repository is blocked", "host/repo v1: host/repository is blocked"),
    ],
)
def test_what_the_message_begins_with_is_not_said_twice(what: str, expected: str) -> None:
    assert str(NotFound(what).with_facts(locator="host/repo", object_id="v1")) == expected


def test_who_is_closest_names_the_place() -> None:
    error = NotFound("x").with_facts(object_id="inner").with_facts(locator="outer", object_id="other")
    assert (error.locator, error.object_id) == ("outer", "inner")


def test_what_servers_say_cannot_draw_on_the_terminal() -> None:
    error = DistError("evil\x1b[2J\nline\x9b", hint="\u202egnp.exe")
    assert str(error) == "evil\\x1b[2J\\nline\\x9b: \\u202egnp.exe"
    assert printable("lone \udc80") == "lone \\udc80"
    assert printable("plain ü …") == "plain ü …"


def test_a_line_has_an_end() -> None:
    assert printable("x" * 2000) == "x" * 999 + "…"
    assert printable("x" * 1000) == "x" * 1000


def test_a_registrys_error_reads_as_code_and_message() -> None:
    assert str(RegistryError("DENIED", "no")) == "DENIED: no"
    assert str(RegistryError("DENIED")) == "DENIED"
