"""Configuration of other programs: lookup of names in their files, in order of precedence.

The files are containerd's `certs.d/*/hosts.toml`, `registries.conf` of the containers tools, and the
`certs.d` of docker and the containers tools (behaviours D1-D12). Sources are searched in turn, and the
first table found applies as a whole: settings of two sources are never mixed (D17). Files are parsed,
and parsers imported, only if a file that could apply to the name exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dist_tool.config.foreign.certs_d import certificates_in
from dist_tool.config.options import IMPORTS
from dist_tool.names.hub import certificate_hosts
from dist_tool.names.locator import Locator
from dist_tool.names.reference import ObjectName
from dist_tool.settings import Endpoint, Route, Tls

if TYPE_CHECKING:
    from dist_tool.config.foreign.registries_conf import Registries

ETC = "/etc"
_NO_TLS = Tls()


class ForeignFiles:
    """Implementation of `settings.Others` with the files of this machine and user.

    `imports` are the sources to read, None for all; `hosts_dir` replaces containerd's default
    directory. Results are cached, so that a process sees one state of each file.
    """

    def __init__(self, environ: Mapping[str, str], imports: tuple[str, ...] | None = None, hosts_dir: str = "") -> None:
        self._environ = environ
        self._imports = frozenset(IMPORTS if imports is None else imports)
        self.hosts_dir = hosts_dir or f"{ETC}/containerd/certs.d"
        self._hosts: dict[str, Route | None] = {}
        self._registries: Registries | None = None
        self._certificates: dict[str, tuple[str, Tls]] = {}
        self._directories: list[str] | None = None

    def route_for(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The route from hosts.toml, else from registries.conf, else None.

        Names that registries.conf blocks are blocked regardless of hosts.toml. Raises InvalidArgument
        with file and line for an invalid file (D7).
        """
        registry = self._registry(locator, name)
        if registry is not None and registry.blocked:
            return registry
        host = self._host_table(locator.host) if "hosts.toml" in self._imports else None
        return host or registry

    def blocking(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The route from registries.conf if it blocks the name, whatever its kind. Raises InvalidArgument."""
        registry = self._registry(locator, name)
        return registry if registry is not None and registry.blocked else None

    def _registry(self, locator: Locator, name: ObjectName | None) -> Route | None:
        return self._registries_conf().find(locator, name) if "registries.conf" in self._imports else None

    def singles_out(self, locator: Locator) -> bool:
        """True if registries.conf has a table for a single tag or digest of this repository (D9)."""
        return "registries.conf" in self._imports and self._registries_conf().singles_out(locator)

    def with_certificates(self, route: Route | None, locator: Locator) -> Route | None:
        """`route` with the certificates from `certs.d` for the host of each endpoint (D6).

        Endpoints that are not registries or have TLS settings of their own are not changed.
        """
        if "certs.d" not in self._imports or not self._certificate_directories():
            return route
        if route is None:
            where, tls = self._certificates_for(locator.host)
            return Route(locator.host, (Endpoint(tls=tls, where=where),), where=where) if where else None
        if route.blocked:
            return route
        return replace(route, endpoints=tuple(self._completed(endpoint, locator) for endpoint in route.endpoints))

    def alias(self, short: str) -> str:
        """The full name for a short name in registries.conf, "" if it has no alias (D12)."""
        return self._registries_conf().aliases.get(short, "") if "registries.conf" in self._imports else ""

    def files(self) -> Iterator[str]:
        """All existing files that can be read for a name, in the order of reading."""
        if "hosts.toml" in self._imports and os.path.isdir(self.hosts_dir):
            for name in sorted(os.listdir(self.hosts_dir)):
                if os.path.isfile(f"{self.hosts_dir}/{name}/hosts.toml"):
                    yield f"{self.hosts_dir}/{name}/hosts.toml"
        if "registries.conf" in self._imports:
            yield from _registries_files(self._environ)

    def _completed(self, endpoint: Endpoint, locator: Locator) -> Endpoint:
        if endpoint.kind not in ("", "registry") or endpoint.tls != _NO_TLS:
            return endpoint
        host = endpoint.location.partition("/")[0] or locator.host
        return replace(endpoint, tls=self._certificates_for(host)[1])

    def _host_table(self, host: str) -> Route | None:
        if host not in self._hosts:
            directory = _host_directory(self.hosts_dir, host)
            found = None
            if directory:
                from dist_tool.config.foreign.hosts_toml import read_directory  # imports tomllib

                found = read_directory(directory, host, self._environ)
            self._hosts[host] = found
        return self._hosts[host]

    def _registries_conf(self) -> Registries:
        if self._registries is None:
            files = _registries_files(self._environ)
            if not files:
                return _NO_REGISTRIES
            from dist_tool.config.foreign.registries_conf import read_files

            self._registries = read_files(files, self._environ)
        return self._registries

    def _certificate_directories(self) -> list[str]:
        if self._directories is None:
            home = self._environ.get("HOME", "")
            roots = [f"{home}/.config/containers"] if home.startswith("/") else []
            roots += [f"{ETC}/containers", f"{ETC}/docker"]
            self._directories = [f"{root}/certs.d" for root in roots if os.path.isdir(f"{root}/certs.d")]
        return self._directories

    def _certificates_for(self, host: str) -> tuple[str, Tls]:
        """Directory and certificates for a host, from the first directory that exists; "" if there is none."""
        if host not in self._certificates:
            roots = self._certificate_directories()
            paths = [f"{directory}/{name}" for directory in roots for name in certificate_hosts(host)]
            found = next((path for path in paths if os.path.isdir(path)), "")
            self._certificates[host] = found, certificates_in(found) if found else _NO_TLS
        return self._certificates[host]


class _NoRegistries:
    """A `Registries` without tables, which needs no parser."""

    aliases: Mapping[str, str] = {}

    def find(self, locator: Locator, name: ObjectName | None) -> None:  # noqa: ARG002
        return None

    def singles_out(self, locator: Locator) -> bool:  # noqa: ARG002
        return False


_NO_REGISTRIES: Registries = _NoRegistries()  # type: ignore[assignment]  # same interface


def _host_directory(root: str, host: str) -> str:
    """Containerd's directory for a host: the first that exists, "" if there is none (D1)."""
    if not os.path.isdir(root):
        return ""
    name, colon, port = host.rpartition(":")
    names = ([f"{name}_{port}_"] if colon and not port.endswith("]") else []) + [host, "_default"]
    return next((f"{root}/{name}" for name in names if os.path.isdir(f"{root}/{name}")), "")


def _registries_files(environ: Mapping[str, str]) -> list[str]:
    """The files of registries.conf in ascending order of precedence (D8)."""
    home = environ.get("HOME", "")
    user = f"{home}/.config/containers" if home.startswith("/") else ""
    named = environ.get("CONTAINERS_REGISTRIES_CONF", "")
    if named:
        main, directories = named, [f"{ETC}/containers", user]
    elif user and os.path.exists(f"{user}/registries.conf"):
        main, directories = f"{user}/registries.conf", [user]
    else:
        main, directories = f"{ETC}/containers/registries.conf", [f"{ETC}/containers", user]
    found = [main] if named or os.path.exists(main) else []
    for directory in filter(None, directories):
        found += _drop_ins(f"{directory}/registries.conf.d")
    return found


def _drop_ins(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        from dist_tool.errors import InvalidArgument

        raise InvalidArgument(f"{directory}: {error.strerror}") from error
    files = (f"{directory}/{name}" for name in names if name.endswith(".conf"))
    return [file for file in files if not os.path.isdir(file)]
