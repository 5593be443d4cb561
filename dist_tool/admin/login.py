"""Logging in to a registry and out of it: credentials are tried before they are kept."""

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
    """What became of a login. `verified` is False where the registry asks nobody who they are.

    `hidden_by` names a source that has something for the host and is asked before this one.
    """

    host: str
    kept: SavedLogin
    verified: bool
    hidden_by: str


def login(host: str, credentials: Credentials, settings: Settings, *, file: str = "", run: Run = NO_RUN) -> Login:
    """Try user and password, and keep them where docker would (behaviours C22-C27).

    `host` is canonical; `file` is written instead of the usual place. Raises Unauthenticated
    where the registry refuses them, and what `logins.save` raises; nothing is kept then.
    """
    if not credentials.basic:
        raise InvalidArgument("user name or password is empty")
    credentials.remembered()
    endpoint = _endpoint_of(host, settings)
    place = CredentialLocation.choose(endpoint.auth, settings.environ, file)
    verified = _verify(host, credentials, endpoint, settings, run)
    try:
        kept = save(place, host, credentials, settings.environ, run)
    finally:
        forget_tokens(settings.token_dir, run)
    first = Keychain(endpoint.auth, settings.environ).answering(host)
    return Login(host, kept, verified, "" if first in (place.file, place.helper) else first or "the configuration")


def logout(host: str, settings: Settings, *, file: str = "", run: Run = NO_RUN) -> tuple[SavedLogin, str]:
    """Forget a host and all access tokens; with the source that still has something for it, "" for none."""
    auth = _endpoint_of(host, settings).auth
    place = CredentialLocation.choose(auth, settings.environ, file)
    try:
        kept = remove(place, host, settings.environ, run)
    finally:
        forget_tokens(settings.token_dir, run)
    return kept, Keychain(auth, settings.environ).answering(host, besides=place.helper or place.file)


def _endpoint_of(host: str, settings: Settings) -> Endpoint:
    """The settings for the host as it is contacted: a route that leads elsewhere is about that other host."""
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
        # Only what is to be tried is known there, and no token that somebody else's login has got.
        replace(endpoint, auth=AuthSettings(realm_hosts=endpoint.auth.realm_hosts)),
        replace(settings, environ={**settings.environ, "DIST_AUTH_CONFIG": json.dumps(auths)}, cache_dir=""),
        run,
    )
    path = f"{endpoint.api_path}/"
    with closing(HttpService(api_host(host), trial, account=host)) as service:
        try:
            service.ask("GET", path, {}, (200,)).close()
        except Unauthenticated as error:
            what = f"{host} refuses user name and password of {credentials.username!r}"
            raise error.with_(what=what, hint="nothing was saved") from error.cause
        home = service.home
    return _asks_for_credentials(home, path, trial)


def _asks_for_credentials(home: Origin, path: str, trial: Context) -> bool:
    """Whether a request without credentials is refused with 401."""
    with closing(HttpSession(home, trial)) as session:
        reply = session.send(Request("GET", f"{home}{path}"))
        reply.close()
    return reply.status == 401
