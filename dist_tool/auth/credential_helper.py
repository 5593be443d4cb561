"""Credential helpers: programs `docker-credential-NAME` that store secrets (behaviours C26, C27)."""

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
    """A helper, the server to look up, and the setting that names the helper (`named_by`)."""

    helper: str
    server: str
    named_by: str

    @property
    def program(self) -> str:
        """The program's name, which is looked up in PATH. Raises InvalidArgument for an invalid name."""
        if not _NAME.fullmatch(self.helper):
            raise InvalidArgument(
                f"{self.named_by}: {printable(self.helper, 60)!r} is not the name of a credential helper",
                hint="expected NAME of a program docker-credential-NAME",
            )
        return f"docker-credential-{self.helper}"


class _CachedResult:
    """A helper's cached result. A helper runs only once, as it may start an agent or prompt the user."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.finished_at: float | None = None  # on time.monotonic
        self.credentials: Credentials | None = None
        self.error: DistError | None = None


_results: dict[tuple[str, ...], _CachedResult] = {}
_guard = Lock()


def ask(request: HelperRequest, environ: Mapping[str, str], run: Run = NO_RUN) -> Credentials | None:
    """The credentials that the helper has for the server, None if it has none.

    The result, errors included, is cached for this process (but see `forget`), unless the end
    of the `run` interrupted the helper. Raises InvalidArgument if there is no such program,
    Unauthenticated if it fails, DeadlineExceeded and Cancelled.
    """
    with _guard:
        cached = _results.setdefault(_key(request, environ), _CachedResult())
    with _locked(cached.lock, run):
        if cached.finished_at is None:
            try:
                cached.credentials = _run(request, environ, run)
            except (DeadlineExceeded, Cancelled):
                raise
            except DistError as error:
                cached.error = error
            cached.finished_at = monotonic()
    if cached.error is not None:
        from copy import copy

        raise copy(cached.error)
    return cached.credentials._replace(source=_source(request)) if cached.credentials else None


def known(request: HelperRequest, environ: Mapping[str, str]) -> Credentials | None:
    """The credentials that the helper has already returned in this process; does not run it."""
    with _guard:
        cached = _results.get(_key(request, environ))
    return cached.credentials if cached else None


@contextmanager
def _locked(lock: Lock, run: Run) -> Iterator[None]:
    while not lock.acquire(timeout=run.slice(PAUSE_S)):
        pass
    try:
        yield
    finally:
        lock.release()


def forget(request: HelperRequest, environ: Mapping[str, str]) -> None:
    """Drop the cached result after a registry refused the credentials, if the result is old enough.

    A helper for short-lived passwords then returns a new one, which a long-running process
    needs. A result refused within `_FRESH_S` seconds stays cached: the helper would return the
    same again.
    """
    with _guard:
        cached = _results.get(_key(request, environ))
        since = cached.finished_at if cached else None
        if since is not None and monotonic() - since >= _FRESH_S:
            del _results[_key(request, environ)]


def store(request: HelperRequest, credentials: Credentials, environ: Mapping[str, str], run: Run = NO_RUN) -> None:
    """Pass a user name and password for the server to the helper, on its standard input.

    Raises InvalidArgument if there is no such program or the text is not UTF-8, LocalFailure
    if the program fails, DeadlineExceeded and Cancelled.
    """
    import json

    if not is_text(credentials.username + credentials.password):
        raise InvalidArgument(
            "the user name or the password is not UTF-8, which credential helpers require",
            hint="save it in a file with --file",
        )
    entry = {"ServerURL": request.server, "Username": credentials.username, "Secret": credentials.password}
    _change(request, "store", json.dumps(entry).encode(), environ, run)


def erase(request: HelperRequest, environ: Mapping[str, str], run: Run = NO_RUN) -> bool:
    """Make the helper erase its credentials for the server; False if it has none. Raises as `store` does."""
    return _change(request, "erase", request.server.encode(), environ, run)


def _change(request: HelperRequest, action: str, message: bytes, environ: Mapping[str, str], run: Run) -> bool:
    done = _output(request, environ, action, message, run)
    if done.status and _NOT_FOUND not in done.data:
        raise LocalFailure(
            f"{_source(request)} failed with status {done.status} to {action} credentials for {request.server}",
            hint="its standard error output is above",
        )
    return not done.status


def _key(request: HelperRequest, environ: Mapping[str, str]) -> tuple[str, ...]:
    return request.helper, request.server, environ.get("PATH", ""), environ.get("HOME", "")


def _source(request: HelperRequest) -> str:
    return f"{request.program} ({request.named_by})"


def _run(request: HelperRequest, environ: Mapping[str, str], run: Run) -> Credentials | None:
    done = _output(request, environ, "get", request.server.encode(), run)
    if done.status:
        # The output is not shown: a failing helper may print secrets.
        if _NOT_FOUND in done.data:
            return None
        raise Unauthenticated(
            f"{_source(request)} failed with status {done.status} for {request.server}",
            hint="its standard error output is above",
        )
    return _parsed(request, done.data)


def _output(request: HelperRequest, environ: Mapping[str, str], action: str, message: bytes, run: Run) -> Output:
    """Exit status and standard output of the helper. Standard error goes to the user; no shell is involved."""
    from dist_tool.auth import helper_process

    program = find_program(request.program, environ.get("PATH", os.defpath))
    if not program:
        raise _unusable(request, "no such file or directory")
    until = monotonic() + _TIMEOUT_S
    variables = for_credential_helper(environ)
    try:
        return helper_process.run(
            [program, action], message, variables, until=until, limit=_OUTPUT_LIMIT, operation=run
        )
    except helper_process.HelperTimeout:
        raise Unauthenticated(f"{_source(request)} timed out after {_TIMEOUT_S:g} s") from None
    except helper_process.OutputTooLarge:
        raise Unauthenticated(f"{_source(request)} returned more than {_OUTPUT_LIMIT} bytes") from None
    except OSError as error:
        raise _unusable(request, (error.strerror or "unknown error").lower()) from None


def _unusable(request: HelperRequest, why: str) -> DistError:
    return InvalidArgument(
        f"{request.named_by} names the credential helper {request.program}, which cannot be run: {why}",
        hint='install it, or set auth = { source = "none" } for this remote to use no credentials',
    )


def _parsed(request: HelperRequest, output: bytes) -> Credentials | None:
    value = _json(output)
    if not isinstance(value, dict):
        raise Unauthenticated(f"{_source(request)} returned output that is not a JSON object")
    username, secret = value.get("Username"), value.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise Unauthenticated(f"{_source(request)} returned output without Username and Secret")
    if not is_text(username + secret):
        raise Unauthenticated(
            f"{_source(request)} returned a Username or Secret that is not valid Unicode: it has a lone surrogate"
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
