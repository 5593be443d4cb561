"""Credential helpers: programs `docker-credential-NAME` that keep secrets (behaviours C26, C27)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.auth.credential_file import Credentials, is_text
from dist_tool.errors import (
    Cancelled,
    DeadlineExceeded,
    DistError,
    InvalidArgument,
    LocalFailure,
    Unauthenticated,
    printable,
)
from dist_tool.programs import find_program, for_credential_helper
from dist_tool.run import NO_RUN, PAUSE_S, Run

if TYPE_CHECKING:
    from dist_tool.auth.helper_process import Output

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TIMEOUT_S = 30.0
_FRESH_S = 60.0
_OUTPUT_LIMIT = 64 << 10  # bytes
_NOT_FOUND = b"credentials not found in native keychain"
_IDENTITY = "<token>"


class HelperRequest(NamedTuple):
    """Which helper is asked about which server, on behalf of which setting (`asked_by`)."""

    helper: str
    server: str
    asked_by: str

    @property
    def program(self) -> str:
        """The program's name, to be found in PATH. Raises InvalidArgument for one that is none."""
        if not _NAME.fullmatch(self.helper):
            raise InvalidArgument(
                f"{self.asked_by}: {printable(self.helper, 60)!r} is not the name of a credential helper",
                hint="expected NAME of a program docker-credential-NAME",
            )
        return f"docker-credential-{self.helper}"


class _Answer:
    """What a helper said, kept so that it is asked once: it may start an agent or ask a person."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.known_since: float | None = None  # on time.monotonic
        self.credentials: Credentials | None = None
        self.error: DistError | None = None


_answers: dict[tuple[str, ...], _Answer] = {}
_guard = Lock()


def ask(question: HelperRequest, environ: Mapping[str, str], run: Run = NO_RUN) -> Credentials | None:
    """The credentials that the helper has for the server; None when it has none.

    Asked at most once in this process, whatever the outcome (but see `forget`), except that an
    answer cut off by the end of the `run` does not count. Raises InvalidArgument when there is
    no such program, Unauthenticated when it fails, DeadlineExceeded and Cancelled.
    """
    with _guard:
        answer = _answers.setdefault(_key(question, environ), _Answer())
    with _held(answer.lock, run):
        if answer.known_since is None:
            try:
                answer.credentials = _run(question, environ, run)
            except (DeadlineExceeded, Cancelled):
                raise
            except DistError as error:
                answer.error = error
            answer.known_since = monotonic()
    if answer.error is not None:
        from copy import copy

        raise copy(answer.error)
    return answer.credentials._replace(source=_source(question)) if answer.credentials else None


def known(question: HelperRequest, environ: Mapping[str, str]) -> Credentials | None:
    """What the helper has answered in this process already; it is not run."""
    with _guard:
        answer = _answers.get(_key(question, environ))
    return answer.credentials if answer else None


@contextmanager
def _held(lock: Lock, run: Run) -> Iterator[None]:
    while not lock.acquire(timeout=run.slice(PAUSE_S)):
        pass
    try:
        yield
    finally:
        lock.release()


def forget(question: HelperRequest, environ: Mapping[str, str]) -> None:
    """Ask anew next time, as a registry has refused what the helper said a while ago.

    A helper for short-lived passwords has a new one by then, which a long-lived process wants;
    an answer that was refused while fresh would be the same again.
    """
    with _guard:
        answer = _answers.get(_key(question, environ))
        since = answer.known_since if answer else None
        if since is not None and monotonic() - since >= _FRESH_S:
            del _answers[_key(question, environ)]


def store(question: HelperRequest, credentials: Credentials, environ: Mapping[str, str], run: Run = NO_RUN) -> None:
    """Give the helper a user name and a password to keep for the server, on its standard input.

    Raises InvalidArgument when there is no such program or the text is not UTF-8, LocalFailure
    when the program fails, DeadlineExceeded and Cancelled.
    """
    import json

    if not is_text(credentials.username + credentials.password):
        raise InvalidArgument(
            "the user name or the password is not UTF-8, and a credential helper takes nothing else",
            hint="keep it in a file: give --file",
        )
    entry = {"ServerURL": question.server, "Username": credentials.username, "Secret": credentials.password}
    _change(question, "store", json.dumps(entry).encode(), environ, run)


def erase(question: HelperRequest, environ: Mapping[str, str], run: Run = NO_RUN) -> bool:
    """Make the helper forget the server; False when it has nothing for it. Raises as `store` does."""
    return _change(question, "erase", question.server.encode(), environ, run)


def _change(question: HelperRequest, action: str, message: bytes, environ: Mapping[str, str], run: Run) -> bool:
    done = _output(question, environ, action, message, run)
    if done.status and _NOT_FOUND not in done.data:
        raise LocalFailure(
            f"{_source(question)} failed with status {done.status} to {action} what belongs to {question.server}",
            hint="what it said on standard error is above",
        )
    return not done.status


def _key(question: HelperRequest, environ: Mapping[str, str]) -> tuple[str, ...]:
    return question.helper, question.server, environ.get("PATH", ""), environ.get("HOME", "")


def _source(question: HelperRequest) -> str:
    return f"{question.program} ({question.asked_by})"


def _run(question: HelperRequest, environ: Mapping[str, str], run: Run) -> Credentials | None:
    done = _output(question, environ, "get", question.server.encode(), run)
    if done.status:
        # Its output is not repeated: a failing helper may print anything.
        if _NOT_FOUND in done.data:
            return None
        raise Unauthenticated(
            f"{_source(question)} failed with status {done.status} for {question.server}",
            hint="what it said on standard error is above",
        )
    return _parsed(question, done.data)


def _output(question: HelperRequest, environ: Mapping[str, str], action: str, message: bytes, run: Run) -> Output:
    """Status and standard output. Standard error is the user's own; no shell is involved."""
    from dist_tool.auth import helper_process

    program = find_program(question.program, environ.get("PATH", os.defpath))
    if not program:
        raise _unusable(question, "no such file or directory")
    until = monotonic() + _TIMEOUT_S
    variables = for_credential_helper(environ)
    try:
        return helper_process.run(
            [program, action], message, variables, until=until, limit=_OUTPUT_LIMIT, operation=run
        )
    except helper_process.OutOfTime:
        raise Unauthenticated(f"{_source(question)} gave no answer within {_TIMEOUT_S:.0f} s") from None
    except helper_process.TooMuch:
        raise Unauthenticated(f"{_source(question)} gave an answer of more than {_OUTPUT_LIMIT} bytes") from None
    except OSError as error:
        raise _unusable(question, (error.strerror or "unknown error").lower()) from None


def _unusable(question: HelperRequest, why: str) -> DistError:
    return InvalidArgument(
        f"{question.asked_by} names the credential helper {question.program}, which cannot be run: {why}",
        hint='install it, or set auth = { source = "none" } for this remote to go without credentials',
    )


def _parsed(question: HelperRequest, output: bytes) -> Credentials | None:
    value = _json(output)
    if not isinstance(value, dict):
        raise Unauthenticated(f"{_source(question)} gave an answer that is not a JSON object")
    username, secret = value.get("Username"), value.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise Unauthenticated(f"{_source(question)} gave an answer without Username and Secret")
    if not is_text(username + secret):
        raise Unauthenticated(
            f"{_source(question)} gave a Username or Secret that is not valid Unicode: it has a lone surrogate"
        )
    if username == _IDENTITY:
        found = Credentials(identity_token=secret)
    else:
        found = Credentials(username, secret)
    return found if found.kind != "nothing" else None


def _json(output: bytes) -> object:
    import json

    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        return None
