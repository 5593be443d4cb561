"""Authorization headers for one registry, and responses to its challenges.

Specification: behaviours C1-C33. The first request carries a cached token or no Authorization;
credentials are read, helpers run and token servers called only after a 401. The resulting
header belongs to the registry's origin: the caller must not send it to any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from threading import Lock
from typing import NamedTuple

from dist_tool.auth.challenges import Challenge, parse_challenges
from dist_tool.auth.keychain import Credentials, Keychain
from dist_tool.auth.realms import Realm, check_realm
from dist_tool.auth.scopes import covers, demanded_scopes, merge_scopes, pull_scope, push_scope, repository_of
from dist_tool.auth.token_cache import AccessToken, TokenCache, TokenKey, user_mark
from dist_tool.auth.token_server import Exchange, TokenParameters, TokenRequest, TokenResponse, exchange_token
from dist_tool.errors import DistError, PermissionDenied, PolicyRefused, Unauthenticated, printable
from dist_tool.names.hub import HUB
from dist_tool.names.origin import Origin
from dist_tool.redaction import remember
from dist_tool.run import NO_RUN, Notice, Run

__all__ = ["Authenticator", "Exchange", "TokenRequest", "TokenResponse", "pull_scope", "push_scope"]

# A token refused within this time would be refused again: it is the shortest lifetime that a
# server may give a token.
_FRESH_S = 60.0
_MOST_GRANTS = 1000
_HIDDEN = "does not exist or may require authorization"


class _Grant(NamedTuple):
    """A token in use. `obtained_at` is None if it was found in the cache.

    `extended`: the registry required more scopes than the first request for a token had, and
    this token was requested with them. `accepted`: the registry has accepted it, so a later
    refusal means that it has expired or was revoked. `epoch` is the cache's: a later login or
    logout invalidates the grant.
    """

    token: AccessToken
    obtained_at: float | None
    epoch: bytes
    extended: bool = False
    accepted: bool = False

    @property
    def header(self) -> str:
        return f"Bearer {self.token.value}"


class _TokenChallenge(NamedTuple):
    """A parsed bearer challenge: token server, and the scopes that the token must cover."""

    key: TokenKey
    realm: Realm
    service: str
    repository: str
    scopes: tuple[str, ...]


class TokenSources(NamedTuple):
    """Credentials, token cache, and the function that sends a request to a token server."""

    keychain: Keychain
    cache: TokenCache
    exchange: Exchange


class Authenticator:
    """Authorization for requests to `origin` with the credentials of `account`. Thread-safe.

    `account` is the canonical host name under which credentials are stored: `docker.io` for
    the `origin` registry-1.docker.io. `verified` is False if the registry's certificate is not
    checked: as over plain http, the registry is then not trusted to name a token server that
    may receive a password.
    """

    def __init__(
        self,
        origin: Origin,
        account: str,
        sources: TokenSources,
        *,
        run: Run = NO_RUN,
        verified: bool = True,
    ) -> None:
        self._origin = origin
        self._account = account
        self._keychain, self._cache, self._exchange = sources
        self._run = run
        self._verified = verified
        self._guard = Lock()
        self._grants: dict[frozenset[str], _Grant] = {}
        self._basic: dict[str, str] = {}

    def authorization(self, scopes: Collection[str]) -> str:
        """The Authorization value for a first request, "" for none. Uses no network, runs no helper.

        A token obtained earlier by any process of this user makes the first request succeed
        without a challenge (behaviours B55).
        """
        grant = self._grants.get(frozenset(scopes))
        basic = self._basic.get(repository_of(scopes), "")
        if grant is not None and self._is_valid(grant):
            return grant.header
        if basic or self._cache.is_empty():
            return basic
        key = self._key(scopes)
        token = self._cache.load(key)
        if token is None or not self._is_for_user(token):
            return ""
        return self._granted(scopes, _Grant(token, None, key.epoch))

    def _is_valid(self, grant: _Grant) -> bool:
        return self._cache.alive(grant.token) and grant.epoch == self._cache.epoch()

    def _is_for_user(self, token: AccessToken) -> bool:
        """False if a helper has returned another user name in this process than the token was issued for."""
        user = self._keychain.known_user(self._account)
        return user is None or token.user == user_mark(user)

    def accepted(self, scopes: Collection[str], sent: str) -> None:
        """Record that the registry accepted the authorization in `sent`.

        If the registry refuses it later, the token has expired early or the signing keys have
        changed, and a new token is requested. A refused new token is not replaced (behaviours
        B41).
        """
        grant = self._grants.get(frozenset(scopes))
        if grant is not None and grant.header == sent and not grant.accepted:
            self._granted(scopes, grant._replace(accepted=True))

    def answer(self, challenges: Sequence[str], scopes: Collection[str], sent: str) -> str:
        """The Authorization value for the next attempt after a 401.

        `challenges` are the values of WWW-Authenticate, `sent` the refused Authorization value
        ("" for none). A refused token from the cache is renewed; a new one is extended once by
        the scopes that the registry demands; after that a 401 is final, so callers may loop
        (behaviours B41, C14).

        Raises Unauthenticated or PermissionDenied if no other authorization can be tried,
        InvalidArgument for broken credential files, PolicyRefused for a token realm that is
        not allowed, and the errors of `exchange_token`.
        """
        offered = parse_challenges(challenges)
        for challenge in offered:  # bearer first, in whatever order they are sent (C4)
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return self._bearer(challenge, scopes, sent)
        if any(challenge.scheme == "basic" for challenge in offered):
            return self._answer_basic(repository_of(scopes), sent)
        schemes = ", ".join(dict.fromkeys(printable(challenge.scheme, 30) for challenge in offered[:10]))
        raise self._error(
            Unauthenticated,
            f"{self._origin.netloc} requires an authentication scheme that is not supported",
            f"it offers {schemes}; supported are bearer and basic" if schemes else "its response names no scheme",
        )

    def _bearer(self, challenge: Challenge, scopes: Collection[str], sent: str) -> str:
        required = self._parse_bearer(challenge, scopes)
        grant = self._grants.get(frozenset(scopes))
        extended = False
        if grant is not None and grant.header == sent:
            extended = self._after_refusal(challenge, required, grant)
            required = required._replace(scopes=merge_scopes(required.scopes, grant.token.scopes))
        elif grant is not None and self._is_valid(grant) and _satisfies(grant.token, required):
            return grant.header  # another thread has obtained it in the meantime
        refused = sent.removeprefix("Bearer ")

        def suitable(token: AccessToken) -> bool:
            return token.value != refused and _satisfies(token, required) and self._is_for_user(token)

        token, fresh = self._cache.obtain(required.key, suitable, lambda: self._fetch(required))
        obtained_at = self._cache.clock() if fresh else None
        return self._granted(scopes, _Grant(token, obtained_at, required.key.epoch, extended))

    def _after_refusal(self, challenge: Challenge, required: _TokenChallenge, grant: _Grant) -> bool:
        """Discard the refused token in use. Returns True if the next token must have more scopes.

        Raises Unauthenticated or PermissionDenied if another token would be refused as well.
        """
        self._cache.discard(required.key, grant.token.value)
        fresh = grant.obtained_at is not None and self._cache.clock() - grant.obtained_at < _FRESH_S
        if not fresh or grant.accepted:
            return False
        if grant.extended or covers(grant.token.scopes, demanded_scopes(challenge.parameters.get("scope", ""))):
            raise self._refused(challenge, grant.token)
        return True

    def _parse_bearer(self, challenge: Challenge, scopes: Collection[str]) -> _TokenChallenge:
        parameters = challenge.parameters
        realm = check_realm(parameters["realm"], self._origin, self._keychain.settings, verified=self._verified)
        demanded = demanded_scopes(parameters.get("scope", ""))
        return _TokenChallenge(
            self._key(scopes),
            realm,
            parameters.get("service", ""),
            repository_of(scopes),
            merge_scopes(demanded, scopes),
        )

    def _fetch(self, required: _TokenChallenge) -> AccessToken:
        """Look credentials up and exchange them for a token.

        Called under the cache's lock, so that concurrent callers run a helper only once.
        """
        credentials = self._keychain.lookup(self._account, required.repository)
        if credentials is not None and credentials.registry_token:
            never = float("inf")
            return self._token(required, credentials.registry_token, never, credentials)._replace(storable=False)
        if credentials is not None and not required.realm.password:
            raise PolicyRefused(
                f"credentials from {credentials.source} are not sent to {required.realm.origin}, which "
                f"{self._origin} names as its token server without verified TLS",
                hint=f"if this is intended, list {required.realm.origin.host!r} in auth.realm_hosts for this remote"
                if required.realm.origin.scheme == "https"
                else "over plain http a password is sent only to the registry's own host",
            )
        used = f"credentials from {credentials.source}" if credentials else "no credentials"
        what = f"{' '.join(required.scopes)} with {used}"
        self._run.report(Notice("debug", f"requesting a token from {required.realm.origin} for {what}"))
        parameters = TokenParameters(required.realm.url, required.service, required.scopes, credentials)
        try:
            value, expires_at = exchange_token(parameters, self._exchange, self._cache.clock)
        except (Unauthenticated, PermissionDenied) as error:
            if credentials is not None:
                self._keychain.refused(self._account)
            hint = error.hint or self._login_hint(credentials is not None)
            raise error.with_(hint=hint) from error.cause
        return self._token(required, value, expires_at, credentials)

    def _token(
        self, required: _TokenChallenge, value: str, expires_at: float, credentials: Credentials | None
    ) -> AccessToken:
        source, user = (credentials.source, user_mark(credentials.username)) if credentials else ("", "")
        return AccessToken(value, expires_at, required.realm.url, required.service, required.scopes, source, user)

    def _answer_basic(self, repository: str, sent: str) -> str:
        """The Authorization value for basic authentication with the registry itself (behaviours C18).

        Sent over plain http only if the registry itself is used over plain http, which the user
        has configured.
        """
        credentials = self._keychain.lookup(self._account, repository)
        if credentials is None or not credentials.basic:
            only = f", but {credentials.source} has {credentials.kind}" if credentials else ""
            raise self._error(Unauthenticated, f"user and password are required{only}", self._login_hint(False))
        with self._guard:
            if sent == credentials.basic:
                self._basic.pop(repository, None)
            else:
                self._basic[repository] = credentials.basic
                return credentials.basic
        self._keychain.refused(self._account)
        raise self._error(
            Unauthenticated,
            f"credentials from {credentials.source} were refused by {self._origin.netloc}",
            self._login_hint(True),
        )

    def _granted(self, scopes: Collection[str], grant: _Grant) -> str:
        with self._guard:
            if len(self._grants) >= _MOST_GRANTS:
                self._grants.clear()  # valid tokens are still in the cache
            self._grants[frozenset(scopes)] = grant
        remember((grant.token.value,))
        return grant.header

    def _key(self, scopes: Collection[str]) -> TokenKey:
        identity, epoch = self._keychain.fingerprint(), self._cache.epoch()
        return TokenKey(str(self._origin), self._account, tuple(sorted(set(scopes))), identity, epoch)

    def _refused(self, challenge: Challenge, token: AccessToken) -> DistError:
        """The error for a registry that refuses a newly issued token (behaviours B37).

        Registries respond alike to a missing repository and to one that the user may not read,
        so the message cannot distinguish them.
        """
        if challenge.parameters.get("error", "").lower() == "invalid_token":
            return self._error(
                Unauthenticated, f"{self._origin.netloc} refuses a token that its own token server has just issued"
            )
        if not token.source:
            return self._error(Unauthenticated, _HIDDEN, self._login_hint(False))
        return self._error(
            PermissionDenied, _HIDDEN, f"credentials from {token.source} were sent, but give no access to it"
        )

    def _login_hint(self, sent: bool) -> str:
        """The hint for missing credentials, or for credentials that were `sent` and refused."""
        login = "dist login" if self._account == HUB else f"dist login {self._account}"
        if sent:
            return f"log in again, for example with `{login}`"
        if self._keychain.settings.source == "none":
            return 'no credentials were sent: auth = { source = "none" } is set for this remote'
        return f"no credentials for {self._account} were sent; log in with `{login}`"

    def _error(self, make: Callable[..., DistError], what: str, hint: str = "") -> DistError:
        return make(what, hint=hint, host=self._origin.netloc, status=401)


def _satisfies(token: AccessToken, required: _TokenChallenge) -> bool:
    """Whether a token is from the challenge's realm and service and was requested with its scopes."""
    same_server = (token.realm, token.service) == (required.realm.url, required.service)
    return same_server and covers(token.scopes, required.scopes)
