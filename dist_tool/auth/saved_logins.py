"""Keeping credentials where docker does: in its file, or with the helper that the file names."""

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
    """Where a login is kept: a file, which may name a helper, or a helper without a file."""

    file: str = ""
    helper: str = ""

    @classmethod
    def choose(cls, auth: AuthSettings, environ: Mapping[str, str], file: str = "") -> CredentialLocation:
        """The `file` that is named, else what the host's table names, $REGISTRY_AUTH_FILE, docker's file.

        Raises InvalidArgument where there is none.
        """
        if file:
            return cls(file)
        if auth.helper:
            return cls(helper=auth.helper)
        chosen = auth.file or environ.get("REGISTRY_AUTH_FILE") or docker_file(environ)
        if not chosen:
            raise InvalidArgument("there is no place for credentials", hint="set DOCKER_CONFIG or HOME, or give --file")
        return cls(chosen)

    @property
    def dialect(self) -> Dialect:
        """Whose form the file has."""
        return dialect_of(self.file)


class SavedLogin(NamedTuple):
    """What was done: the `where` of it, in words; `plain` for a password that lies in a file."""

    where: str
    plain: bool = False
    changed: bool = True


def save(
    place: CredentialLocation,
    host: str,
    credentials: Credentials,
    environ: Mapping[str, str],
    run: Run = NO_RUN,
) -> SavedLogin:
    """Keep user and password for a host. The file's other content stays, its mode becomes 0600.

    Raises InvalidArgument for a broken file or a helper that does not exist, LocalFailure where
    it cannot be written or the helper fails.
    """
    if place.helper:
        question = HelperRequest(place.helper, credential_key(host), "auth.helper")
        store(question, credentials, environ, run)
        return SavedLogin(question.program)
    file = _parsed(place, _content(place.file))
    helper = file.helper(host)
    if helper:
        question = HelperRequest(helper, file.helper_key(host), place.file)
        store(question, credentials, environ, run)
        entry: dict[str, str] = {}  # only marks that a helper has it (behaviours C25)
    else:
        entry = {"auth": credentials.basic.removeprefix("Basic ")}
    _change(place, lambda auths: auths.update({file.entry_key(host): entry}))
    return SavedLogin(f"docker-credential-{helper} ({place.file})" if helper else place.file, plain=not helper)


def remove(place: CredentialLocation, host: str, environ: Mapping[str, str], run: Run = NO_RUN) -> SavedLogin:
    """Forget a host, under whatever key it is kept. Raises as `save` does."""
    if place.helper:
        question = HelperRequest(place.helper, credential_key(host), "auth.helper")
        return SavedLogin(question.program, changed=erase(question, environ, run))
    file = _parsed(place, _content(place.file))
    helper = file.helper(host)
    changed = bool(helper) and erase(HelperRequest(helper, file.helper_key(host), place.file), environ, run)
    keys = file.keys(host)
    if keys:
        _change(place, lambda auths: [auths.pop(key, None) for key in keys])
    return SavedLogin(place.file, changed=changed or bool(keys))


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise InvalidArgument(f"{file}: cannot be read: {(error.strerror or 'unknown error').lower()}") from error


def _parsed(place: CredentialLocation, data: bytes) -> CredentialFile:
    return CredentialFile.parse(data, place.file, place.dialect)


def _change(place: CredentialLocation, change: Callable[[dict[str, Any]], object]) -> None:
    import json

    def changed(data: bytes) -> bytes:
        _parsed(place, data)
        data = data.removeprefix(BOM_UTF8)
        document = json.loads(data) if data.strip() else {}
        auths = document
        if place.dialect is not Dialect.LEGACY:
            auths = document["auths"] = document.get("auths") or {}
        change(auths)
        text = json.dumps(document, indent="\t", ensure_ascii=False)
        if not is_text(text):  # half of a surrogate pair can only be written as an escape
            text = json.dumps(document, indent="\t")
        return text.encode() + b"\n"

    replace_file(place.file, changed, private=True)
