"""Access tokens, shared by the threads of a process and by all processes of a user.

`xargs -P10 dist fetch` starts ten processes that want the same token at the same moment, and
then ten more. With the cache they make one exchange, and a process that finds a token sends
its first request with it (behaviours C20, C21, B55, W6).

A file is keyed by what is known before any request: the registry's origin, the account, the
scopes, and a fingerprint of the keychain. Which realm and service issued the token stands
inside, for whoever has met a challenge and must know whether the token answers it. One file
thus serves both looks; an index beside it could disagree with it. Passwords and refresh
tokens are never in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event, Lock
from typing import Any, NamedTuple

from dist_tool.auth.token_files import TokenDirectory
from dist_tool.errors import DistError
from dist_tool.run import NO_RUN, PAUSE_S, Run

EARLY_S = 5.0  # a token is renewed before it ends, so that it does not end on the way (C10)
LONGEST_S = 86_400.0  # nothing is believed for longer than a day, whatever its server says
_WAIT_S = 30.0  # for another process's exchange
_MOST_IN_MEMORY = 1000
_FORMAT = 2
_LAST_DAY = 1e12  # seconds since the epoch: any later is no time but an overflow


class AccessToken(NamedTuple):
    """A bearer token and where it came from; `expires_at` in seconds since the epoch.

    `scopes` are those that were asked for, `source` names the credentials that paid for it
    ("" for none), `user` is the `user_mark` of their user name. `keep` is False for a secret of the user's that must
    not reach a disk.
    """

    value: str
    expires_at: float
    realm: str
    service: str = ""
    scopes: tuple[str, ...] = ()
    source: str = ""
    user: str = ""
    keep: bool = True

    def __repr__(self) -> str:
        return f"AccessToken(… from {self.realm} for {' '.join(self.scopes)}, until {self.expires_at:.0f})"


class TokenKey(NamedTuple):
    """What a token is looked up by. `identity` is `Keychain.fingerprint()`; `scopes` are sorted.

    `epoch` is `TokenCache.epoch()`: a login or logout ends the tokens from before.
    """

    origin: str
    account: str
    scopes: tuple[str, ...]
    identity: bytes
    epoch: bytes = b""

    def __repr__(self) -> str:
        return f"TokenKey({self.origin}, {self.account}, {' '.join(self.scopes)})"


class _Flight:
    """An exchange that is under way; whoever wants the same token waits for it."""

    def __init__(self) -> None:
        self.landed = Event()
        self.token: AccessToken | None = None
        self.error: DistError | None = None


class TokenCache:
    """Tokens in memory and, with a directory, on disk. Thread-safe.

    What goes wrong with the directory is no error: it is a cache. Waits for another thread or
    process end with the `run`.
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
        self._flights: dict[TokenKey, _Flight] = {}

    def is_empty(self) -> bool:
        """True where no look-up can succeed, so that nobody need work out a key."""
        return not self._memory and not (self._disk and self._disk.exists())

    def epoch(self) -> bytes:
        """What changes with each login and logout, b"" without a directory."""
        return self._disk.epoch() if self._disk else b""

    def alive(self, token: AccessToken) -> bool:
        """Whether the token can still be sent."""
        return token.expires_at - EARLY_S > self.clock()

    def load(self, key: TokenKey) -> AccessToken | None:
        """The token for `key`, None for none that is still good."""
        with self._guard:
            token = self._memory.get(key)
        if token is not None and self.alive(token):
            return token
        return self._from_disk(key)

    def obtain(
        self, key: TokenKey, wanted: Callable[[AccessToken], bool], fetch: Callable[[], AccessToken]
    ) -> tuple[AccessToken, bool]:
        """A token that is `wanted`: a known one, or what `fetch` returns (then True comes with it).

        While one thread or process fetches, the others wait and use what it got. Threads that
        waited for a failing fetch fail with it. Raises what `fetch` raises, Cancelled and
        DeadlineExceeded.
        """
        while True:
            token = self.load(key)
            if token is not None and wanted(token):
                return token, False
            flight, mine = self._board(key)
            if mine:
                return self._fly(key, flight, wanted, fetch)
            while not flight.landed.wait(self._run.slice(PAUSE_S)):
                pass
            if flight.error is not None:
                from copy import copy

                raise copy(flight.error)
            if flight.token is not None and wanted(flight.token):
                return flight.token, False

    def discard(self, key: TokenKey, value: str) -> None:
        """Forget a token that a registry refused, unless another has taken its place already."""
        with self._guard:
            known = self._memory.get(key)
            if known is not None and known.value == value:
                del self._memory[key]
        stored = self._from_disk(key)
        if self._disk is not None and stored is not None and stored.value == value:
            self._disk.remove(_name(self._disk, key))

    def _board(self, key: TokenKey) -> tuple[_Flight, bool]:
        with self._guard:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            self._flights[key] = flight = _Flight()
            return flight, True

    def _fly(
        self,
        key: TokenKey,
        flight: _Flight,
        wanted: Callable[[AccessToken], bool],
        fetch: Callable[[], AccessToken],
    ) -> tuple[AccessToken, bool]:
        try:
            flight.token, fresh = self._among_processes(key, wanted, fetch)
            self._remember(key, flight.token)
            return flight.token, fresh
        except DistError as error:
            flight.error = error
            raise
        finally:
            with self._guard:
                del self._flights[key]
            flight.landed.set()

    def _among_processes(
        self, key: TokenKey, wanted: Callable[[AccessToken], bool], fetch: Callable[[], AccessToken]
    ) -> tuple[AccessToken, bool]:
        name = _name(self._disk, key) if self._disk else ""
        if self._disk is None or not name:
            return fetch(), True

        def good_one() -> AccessToken | None:
            token = self._from_disk(key)
            return token if token is not None and wanted(token) else None

        def is_enough() -> bool:
            if good_one() is not None:
                return True
            self._run.check()
            return False

        with self._disk.turn(name, self._wait_s, is_enough):
            token = good_one()
            if token is not None:
                return token, False
            self._run.check()
            token = fetch()
            if token.keep:
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
            return None  # the last: written under a clock that was wrong
        return token


def _name(disk: TokenDirectory, key: TokenKey) -> str:
    return disk.name(key.origin.encode(), key.account.encode(), " ".join(key.scopes).encode(), key.identity, key.epoch)


def _encoded(key: TokenKey, token: AccessToken) -> bytes:
    import json

    fields = {"format": _FORMAT, "origin": key.origin, **token._asdict()}
    del fields["keep"]
    return json.dumps(fields).encode()


def _decoded(key: TokenKey, data: bytes) -> AccessToken | None:
    """The token in a file; None for what is corrupt, of another version or of another origin."""
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
    """Make all tokens of a directory worthless, for every process: who is logged in has changed."""
    if directory:
        TokenDirectory(directory, run.report).begin_epoch()


def user_mark(name: str) -> str:
    """A short hash of a user name, to compare by; files of tokens name no user."""
    from hashlib import blake2b

    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def is_sendable(value: object) -> bool:
    """Whether `value` is a text that can stand in a header: visible ASCII, at least one."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and bool(value) and " " not in value
