"""Access token cache, shared by the threads of a process and by all processes of a user.

`xargs -P10 dist fetch` starts ten processes that need the same token at the same time, and
then ten more. With the cache they make one token request, and a process that finds a token
sends its first request with it (behaviours C20, C21, B55, W6).

The file name is derived from what is known before any request: the registry's origin, the
account, the scopes, and a fingerprint of the keychain. The realm and service that issued the
token are stored in the file, to check whether it answers a challenge. So one file serves both
look-ups; a separate index could get out of step with it. Passwords and refresh tokens are
never stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event, Lock
from typing import Any, NamedTuple

from dist_tool.auth.token_files import TokenDirectory
from dist_tool.errors import DistError
from dist_tool.run import NO_RUN, PAUSE_S, Run

EARLY_S = 5.0  # a token is renewed this long before it expires, so that it does not expire in transit (C10)
LONGEST_S = 86_400.0  # the longest lifetime of a token, whatever its server declares
_WAIT_S = 30.0  # for another process's token request
_MOST_IN_MEMORY = 1000
_FORMAT = 2
_LAST_DAY = 1e12  # seconds since the epoch: a larger value is corrupt


class AccessToken(NamedTuple):
    """A bearer token and its issuer; `expires_at` is in seconds since the epoch.

    `scopes` are the requested ones, `source` names the credentials used ("" for none), `user` is
    the `user_mark` of their user name. `storable` is False for a secret of the user that must not be
    written to disk.
    """

    value: str
    expires_at: float
    realm: str
    service: str = ""
    scopes: tuple[str, ...] = ()
    source: str = ""
    user: str = ""
    storable: bool = True

    def __repr__(self) -> str:
        return f"AccessToken(… from {self.realm} for {' '.join(self.scopes)}, until {self.expires_at:.0f})"


class TokenKey(NamedTuple):
    """The cache key of a token. `identity` is `Keychain.fingerprint()`; `scopes` are sorted.

    `epoch` is `TokenCache.epoch()`: a login or logout invalidates all earlier tokens.
    """

    origin: str
    account: str
    scopes: tuple[str, ...]
    identity: bytes
    epoch: bytes = b""

    def __repr__(self) -> str:
        return f"TokenKey({self.origin}, {self.account}, {' '.join(self.scopes)})"


class _PendingFetch:
    """A token request in progress; other threads that need the same token wait for it."""

    def __init__(self) -> None:
        self.done = Event()
        self.token: AccessToken | None = None
        self.error: DistError | None = None


class TokenCache:
    """Tokens in memory and, with a directory, on disk. Thread-safe.

    Failures of the directory are reported and not raised. Waits for another thread or process
    end with the `run`.
    """

    def __init__(
        self,
        directory: str | None,
        *,
        clock: Callable[[], float] = time.time,
        run: Run = NO_RUN,
        wait_s: float = _WAIT_S,
    ) -> None:
        self.clock = clock
        self._disk = TokenDirectory(directory, run.report) if directory else None
        self._wait_s = wait_s
        self._run = run
        self._guard = Lock()
        self._memory: dict[TokenKey, AccessToken] = {}
        self._pending: dict[TokenKey, _PendingFetch] = {}

    def is_empty(self) -> bool:
        """True if no look-up can succeed, so that callers need not compute a key."""
        return not self._memory and not (self._disk and self._disk.exists())

    def epoch(self) -> bytes:
        """A random value that changes with each login and logout, b"" without a directory."""
        return self._disk.epoch() if self._disk else b""

    def alive(self, token: AccessToken) -> bool:
        """Whether the token will remain valid for at least `EARLY_S` seconds."""
        return token.expires_at - EARLY_S > self.clock()

    def load(self, key: TokenKey) -> AccessToken | None:
        """The token for `key`, None if there is none or it has expired."""
        with self._guard:
            token = self._memory.get(key)
        if token is not None and self.alive(token):
            return token
        return self._from_disk(key)

    def obtain(
        self, key: TokenKey, suitable: Callable[[AccessToken], bool], fetch: Callable[[], AccessToken]
    ) -> tuple[AccessToken, bool]:
        """A `suitable` cached token and False, or the result of `fetch` and True.

        While one thread or process fetches, the others wait and use its token. If the fetch
        fails, threads that waited for it raise the same error. Raises the errors of `fetch`,
        Cancelled and DeadlineExceeded.
        """
        while True:
            token = self.load(key)
            if token is not None and suitable(token):
                return token, False
            pending, is_leader = self._join_or_start(key)
            if is_leader:
                return self._fetch_as_leader(key, pending, suitable, fetch)
            while not pending.done.wait(self._run.slice(PAUSE_S)):
                pass
            if pending.error is not None:
                from copy import copy

                raise copy(pending.error)
            if pending.token is not None and suitable(pending.token):
                return pending.token, False

    def discard(self, key: TokenKey, value: str) -> None:
        """Remove a token that a registry refused, unless another token has already replaced it."""
        with self._guard:
            known = self._memory.get(key)
            if known is not None and known.value == value:
                del self._memory[key]
        stored = self._from_disk(key)
        if self._disk is not None and stored is not None and stored.value == value:
            self._disk.remove(_name(self._disk, key))

    def _join_or_start(self, key: TokenKey) -> tuple[_PendingFetch, bool]:
        """The fetch in progress for `key` and False, or a new one and True."""
        with self._guard:
            pending = self._pending.get(key)
            if pending is not None:
                return pending, False
            self._pending[key] = pending = _PendingFetch()
            return pending, True

    def _fetch_as_leader(
        self,
        key: TokenKey,
        pending: _PendingFetch,
        suitable: Callable[[AccessToken], bool],
        fetch: Callable[[], AccessToken],
    ) -> tuple[AccessToken, bool]:
        try:
            pending.token, fresh = self._fetch_under_lock(key, suitable, fetch)
            self._remember(key, pending.token)
            return pending.token, fresh
        except DistError as error:
            pending.error = error
            raise
        finally:
            with self._guard:
                del self._pending[key]
            pending.done.set()

    def _fetch_under_lock(
        self, key: TokenKey, suitable: Callable[[AccessToken], bool], fetch: Callable[[], AccessToken]
    ) -> tuple[AccessToken, bool]:
        """Fetch while holding the lock that excludes other processes, or use a token that one of them stored."""
        name = _name(self._disk, key) if self._disk else ""
        if self._disk is None or not name:
            return fetch(), True

        def cached_token() -> AccessToken | None:
            token = self._from_disk(key)
            return token if token is not None and suitable(token) else None

        def should_stop_waiting() -> bool:
            if cached_token() is not None:
                return True
            self._run.check()
            return False

        with self._disk.locked(name, self._wait_s, should_stop_waiting):
            token = cached_token()
            if token is not None:
                return token, False
            self._run.check()
            token = fetch()
            if token.storable:
                self._disk.write(name, _encoded(key, token), until=token.expires_at, now=self.clock())
            return token, True

    def _remember(self, key: TokenKey, token: AccessToken) -> None:
        with self._guard:
            if len(self._memory) >= _MOST_IN_MEMORY:
                self._memory = {k: t for k, t in self._memory.items() if self.alive(t)}
            if len(self._memory) >= _MOST_IN_MEMORY:
                self._memory.clear()
            self._memory[key] = token

    def _from_disk(self, key: TokenKey) -> AccessToken | None:
        name = _name(self._disk, key) if self._disk else ""
        data = self._disk.read(name) if self._disk and name else None
        token = _decoded(key, data) if data else None
        if token is None or not self.alive(token) or token.expires_at > self.clock() + LONGEST_S + EARLY_S:
            return None  # the last condition: written while the clock was wrong
        return token


def _name(disk: TokenDirectory, key: TokenKey) -> str:
    return disk.name(key.origin.encode(), key.account.encode(), " ".join(key.scopes).encode(), key.identity, key.epoch)


def _encoded(key: TokenKey, token: AccessToken) -> bytes:
    import json

    fields = {"format": _FORMAT, "origin": key.origin, **token._asdict()}
    del fields["storable"]
    return json.dumps(fields).encode()


def _decoded(key: TokenKey, data: bytes) -> AccessToken | None:
    """The token in a file; None if it is corrupt, of another format version or of another origin."""
    import json

    try:
        fields: Mapping[str, Any] = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or (fields.get("format"), fields.get("origin")) != (_FORMAT, key.origin):
        return None
    texts = [fields.get(name) for name in ("value", "realm", "service", "source", "user")]
    expires_at, scopes = fields.get("expires_at"), fields.get("scopes")
    if not all(isinstance(text, str) for text in texts):
        return None
    if not isinstance(expires_at, int | float) or not 0 <= expires_at <= _LAST_DAY:
        return None
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return None
    value, realm, service, source, user = map(str, texts)
    if not is_sendable(value):
        return None
    return AccessToken(value, float(expires_at), realm, service, tuple(scopes), source, user)


def forget_tokens(directory: str, run: Run = NO_RUN) -> None:
    """Invalidate all tokens in a directory, for all processes, after a login or logout."""
    if directory:
        TokenDirectory(directory, run.report).begin_epoch()


def user_mark(name: str) -> str:
    """A short hash of a user name, for comparison: token files contain no user names."""
    from hashlib import blake2b

    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def is_sendable(value: object) -> bool:
    """Whether `value` is a string that can be sent in a header: one or more visible ASCII characters."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and bool(value) and " " not in value
