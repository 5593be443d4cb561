"""Saving and removing logins in docker's file, or with the helper that the file names."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dist_tool.auth.credential_file import CredentialFile, Credentials, Dialect, is_text
from dist_tool.auth.credential_helper import HelperRequest, erase, store
from dist_tool.auth.keychain import dialect_of, docker_file
from dist_tool.errors import InvalidArgument
from dist_tool.files import replace_file
from dist_tool.names.hub import credential_key
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import AuthSettings


class CredentialLocation(NamedTuple):
    """Storage for a login: a file, which may name a helper, or a helper without a file."""

    file: str = ""
    helper: str = ""

    @classmethod
    def choose(cls, auth: AuthSettings, environ: Mapping[str, str], file: str = "") -> CredentialLocation:
        """The first of: `file`, helper and file of the host's table, $REGISTRY_AUTH_FILE, docker's file.

        Raises InvalidArgument if there is none.
        """
        if file:
            return cls(file)
        if auth.helper:
            return cls(helper=auth.helper)
        chosen = auth.file or environ.get("REGISTRY_AUTH_FILE") or docker_file(environ)
        if not chosen:
            raise InvalidArgument("no file to save credentials in", hint="set DOCKER_CONFIG or HOME, or give --file")
        return cls(chosen)

    @property
    def dialect(self) -> Dialect:
        """The format of the file."""
        return dialect_of(self.file)


class SavedLogin(NamedTuple):
    """The result of a login or logout. `where` describes the storage; `plain`: the password is in a file."""

    where: str
    plain: bool = False
    changed: bool = True


def save(
    location: CredentialLocation,
    host: str,
    credentials: Credentials,
    environ: Mapping[str, str],
    run: Run = NO_RUN,
) -> SavedLogin:
    """Save user and password for a host. The file's other content is preserved, its mode becomes 0600.

    Raises InvalidArgument for a broken file or a helper that does not exist, LocalFailure if the
    file cannot be written or the helper fails.
    """
    if location.helper:
        request = HelperRequest(location.helper, credential_key(host), "auth.helper")
        store(request, credentials, environ, run)
        return SavedLogin(request.program)
    file = _parsed(location, _content(location.file))
    helper = file.helper(host)
    if helper:
        request = HelperRequest(helper, file.helper_key(host), location.file)
        store(request, credentials, environ, run)
        entry: dict[str, str] = {}  # only marks that a helper has the credentials (behaviours C25)
    else:
        entry = {"auth": credentials.basic.removeprefix("Basic ")}
    _change(location, lambda auths: auths.update({file.entry_key(host): entry}))
    return SavedLogin(f"docker-credential-{helper} ({location.file})" if helper else location.file, plain=not helper)


def remove(location: CredentialLocation, host: str, environ: Mapping[str, str], run: Run = NO_RUN) -> SavedLogin:
    """Remove the credentials for a host, under all keys that stand for it. Raises as `save` does."""
    if location.helper:
        request = HelperRequest(location.helper, credential_key(host), "auth.helper")
        return SavedLogin(request.program, changed=erase(request, environ, run))
    file = _parsed(location, _content(location.file))
    helper = file.helper(host)
    changed = bool(helper) and erase(HelperRequest(helper, file.helper_key(host), location.file), environ, run)
    keys = file.keys(host)
    if keys:
        _change(location, lambda auths: [auths.pop(key, None) for key in keys])
    return SavedLogin(location.file, changed=changed or bool(keys))


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise InvalidArgument(f"{file}: cannot be read: {(error.strerror or 'unknown error').lower()}") from error


def _parsed(location: CredentialLocation, data: bytes) -> CredentialFile:
    return CredentialFile.parse(data, location.file, location.dialect)


def _change(location: CredentialLocation, change: Callable[[dict[str, Any]], object]) -> None:
    import json

    def changed(data: bytes) -> bytes:
        _parsed(location, data)
        data = data.removeprefix(BOM_UTF8)
        document = json.loads(data) if data.strip() else {}
        auths = document
        if location.dialect is not Dialect.LEGACY:
            auths = document["auths"] = document.get("auths") or {}
        change(auths)
        text = json.dumps(document, indent="\t", ensure_ascii=False)
        if not is_text(text):  # a lone surrogate can only be written as an escape
            text = json.dumps(document, indent="\t")
        return text.encode() + b"\n"

    replace_file(location.file, changed, private=True)
