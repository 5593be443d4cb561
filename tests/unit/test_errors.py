from __future__ import annotations

import copy
import inspect
import pickle
import traceback

import pytest

from dist_tool import errors
from dist_tool.errors import DistError, NotFound, RegistryError, ResourceExhausted, printable

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


FACTS = {
    "what": "another text",
    "hint": "do that",
    "host": "registry.example",
    "status": 429,
    "registry_errors": (RegistryError("DENIED", "no"),),
    "attempts": ("first", "second"),
    "locator": "host/repo",
    "object_id": "v1",
    "retry_after": 3.0,
    "retryable": False,
}


@pytest.mark.parametrize("name", [*FACTS, "args", "exit_code", "grpc_code", "elsewhere"])
def test_facts_of_an_error_cannot_be_assigned_or_deleted(name: str) -> None:
    error = ResourceExhausted("text", hint="hint")
    before = getattr(error, name)
    with pytest.raises(AttributeError, match=name):
        setattr(error, name, FACTS.get(name, before))
    with pytest.raises(AttributeError, match=name):
        delattr(error, name)
    assert getattr(error, name) == before


def test_with_returns_a_copy_and_leaves_the_original() -> None:
    error = ResourceExhausted("text", hint="hint")
    changed = error.with_(**FACTS)  # type: ignore[arg-type]
    assert {name: getattr(changed, name) for name in FACTS} == FACTS
    assert (type(changed), changed.args) == (ResourceExhausted, ("another text",))
    assert (error.what, error.hint, error.args, error.retryable) == ("text", "hint", ("text",), True)
    assert changed.with_(attempts=["third"]).attempts == ("third",)


def test_with_refuses_names_that_are_no_facts() -> None:
    with pytest.raises(TypeError, match="exit_code"):
        NotFound("text").with_(exit_code=0)  # type: ignore[call-arg]


def test_with_keeps_traceback_cause_and_context() -> None:
    def fail() -> None:
        try:
            raise ValueError("context")
        except ValueError as context:
            raise NotFound("text") from OSError(str(context))

    with pytest.raises(NotFound) as caught:
        fail()
    error, changed = caught.value, caught.value.with_(hint="hint")
    assert changed.__traceback__ is error.__traceback__
    assert changed.__cause__ is error.__cause__ is changed.cause
    assert changed.__context__ is error.__context__
    assert changed.__suppress_context__
    assert not NotFound("text").with_(hint="hint").__suppress_context__


def test_a_copy_works_for_a_subclass_with_another_constructor() -> None:
    class OfAPlugin(NotFound):
        def __init__(self, number: int) -> None:
            super().__init__(f"number {number}")
            self.number = number

    changed = OfAPlugin(7).with_facts(object_id="v1")
    assert (changed.number, changed.what, changed.object_id) == (7, "number 7", "v1")


@pytest.mark.parametrize("how", ["copy", "pickle"])
def test_errors_can_be_copied_and_pickled(how: str) -> None:
    error = ResourceExhausted("text").with_(**FACTS)  # type: ignore[arg-type]
    made = copy.copy(error) if how == "copy" else pickle.loads(pickle.dumps(error))
    assert {name: getattr(made, name) for name in FACTS} == FACTS
    assert repr(made) == repr(error)


@pytest.mark.parametrize("explicit", [True, False])
def test_raising_a_copy_from_the_cause_prints_the_failure_once_and_keeps_the_cause(*, explicit: bool) -> None:
    def fail() -> None:
        try:
            raise OSError("the disk")
        except OSError as cause:
            if explicit:
                raise NotFound("the failure") from cause
            raise NotFound("the failure")  # noqa: B904

    def add() -> None:
        try:
            fail()
        except DistError as error:
            raise error.with_facts(object_id="v1") from error.cause

    with pytest.raises(NotFound) as caught:
        add()
    text = "".join(traceback.format_exception(caught.value))
    assert text.count("NotFound:") == 1
    assert text.count("OSError: the disk") == 1
    assert "in fail" in text
    assert caught.value.object_id == "v1"


def test_python_can_set_what_it_needs_on_an_error() -> None:
    error = NotFound("text")
    error.__traceback__, error.__cause__, error.__context__ = None, OSError(), OSError()
    error.__suppress_context__ = True
    error.add_note("note")
    assert error.with_(hint="hint").__notes__ == ["note"]
