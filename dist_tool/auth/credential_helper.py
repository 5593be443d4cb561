"""Credential helpers: programs `docker-credential-NAME` that keep secrets (behaviours C26, C27)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import Lock
from time import monotonic
from typing import NamedTuple

from dist_tool.auth.credential_file import Credentials
from dist_tool.errors import DistError, InvalidArgument, LocalFailure, Unauthenticated, printable

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TIMEOUT_S = 30.0
_FRESH_S = 60.0
_OUTPUT_LIMIT = 1 << 20  # bytes
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


def ask(question: HelperRequest, environ: Mapping[str, str]) -> Credentials | None:
    """The credentials that the helper has for the server; None where it says that it has none.

    Asked at most once in this process, whatever the outcome (but see `forget`). Raises
    InvalidArgument where there is no such program, Unauthenticated where it fails.
    """
    with _guard:
        answer = _answers.setdefault(_key(question, environ), _Answer())
    with answer.lock:
        if answer.known_since is None:
            try:
                answer.credentials = _run(question, environ)
            except DistError as error:
                answer.error = error
            answer.known_since = monotonic()
    if answer.error is not None:
        from copy import copy

        raise copy(answer.error)
    return answer.credentials._replace(source=_source(question)) if answer.credentials else None


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


def store(question: HelperRequest, credentials: Credentials, environ: Mapping[str, str]) -> None:
    """Give the helper a user name and a password to keep for the server.

    They go to its standard input. Raises InvalidArgument where there is no such program,
    LocalFailure where it fails.
    """
    import json

    entry = {"ServerURL": question.server, "Username": credentials.username, "Secret": credentials.password}
    _tell("store", question, environ, json.dumps(entry).encode())


def erase(question: HelperRequest, environ: Mapping[str, str]) -> bool:
    """Make the helper forget the server; False where it knew nothing of it. Raises as `store` does."""
    return _tell("erase", question, environ, question.server.encode())


def _tell(action: str, question: HelperRequest, environ: Mapping[str, str], message: bytes) -> bool:
    status, output = _output(question, environ, action, message)
    if status and _NOT_FOUND not in output:
        raise LocalFailure(
            f"{_source(question)} failed with status {status} to {action} what belongs to {question.server}",
            hint="what it said on standard error is above",
        )
    return not status


def _key(question: HelperRequest, environ: Mapping[str, str]) -> tuple[str, ...]:
    return question.helper, question.server, environ.get("PATH", ""), environ.get("HOME", "")


def _source(question: HelperRequest) -> str:
    return f"{question.program} ({question.asked_by})"


def _run(question: HelperRequest, environ: Mapping[str, str]) -> Credentials | None:
    status, output = _output(question, environ, "get", question.server.encode())
    if status:
        # Its output is not repeated: nobody knows what a failing helper prints.
        if _NOT_FOUND in output:
            return None
        raise Unauthenticated(
            f"{_source(question)} failed with status {status} for {question.server}",
            hint="what it said on standard error is above",
        )
    return _parsed(question, output)


def _output(question: HelperRequest, environ: Mapping[str, str], action: str, message: bytes) -> tuple[int, bytes]:
    """Status and standard output. Standard error is the user's own; no shell is involved."""
    import subprocess

    problem: DistError
    try:
        done = subprocess.run(
            [question.program, action],
            input=message,
            stdout=subprocess.PIPE,
            env=dict(environ),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = Unauthenticated(f"{_source(question)} gave no answer within {_TIMEOUT_S:.0f} s")
    except OSError as error:
        problem = InvalidArgument(
            f"{question.asked_by} names the credential helper {question.program}, which cannot be run: "
            f"{(error.strerror or 'unknown error').lower()}",
            hint='install it, or set auth = { source = "none" } for this remote to go without credentials',
        )
    else:
        return done.returncode, done.stdout
    raise problem  # out here: an exception of subprocess carries the output


def _parsed(question: HelperRequest, output: bytes) -> Credentials | None:
    value = _json(output) if len(output) <= _OUTPUT_LIMIT else None
    if not isinstance(value, dict):
        raise Unauthenticated(f"{_source(question)} gave an answer that is not a JSON object")
    username, secret = value.get("Username"), value.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise Unauthenticated(f"{_source(question)} gave an answer without Username and Secret")
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
