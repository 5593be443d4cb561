"""Keychain: looks up this user's credentials for a registry.

Sources are searched in a fixed order (behaviours C28, C30; docs/authentication.md describes it).
The first source with an entry for the host is used. A broken source is an error, because
skipping it would turn a typing mistake into "not found".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from stat import S_ISFIFO
from typing import NamedTuple

from dist_tool.auth.credential_file import CredentialFile, Credentials, Dialect
from dist_tool.auth.credential_helper import HelperRequest, ask, forget, known
from dist_tool.errors import DistError, InvalidArgument, printable
from dist_tool.names.hub import credential_key
from dist_tool.run import NO_RUN, Notice, Run
from dist_tool.settings import AuthSettings

__all__ = ["Credentials", "Keychain"]

_LARGEST = 1 << 20  # bytes of a file


class _Source(NamedTuple):
    """A helper, an environment variable or a file, and its name. `required`: absence is an error."""

    kind: str
    name: str
    dialect: Dialect = Dialect.DOCKER
    required: bool = False


class Keychain:
    """Credential lookup. Uses `environ`, never `os.environ`.

    Files are read when first needed and again after they change. A helper runs once, and is
    killed at the end of the `run`.
    """

    def __init__(
        self,
        settings: AuthSettings,
        environ: Mapping[str, str],
        run: Run = NO_RUN,
    ) -> None:
        self.settings = settings
        self._environ = environ
        self._run = run
        self._sources = _sources(settings, environ)
        self._read_as: dict[_Source, tuple[tuple[int, ...], bytes]] = {}
        self._parsed_as: dict[_Source, tuple[bytes, CredentialFile]] = {}

    def lookup(self, host: str, path: str) -> Credentials | None:
        """The credentials for a repository, None if there are none.

        `host` is canonical (`docker.io`, `ghcr.io`, `localhost:5000`), `path` the repository.
        Raises InvalidArgument for a broken, oversized or unreadable file and for a helper that
        does not exist, Unauthenticated for a helper that fails.
        """
        for source in self._sources:
            found = self._from_source(source, host, path)
            if found is not None:
                self._run.report(Notice("debug", f"credentials for {host}: {found.kind} from {found.source}"))
                return found.remembered()
        return None

    def refused(self, host: str) -> None:
        """Report that a registry refused the result of `lookup`; see `credential_helper.forget`."""
        for source in self._sources:
            try:
                request = self._helper_request(source, host)
            except DistError:
                continue  # it returned no credentials that could have been refused
            if request is not None:
                forget(request, self._environ)

    def known_user(self, host: str) -> str | None:
        """The user name that a helper has returned for a host in this process, None for none; runs no helper."""
        for source in self._sources:
            try:
                request = self._helper_request(source, host)
            except DistError:
                return None  # `lookup` fails here as well
            found = known(request, self._environ) if request is not None else None
            if found is not None:
                return found.username
        return None

    def fingerprint(self) -> bytes:
        """A hash of everything that determines the identity in use; runs no helper.

        Covers the settings, and the content of variables and files. Never fails: for a source
        that cannot be read the error is hashed, and `lookup` raises it.
        """
        from hashlib import blake2b

        digest = blake2b(repr(self.settings).encode(), digest_size=32)
        for source in self._sources:
            try:
                data = self._data(source)
            except InvalidArgument as error:
                data = error.what.encode("utf-8", "surrogateescape")
            label = f"{source.kind} {source.name}".encode("utf-8", "surrogateescape")
            for part in (label, b"" if data is None else data, b"absent" if data is None else b"present"):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def explain(self, host: str, path: str) -> list[str]:
        """One line `SOURCE: what would be used` for each source, in order; no secrets.

        Runs no helper. `lookup` uses the first source with an entry and stops at a broken one.
        """
        return [f"{self._label(source)}: {self._explained(source, host, path)}" for source in self._sources]

    def answering(self, host: str, *, besides: str = "") -> str:
        """The first helper, variable or file except `besides` with an entry for a host, "" for none.

        Runs no helper: a helper that would be run counts as having an entry.
        """
        for source in self._sources:
            nothing = self._explained(source, host, "") in ("not set", "absent", f"nothing for {host}")
            if source.name != besides and not nothing:
                return source.name
        return ""

    def _from_source(self, source: _Source, host: str, path: str) -> Credentials | None:
        request = self._helper_request(source, host)
        found = ask(request, self._environ, self._run) if request is not None else None
        if found is not None or source.kind == "helper":
            return found
        file = self._file(source)
        entry = file.find(host, path) if file else None
        return entry[1] if entry else None

    def _helper_request(self, source: _Source, host: str) -> HelperRequest | None:
        """The request to the helper that this source names, None if it names none for the host."""
        if source.kind == "helper":
            return HelperRequest(source.name, credential_key(host), self._label(source))
        file = self._file(source)
        name = file.helper(host) if file else ""
        return HelperRequest(name, file.helper_key(host), file.name) if file and name else None

    def _explained(self, source: _Source, host: str, path: str) -> str:
        if source.kind != "helper" and not self._exists(source):
            return "not set" if source.kind == "variable" else "absent"
        uses = []
        try:
            request = self._helper_request(source, host)
            if request is not None:
                uses.append(f"runs {request.program} for {request.server}")
            file = None if source.kind == "helper" else self._file(source)
            entry = file.find(host, path) if file else None
        except DistError as error:
            return f"broken: {error}"
        if entry is not None:
            key, found = entry
            user = f" ({printable(found.username, 60)})" if found.basic else ""
            uses.append(f"{found.kind}{user} under {printable(key, 100)!r}")
        return ", then ".join(uses) or f"nothing for {host}"

    def _exists(self, source: _Source) -> bool:
        return bool(self._environ.get(source.name)) if source.kind == "variable" else os.path.lexists(source.name)

    def _file(self, source: _Source) -> CredentialFile | None:
        """The parsed content, None if the file or variable does not exist. Raises InvalidArgument."""
        data = self._data(source)
        if data is None:
            return None
        known = self._parsed_as.get(source)
        if known is None or known[0] != data:
            known = data, CredentialFile.parse(data, self._label(source), source.dialect)
            self._parsed_as[source] = known
        return known[1]

    def _data(self, source: _Source) -> bytes | None:
        if source.kind == "helper":
            return source.name.encode()
        if source.kind == "variable":
            text = self._environ.get(source.name)
            return text.encode("utf-8", "surrogateescape") if text else None
        return self._read(source)

    def _read(self, source: _Source) -> bytes | None:
        """The bytes of a file, from memory while it is unchanged. None if there is no such file."""
        try:
            found = os.stat(source.name)
            stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._read_as.get(source)
            # A pipe, such as an `auth.file` from process substitution, can be read only once.
            if known is not None and (known[0] == stamp or S_ISFIFO(found.st_mode)):
                return known[1]
            with open(source.name, "rb") as file:
                data = file.read(_LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            if source.required:
                raise InvalidArgument(f"{self._label(source)}: no such file, and auth.file names it") from error
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise InvalidArgument(f"{self._label(source)}: cannot be read: {reason.lower()}") from error
        if len(data) > _LARGEST:
            raise InvalidArgument(f"{self._label(source)}: over the limit of {_LARGEST} bytes for a credential file")
        self._read_as[source] = stamp, data
        return data

    def _label(self, source: _Source) -> str:
        """The name of a source in messages, with the home directory as `~`."""
        if source.kind == "helper":
            return "auth.helper"
        home = self._environ.get("HOME", "").rstrip("/")
        name = source.name
        return printable(f"~{name[len(home) :]}" if home and name.startswith(f"{home}/") else name, 200)


def _sources(settings: AuthSettings, environ: Mapping[str, str]) -> tuple[_Source, ...]:
    """The sources in lookup order. If the remote has settings of its own, they replace all others."""
    if settings.source == "none":
        return ()
    own = [_Source("helper", settings.helper)] if settings.helper else []
    own += [_Source("file", settings.file, dialect_of(settings.file), required=True)] if settings.file else []
    return tuple(own) or tuple(dict.fromkeys(_CHAINS[settings.source](environ)))


def dialect_of(file: str) -> Dialect:
    """The format of a credential file, from its file name."""
    by_name = {".dockercfg": Dialect.LEGACY, "config.json": Dialect.DOCKER}
    return by_name.get(os.path.basename(file), Dialect.CONTAINERS)


def _all_sources(environ: Mapping[str, str]) -> Iterator[_Source]:
    yield _Source("variable", "DIST_AUTH_CONFIG")
    yield from _named_file(environ)
    yield from _docker(environ)
    if not environ.get("REGISTRY_AUTH_FILE"):
        yield from _auth_json(environ)
        yield from _dockercfg(environ)


def _docker(environ: Mapping[str, str]) -> Iterator[_Source]:
    yield _Source("variable", "DOCKER_AUTH_CONFIG")
    yield from _docker_file(environ)


def _containers(environ: Mapping[str, str]) -> Iterator[_Source]:
    """The order of podman and skopeo, which read docker's file but not its variable."""
    if environ.get("REGISTRY_AUTH_FILE"):
        yield from _named_file(environ)
        return
    yield from _auth_json(environ)
    yield from _docker_file(environ)
    yield from _dockercfg(environ)


def _named_file(environ: Mapping[str, str]) -> Iterator[_Source]:
    file = environ.get("REGISTRY_AUTH_FILE")
    if file:
        yield _Source("file", file, dialect_of(file))


def docker_file(environ: Mapping[str, str]) -> str:
    """The path of docker's own file (behaviours C22), "" if neither DOCKER_CONFIG nor HOME is set."""
    home = environ.get("HOME")
    directory = environ.get("DOCKER_CONFIG") or (os.path.join(home, ".docker") if home else "")
    return os.path.join(directory, "config.json") if directory else ""


def _docker_file(environ: Mapping[str, str]) -> Iterator[_Source]:
    file = docker_file(environ)
    if file:
        yield _Source("file", file)


def _auth_json(environ: Mapping[str, str]) -> Iterator[_Source]:
    home = environ.get("HOME")
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        runtime = os.path.join(runtime, "containers")
    else:
        runtime = f"/run/containers/{os.getuid()}"
    config = environ.get("XDG_CONFIG_HOME") or (os.path.join(home, ".config") if home else "")
    yield _Source("file", os.path.join(runtime, "auth.json"), Dialect.CONTAINERS)
    if config:
        yield _Source("file", os.path.join(config, "containers", "auth.json"), Dialect.CONTAINERS)


def _dockercfg(environ: Mapping[str, str]) -> Iterator[_Source]:
    home = environ.get("HOME")
    if home:
        yield _Source("file", os.path.join(home, ".dockercfg"), Dialect.LEGACY)


_CHAINS = {"auto": _all_sources, "docker": _docker, "containers": _containers}
