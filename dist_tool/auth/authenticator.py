"""Authorization for one registry: what to send, and how to answer when it asks for more.

Specification: behaviours C1-C33. A request goes out with what is known already, or with
nothing; only a 401 makes us read credentials, run a helper or ask a token server. What comes
of it belongs to the registry's origin: the caller must not send it anywhere else.
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

# A token that is refused while younger than this would be refused again: the shortest life that
# a server may give one.
_FRESH_S = 60.0
_MOST_GRANTS = 1000
_HIDDEN = "does not exist or may require authorization"


class _Grant(NamedTuple):
    """A token in use. `obtained_at` is None where it was found in the cache.

    `extended`: the registry wanted more than was asked for at first, and this is the token
    for that. `accepted`: the registry has taken it, so that a later refusal means its end.
    `epoch` is the cache's: a login or logout since then ends the grant.
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
    """A bearer challenge, understood: what the token must be good for."""

    key: TokenKey
    realm: Realm
    service: str
    repository: str
    scopes: tuple[str, ...]


class TokenSources(NamedTuple):
    """What pays for tokens, where they are kept, and how a token server is asked for one."""

    keychain: Keychain
    cache: TokenCache
    exchange: Exchange


class Authenticator:
    """Authorization for requests to `origin` with the credentials of `account`. Thread-safe.

    `account` is the canonical host name that credentials are kept under: `docker.io`, while
    `origin` is registry-1.docker.io. `verified` is False where the registry's certificate is
    not checked: its word on token servers is then worth as little as over plain http.
    """

    def __init__(
        self,
        origin: Origin,
        account: str,
        means: TokenSources,
        *,
        run: Run = NO_RUN,
        verified: bool = True,
    ) -> None:
        self._origin = origin
        self._account = account
        self._keychain, self._cache, self._exchange = means
        self._run = run
        self._verified = verified
        self._guard = Lock()
        self._grants: dict[frozenset[str], _Grant] = {}
        self._basic: dict[str, str] = {}

    def authorization(self, scopes: Collection[str]) -> str:
        """The value of Authorization to send at once, "" for none: no network, no helper.

        With a token that any process of this user's obtained before, the first request is also
        the last (behaviours B55).
        """
        grant = self._grants.get(frozenset(scopes))
        basic = self._basic.get(repository_of(scopes), "")
        if grant is not None and self._holds(grant):
            return grant.header
        if basic or self._cache.is_empty():
            return basic
        key = self._key(scopes)
        token = self._cache.load(key)
        if token is None or not self._is_ours(token):
            return ""
        return self._granted(scopes, _Grant(token, None, key.epoch))

    def _holds(self, grant: _Grant) -> bool:
        return self._cache.alive(grant.token) and grant.epoch == self._cache.epoch()

    def _is_ours(self, token: AccessToken) -> bool:
        """False for a token of another user than the one that a helper has named in this process."""
        user = self._keychain.known_user(self._account)
        return user is None or token.user == user_mark(user)

    def accepted(self, scopes: Collection[str], sent: str) -> None:
        """Take note that the registry did not refuse what was sent.

        Should it later, then the token has ended early, or its keys have changed: that is
        worth a new one, where a refusal of a new one is not (behaviours B41).
        """
        grant = self._grants.get(frozenset(scopes))
        if grant is not None and grant.header == sent and not grant.accepted:
            self._granted(scopes, grant._replace(accepted=True))

    def answer(self, challenges: Sequence[str], scopes: Collection[str], sent: str) -> str:
        """The value of Authorization to try again with, after a 401.

        `challenges` are the values of WWW-Authenticate, `sent` what was sent ("" for nothing).
        A token out of the cache that is refused is renewed; one that was just issued is
        extended by the scopes that the registry demands, once; then a 401 is final, so callers
        may loop (behaviours B41, C14).

        Raises Unauthenticated or PermissionDenied where there is no better answer,
        InvalidArgument for broken credential files, PolicyRefused for a token realm that must
        not be asked, and what `exchange_token` raises.
        """
        offered = parse_challenges(challenges)
        for challenge in offered:  # bearer first, wherever it stands (C4)
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return self._bearer(challenge, scopes, sent)
        if any(challenge.scheme == "basic" for challenge in offered):
            return self._answer_basic(repository_of(scopes), sent)
        schemes = ", ".join(dict.fromkeys(printable(challenge.scheme, 30) for challenge in offered[:10]))
        raise self._error(
            Unauthenticated,
            f"{self._origin.netloc} asks for an authorization that is not known here",
            f"it offers {schemes}; known are bearer and basic" if schemes else "its answer names no scheme",
        )

    def _bearer(self, challenge: Challenge, scopes: Collection[str], sent: str) -> str:
        question = self._question(challenge, scopes)
        grant = self._grants.get(frozenset(scopes))
        extended = False
        if grant is not None and grant.header == sent:
            extended = self._after_refusal(challenge, question, grant)
            question = question._replace(scopes=merge_scopes(question.scopes, grant.token.scopes))
        elif grant is not None and self._holds(grant) and _answers(grant.token, question):
            return grant.header  # another thread has it by now
        refused = sent.removeprefix("Bearer ")

        def wanted(token: AccessToken) -> bool:
            return token.value != refused and _answers(token, question) and self._is_ours(token)

        token, fresh = self._cache.obtain(question.key, wanted, lambda: self._fetch(question))
        obtained_at = self._cache.clock() if fresh else None
        return self._granted(scopes, _Grant(token, obtained_at, question.key.epoch, extended))

    def _after_refusal(self, challenge: Challenge, question: _TokenChallenge, grant: _Grant) -> bool:
        """The registry refuses the token in use: forget it; whether the next one extends it.

        Raises where a further token would change nothing.
        """
        self._cache.discard(question.key, grant.token.value)
        fresh = grant.obtained_at is not None and self._cache.clock() - grant.obtained_at < _FRESH_S
        if not fresh or grant.accepted:
            return False
        if grant.extended or covers(grant.token.scopes, demanded_scopes(challenge.parameters.get("scope", ""))):
            raise self._refused(challenge, grant.token)
        return True

    def _question(self, challenge: Challenge, scopes: Collection[str]) -> _TokenChallenge:
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

    def _fetch(self, question: _TokenChallenge) -> AccessToken:
        """Look credentials up and exchange them. Under the cache's lock: a helper runs once, too."""
        credentials = self._keychain.lookup(self._account, question.repository)
        if credentials is not None and credentials.registry_token:
            never = float("inf")
            return self._token(question, credentials.registry_token, never, credentials)._replace(keep=False)
        if credentials is not None and not question.realm.password:
            raise PolicyRefused(
                f"credentials from {credentials.source} are not sent to {question.realm.origin}, which "
                f"{self._origin} names as its token server without verified TLS",
                hint=f"if that is right, list {question.realm.origin.host!r} in auth.realm_hosts for this remote"
                if question.realm.origin.scheme == "https"
                else "a password goes over plain http to the registry's own host only",
            )
        whose = f"credentials from {credentials.source}" if credentials else "no credentials"
        self._run.report(
            Notice("debug", f"asking {question.realm.origin} for {' '.join(question.scopes)} with {whose}")
        )
        demand = TokenParameters(question.realm.url, question.service, question.scopes, credentials)
        try:
            value, expires_at = exchange_token(demand, self._exchange, self._cache.clock)
        except (Unauthenticated, PermissionDenied) as error:
            if credentials is not None:
                self._keychain.refused(self._account)
            hint = error.hint or self._login_hint(credentials is not None)
            raise error.with_(hint=hint) from error.cause
        return self._token(question, value, expires_at, credentials)

    def _token(
        self, question: _TokenChallenge, value: str, expires_at: float, credentials: Credentials | None
    ) -> AccessToken:
        source, user = (credentials.source, user_mark(credentials.username)) if credentials else ("", "")
        return AccessToken(value, expires_at, question.realm.url, question.service, question.scopes, source, user)

    def _answer_basic(self, repository: str, sent: str) -> str:
        """User and password, to the registry itself (behaviours C18).

        Over plain http only where the registry as a whole is: that was the user's decision.
        """
        credentials = self._keychain.lookup(self._account, repository)
        if credentials is None or not credentials.basic:
            only = f", {credentials.source} has {credentials.kind}" if credentials else ""
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
                self._grants.clear()  # the cache has what is still good
            self._grants[frozenset(scopes)] = grant
        remember((grant.token.value,))
        return grant.header

    def _key(self, scopes: Collection[str]) -> TokenKey:
        identity, epoch = self._keychain.fingerprint(), self._cache.epoch()
        return TokenKey(str(self._origin), self._account, tuple(sorted(set(scopes))), identity, epoch)

    def _refused(self, challenge: Challenge, token: AccessToken) -> DistError:
        """Why a token that was just issued does not do (behaviours B37).

        Registries answer the same for what is not there and for what is not to be seen, so the
        message cannot tell either.
        """
        if challenge.parameters.get("error", "").lower() == "invalid_token":
            return self._error(
                Unauthenticated, f"{self._origin.netloc} refuses the token that its own token server has just issued"
            )
        if not token.source:
            return self._error(Unauthenticated, _HIDDEN, self._login_hint(False))
        return self._error(
            PermissionDenied, _HIDDEN, f"credentials from {token.source} were sent, and give no access to it"
        )

    def _login_hint(self, sent: bool) -> str:
        """What to do about credentials that are missing, or that were `sent` and refused."""
        login = "dist login" if self._account == HUB else f"dist login {self._account}"
        if sent:
            return f"log in again, for instance with `{login}`"
        if self._keychain.settings.source == "none":
            return 'no credentials were sent: auth = { source = "none" } is set for this remote'
        return f"no credentials for {self._account} were sent; `{login}` keeps some"

    def _error(self, make: Callable[..., DistError], what: str, hint: str = "") -> DistError:
        return make(what, hint=hint, host=self._origin.netloc, status=401)


def _answers(token: AccessToken, question: _TokenChallenge) -> bool:
    """Whether a token is from the realm that the challenge names and was asked for what is needed."""
    same_server = (token.realm, token.service) == (question.realm.url, question.service)
    return same_server and covers(token.scopes, question.scopes)
