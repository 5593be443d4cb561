"""Other programs' configuration: which of their files speak of a name, and whose word counts.

containerd's `certs.d/*/hosts.toml`, the containers tools' `registries.conf`, and the `certs.d` of
docker and the containers tools (behaviours D1-D12). A name is looked up in one source after the
other and takes the table of one, whole: settings of two are never mixed (D17). Nothing is
parsed, and no parser imported, before a file that speaks of the name is known to be there.
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
    """`settings.Others` over the files of one machine and user.

    `imports` are the sources to read, None for all; `hosts_dir` stands in for containerd's own
    directory. What has been read stays: one process sees one state of a file.
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
        """The table of hosts.toml, else that of registries.conf.

        What registries.conf blocks is blocked whatever hosts.toml says. Raises InvalidArgument
        with file and line for a broken file (D7).
        """
        registry = self._registry(locator, name)
        if registry is not None and registry.blocked:
            return registry
        host = self._host_table(locator.host) if "hosts.toml" in self._imports else None
        return host or registry

    def blocking(self, locator: Locator, name: ObjectName | None) -> Route | None:
        """The table of registries.conf that blocks a name, of whatever kind. Raises as `route_for`."""
        registry = self._registry(locator, name)
        return registry if registry is not None and registry.blocked else None

    def _registry(self, locator: Locator, name: ObjectName | None) -> Route | None:
        return self._registries_conf().find(locator, name) if "registries.conf" in self._imports else None

    def singles_out(self, locator: Locator) -> bool:
        """True where registries.conf has a table for a tag or a digest of this very repository (D9)."""
        return "registries.conf" in self._imports and self._registries_conf().singles_out(locator)

    def with_certificates(self, route: Route | None, locator: Locator) -> Route | None:
        """`route`, with the certificates that lie in a `certs.d` under the host to be contacted (D6).

        Each endpoint has those of its own host; one whose table speaks of TLS has no others.
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
        """The full name that registries.conf gives to a short one, "" for none (D12)."""
        return self._registries_conf().aliases.get(short, "") if "registries.conf" in self._imports else ""

    def files(self) -> Iterator[str]:
        """Every file there is that would be read for some name, in the order of reading."""
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
                from dist_tool.config.foreign.hosts_toml import read_directory  # brings tomllib

                found = read_directory(directory, host, self._environ)
            self._hosts[host] = found
        return self._hosts[host]

    def _registries_conf(self) -> Registries:
        if self._registries is None:
            files = _registries_files(self._environ)
            if not files:
                return _NOTHING
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
        """Directory and content for a host; "" where there is none. The first directory counts."""
        if host not in self._certificates:
            roots = self._certificate_directories()
            places = [f"{directory}/{name}" for directory in roots for name in certificate_hosts(host)]
            place = next((place for place in places if os.path.isdir(place)), "")
            self._certificates[host] = place, certificates_in(place) if place else _NO_TLS
        return self._certificates[host]


class _NoRegistries:
    aliases: Mapping[str, str] = {}

    def find(self, locator: Locator, name: ObjectName | None) -> None:  # noqa: ARG002
        return None

    def singles_out(self, locator: Locator) -> bool:  # noqa: ARG002
        return False


_NOTHING: Registries = _NoRegistries()  # type: ignore[assignment]  # its like, without the parser


def _host_directory(root: str, host: str) -> str:
    """Containerd's directory for a host, "" for none: the first that is there counts (D1)."""
    if not os.path.isdir(root):
        return ""
    name, colon, port = host.rpartition(":")
    names = ([f"{name}_{port}_"] if colon and not port.endswith("]") else []) + [host, "_default"]
    return next((f"{root}/{name}" for name in names if os.path.isdir(f"{root}/{name}")), "")


def _registries_files(environ: Mapping[str, str]) -> list[str]:
    """The files of registries.conf in ascending order of weight (D8)."""
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
