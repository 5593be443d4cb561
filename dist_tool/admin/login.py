"""Registry login and logout. Credentials are verified with the registry before they are saved."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from dist_tool.auth.credential_file import Credentials
from dist_tool.auth.keychain import Keychain
from dist_tool.auth.saved_logins import CredentialLocation, SavedLogin, remove, save
from dist_tool.auth.token_cache import forget_tokens
from dist_tool.context import Context
from dist_tool.errors import InvalidArgument, Unauthenticated
from dist_tool.names.hub import api_host, credential_key
from dist_tool.names.locator import Locator
from dist_tool.names.origin import Origin
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import AuthSettings, Endpoint, Settings
from dist_tool.transport.service import HttpService
from dist_tool.transport.session import HttpSession, Request


class Login(NamedTuple):
    """The result of a login. `verified` is False if the registry requires no authentication.

    `hidden_by` names a source that takes precedence over the saved login, "" if there is none.
    """

    host: str
    saved: SavedLogin
    verified: bool
    hidden_by: str


def login(host: str, credentials: Credentials, settings: Settings, *, file: str = "", run: Run = NO_RUN) -> Login:
    """Verify user name and password, and save them as docker would (behaviours C22-C27).

    `host` is canonical; `file` overrides the usual credentials file. Raises Unauthenticated if
    the registry rejects them, and the errors of `saved_logins.save`; nothing is saved then.
    """
    if not credentials.basic:
        raise InvalidArgument("user name or password is empty")
    credentials.remembered()
    endpoint = _endpoint_of(host, settings)
    location = CredentialLocation.choose(endpoint.auth, settings.environ, file)
    verified = _verify(host, credentials, endpoint, settings, run)
    try:
        saved = save(location, host, credentials, settings.environ, run)
    finally:
        forget_tokens(settings.token_dir, run)
    first = Keychain(endpoint.auth, settings.environ).answering(host)
    hidden_by = "" if first in (location.file, location.helper) else first or "the configuration"
    return Login(host, saved, verified, hidden_by)


def logout(host: str, settings: Settings, *, file: str = "", run: Run = NO_RUN) -> tuple[SavedLogin, str]:
    """Remove a host's credentials, and all access tokens.

    Returns the change, and the source that still has credentials for the host, "" for none.
    """
    auth = _endpoint_of(host, settings).auth
    location = CredentialLocation.choose(auth, settings.environ, file)
    try:
        removed = remove(location, host, settings.environ, run)
    finally:
        forget_tokens(settings.token_dir, run)
    return removed, Keychain(auth, settings.environ).answering(host, besides=location.helper or location.file)


def _endpoint_of(host: str, settings: Settings) -> Endpoint:
    """The settings for contacting the host itself: a route to another host does not apply."""
    locator = Locator("", f"{host}/")
    route = settings.route_for(locator)
    own = route.own if route else Endpoint()
    if route is None or own.location.partition("/")[0] not in ("", host) or own.kind not in ("", "registry"):
        found = settings.others.with_certificates(None, locator)
        return found.own if found else Endpoint()
    return own


def _verify(host: str, credentials: Credentials, endpoint: Endpoint, settings: Settings, run: Run) -> bool:
    import json

    auths = {"auths": {credential_key(host): {"auth": credentials.basic.removeprefix("Basic ")}}}
    trial = Context(
        # Only the credentials to verify are configured, and no cached token of another login is used.
        replace(endpoint, auth=AuthSettings(realm_hosts=endpoint.auth.realm_hosts)),
        replace(settings, environ={**settings.environ, "DIST_AUTH_CONFIG": json.dumps(auths)}, cache_dir=""),
        run,
    )
    path = f"{endpoint.api_path}/"
    with closing(HttpService(api_host(host), trial, account=host)) as service:
        try:
            service.ask("GET", path, {}, (200,)).close()
        except Unauthenticated as error:
            what = f"{host} rejected the user name and password of {credentials.username!r}"
            raise error.with_(what=what, hint="nothing was saved") from error.cause
        home = service.home
    return _asks_for_credentials(home, path, trial)


def _asks_for_credentials(home: Origin, path: str, trial: Context) -> bool:
    """Whether a request without credentials is answered with 401."""
    with closing(HttpSession(home, trial)) as session:
        reply = session.send(Request("GET", f"{home}{path}"))
        reply.close()
    return reply.status == 401
