"""Credential files of docker and of podman, skopeo and buildah (behaviours C22-C25, C29)."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from dist_tool.errors import InvalidArgument, printable
from dist_tool.names.hub import canonical_host, credential_hosts, credential_key
from dist_tool.redaction import remember

# Key suffixes that docker's browser login stores with the credentials; registries do not accept these tokens.
_NOT_CREDENTIALS = ("/access-token", "/refresh-token")


class Credentials(NamedTuple):
    """Credentials for a registry or its token server. `source` names the file, variable or helper.

    An identity token is a refresh token for the token server, a registry token a bearer token
    for the registry itself. `repr` and `str` show no secret.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.kind} from {self.source or 'nowhere'})"

    @property
    def kind(self) -> str:
        """The kind of credentials, as messages name it. An empty user name or password counts as none (C18)."""
        if self.registry_token:
            return "a registry token"
        if self.identity_token:
            return "an identity token"
        return "user and password" if self.username and self.password else "nothing"

    @property
    def basic(self) -> str:
        """The value of Authorization for user and password, "" without both (RFC 7617)."""
        if not (self.username and self.password):
            return ""
        from binascii import b2a_base64

        pair = f"{self.username}:{self.password}".encode("utf-8", "surrogateescape")
        return f"Basic {b2a_base64(pair, newline=False).decode()}"

    def secrets(self) -> tuple[str, ...]:
        """All strings that must not be shown."""
        return tuple(
            text
            for text in (self.password, self.identity_token, self.registry_token, self.basic.removeprefix("Basic "))
            if text
        )

    def remembered(self) -> Credentials:
        """These credentials, after registering their secrets for redaction."""
        remember(self.secrets())
        return self


def is_text(value: str) -> bool:
    """Whether a string can be encoded as UTF-8: JSON may contain a lone surrogate."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


class Dialect(Enum):
    """The format of a credential file, which determines how its keys are read."""

    DOCKER = "docker"
    CONTAINERS = "containers"
    LEGACY = "legacy"  # ~/.dockercfg: the content of `auths` as the whole document


class CredentialFile(NamedTuple):
    """A parsed credential file: entries and helpers. `name` is its name in messages."""

    name: str
    dialect: Dialect
    auths: Mapping[str, Any]
    helpers: Mapping[str, Any]
    store: str

    def __repr__(self) -> str:
        return f"CredentialFile({self.name}, {len(self.auths)} auths)"

    @classmethod
    def parse(cls, data: bytes, name: str, dialect: Dialect) -> CredentialFile:
        """Parse a file. Raises InvalidArgument, with the line number if the JSON is broken (C25).

        An empty file is valid and has no entries: docker and podman leave such files behind.
        """
        document = _json_object(data, name)
        if dialect is Dialect.LEGACY:
            return cls(name, dialect, document, {}, "")
        store = document.get("credsStore")
        if not isinstance(store, str | None):
            raise InvalidArgument(f"{name}: credsStore is not a string")
        return cls(name, dialect, _table(document, "auths", name), _table(document, "credHelpers", name), store or "")

    def helper(self, host: str) -> str:
        """The credential helper for `host`, "" for none: credHelpers takes precedence over credsStore.

        An empty name in credHelpers means that this host has no helper.
        """
        for key in (credential_key(host), *credential_hosts(host)):
            if key in self.helpers:
                name = self.helpers[key]
                if not isinstance(name, str):
                    raise InvalidArgument(f"{self.name}: credHelpers: {printable(key, 100)!r} is not a string")
                return name
        return self.store

    def helper_key(self, host: str) -> str:
        """The server name to pass to the helper for `host`: docker stores Docker Hub under its old URL."""
        return self.entry_key(host)

    def find(self, host: str, path: str) -> tuple[str, Credentials] | None:
        """The key and the credentials for a repository, None if there are none.

        An empty entry only marks that a helper has the credentials. Raises InvalidArgument for
        a broken entry.
        """
        for key in self._keys(host, path):
            found = self._credentials(key)
            if found.kind != "nothing":
                return key, found
        return None

    def entry_key(self, host: str) -> str:
        """The key under which a login for a whole host is written (behaviours C23)."""
        return host if self.dialect is Dialect.CONTAINERS else credential_key(host)

    def keys(self, host: str) -> list[str]:
        """All keys in the file that stand for the whole host."""
        return list(self._keys(host, ""))

    def _keys(self, host: str, path: str) -> Iterator[str]:
        """Keys in the file that stand for `host` and `path`, the most specific first (behaviours C23, C29)."""
        names = credential_hosts(host)
        parts = path.split("/") if path else []
        exact = [f"{name}/{'/'.join(parts[:n])}" for n in range(len(parts), 0, -1) for name in names]
        exact += dict.fromkeys((self.entry_key(host), *names))
        yield from (key for key in exact if key in self.auths)
        yield from (key for key in self.auths if key not in exact and self._host_of(key) in names)

    def _host_of(self, key: str) -> str:
        """The host of a key written as a URL, "" for docker's token entries and podman's namespaces."""
        if key.endswith(_NOT_CREDENTIALS):
            return ""
        rest = key.removeprefix("http://").removeprefix("https://")
        host, slash, path = rest.partition("/")
        # podman reads "host/a" as a namespace; docker wrote such keys for whole hosts.
        if rest == key and slash and path and self.dialect is Dialect.CONTAINERS:
            return ""
        return canonical_host(host)

    def _credentials(self, key: str) -> Credentials:
        entry, shown = self.auths[key], printable(key, 100)
        if entry is None:
            return Credentials()
        if not isinstance(entry, dict):
            raise InvalidArgument(f"{self.name}: auths: {shown!r} is not an object")
        for field in ("auth", "username", "password", "identitytoken", "registrytoken"):
            value = entry.get(field)
            if not isinstance(value, str | None):
                raise InvalidArgument(f"{self.name}: auths: {shown!r}: {field} is not a string")
            if value and not is_text(value):
                raise InvalidArgument(
                    f"{self.name}: auths: {shown!r}: {field} is not valid Unicode: it has a lone surrogate",
                    hint="log in again",
                )
        username, password = entry.get("username") or "", entry.get("password") or ""
        if entry.get("auth"):
            pair = _decoded(entry["auth"])
            if pair is None:
                raise InvalidArgument(
                    f"{self.name}: auths: {shown!r}: auth is not base64 of USER:PASSWORD", hint="log in again"
                )
            username, password = pair
        return Credentials(
            username, password, entry.get("identitytoken") or "", entry.get("registrytoken") or "", self.name
        )


def _decoded(text: str) -> tuple[str, str] | None:
    """User and password of an `auth` value (behaviours C24), None if it is malformed.

    Bytes that are not UTF-8 are decoded to surrogates and sent unchanged. Line breaks within the
    base64 are ignored, as docker does.
    """
    from binascii import Error, a2b_base64

    text = text.replace("\r", "").replace("\n", "").strip()
    try:
        pair = a2b_base64(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), strict_mode=True)
    except (Error, ValueError):
        return None
    username, colon, password = pair.decode("utf-8", "surrogateescape").partition(":")
    return (username, password.rstrip("\0")) if colon and username else None


def _json_object(data: bytes, name: str) -> dict[str, Any]:
    value, problem = _read_json(data)
    if problem:  # raised here, so that no chained exception holds the file's text
        raise InvalidArgument(f"{name}{problem}", hint="repair the file; broken credentials are never ignored silently")
    if not isinstance(value, dict):
        raise InvalidArgument(f"{name}: not a JSON object")
    return value


def _read_json(data: bytes) -> tuple[Any, str]:
    import json

    data = data.removeprefix(BOM_UTF8)
    if not data.strip():
        return {}, ""
    try:
        return json.loads(data.decode("utf-8")), ""
    except json.JSONDecodeError as error:
        return None, f":{error.lineno}: not valid JSON: {error.msg.partition(':')[0].lower()}"
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, f":{line}: not UTF-8"
    except (ValueError, RecursionError):
        return None, ": not valid JSON: numbers too long or nested too deeply"


def _table(document: Mapping[str, Any], field: str, name: str) -> Mapping[str, Any]:
    value = document.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{name}: {field} is not an object")
    return value
