"""What the user configured, as values. Reading files and the environment is `config`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dist_tool.api import Report, unheard
from dist_tool.errors import InvalidArgument
from dist_tool.retry import Retry
from dist_tool.spec.reference import Locator, parse_locator

_DEFAULT_KIND = "registry"


@dataclass(frozen=True, slots=True)
class Tls:
    """Trust and client certificates of one endpoint. Paths are absolute, files are PEM.

    `client` pairs are offered to the endpoint's own origin only (GHSA-h3wm-jjqf-8jm2);
    `skip_verify` ends there too.
    """

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds; `floor` in bytes a second, averaged over `floor_window_s`."""

    connect_s: float = 10.0
    headers_s: float = 30.0
    idle_s: float = 30.0
    floor: int = 1024
    floor_window_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Redirects:
    """Where an endpoint may send us. `allow_hosts`: empty means any, `*.` prefix allowed.

    `allow_private` lifts the refusal of loopback and link-local addresses. `to_private` False
    refuses private ones too: nobody configures that, token servers are held to it (C16).
    """

    max_hops: int = 10
    allow_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    to_private: bool = True


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Where credentials come from. `source`: `auto`, `docker`, `containers` or `none`.

    `helper` names a docker credential helper; `file` is a docker or containers file that is
    read instead of all others; `realm_hosts` narrows who may be a token server.
    """

    source: str = "auto"
    helper: str = ""
    file: str = ""
    realm_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """One `[[remote]]` table. `where` is FILE:LINE of it.

    `prefix` is canonical: `HOST[:PORT][/PATH]` or `*.HOST[:PORT]`, the host in lower case.
    `header` and `proxy` may hold secrets and belong to this endpoint; a `proxy` of "" means a
    direct connection, None what the environment says. `kind` "" means `registry`.
    """

    prefix: str = ""
    kind: str = ""
    location: str = ""
    blocked: bool = False
    plain_http: bool | None = None
    tls: Tls = field(default_factory=Tls)
    header: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    timeout: Timeouts = field(default_factory=Timeouts)
    retry: Retry = field(default_factory=Retry)
    redirect: Redirects = field(default_factory=Redirects)
    auth: AuthSettings = field(default_factory=AuthSettings)
    where: str = ""

    def matches(self, locator: Locator) -> bool:
        """True where this table is about the locator's name (behaviours D9).

        Whole components count: `docker.io/lib` is not the beginning of `docker.io/library`,
        and a port belongs to its host. `*.example.com` is any host below example.com. Of
        locators that name their kind outright, those of this table's kind match.
        """
        if locator.kind and locator.kind != (self.kind or _DEFAULT_KIND):
            return False
        host, _, path = self.prefix.partition("/")
        name = locator.host.lower()
        if not (name.endswith(host[1:]) if self.is_wildcard else name == host):
            return False
        return f"{locator.path}/".startswith(f"{path}/") or not path

    @property
    def is_wildcard(self) -> bool:
        """True for a prefix that stands for many hosts."""
        return self.prefix.startswith("*.")

    def rewrite(self, locator: Locator) -> Locator:
        """Where a matching locator's objects really are: `location` + rest (behaviours D10).

        The kind of the result is never "". Raises InvalidArgument where the result is no name.
        """
        kind = locator.kind or self.kind or _DEFAULT_KIND
        if not self.location:
            return Locator(kind, locator.rest)
        path = self.prefix.partition("/")[2]
        rest = locator.path.removeprefix(path).removeprefix("/")
        place = f"{self.location.rstrip('/')}/{rest}" if rest else self.location
        if kind != _DEFAULT_KIND:
            return Locator(kind, place)
        if "/" not in place:  # a lone host would be read as an image of docker.io
            raise InvalidArgument(f"{self.where}: location {place!r} leaves {locator} without a repository")
        try:
            return parse_locator(f"{kind}::{place}")
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.where}: location: {error.what}", hint=error.hint) from error


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything: the remotes table and the environment's part that concerns fetching.

    `environ` is a snapshot of the environment, for credentials, proxies and trust stores;
    `cache_dir` is "" where access tokens must not be kept. `store`: fetched objects go through the
    local store. `deadline` is when the whole command must end, on `time.monotonic`.
    """

    remotes: tuple[RemoteSettings, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache_dir: str = ""
    timeout_s: float | None = None
    deadline: float | None = None
    max_size: int | None = None
    lenient: bool = False
    store: bool = False

    def remote_for(self, locator: Locator) -> RemoteSettings | None:
        """The table for a locator: of those that match, the longest prefix, a wildcard's last of all.

        None where there is none, and for local paths. The caller refuses what is `blocked`,
        and opens `rewrite(locator)`.
        """
        if locator.kind == "path":
            return None
        matching = (remote for remote in self.remotes if remote.matches(locator))
        return max(matching, key=lambda remote: (not remote.is_wildcard, len(remote.prefix)), default=None)


@dataclass(frozen=True, slots=True)
class Context:
    """What a remote is opened with: its own table, everything else, and who listens."""

    remote: RemoteSettings = field(default_factory=RemoteSettings)
    settings: Settings = field(default_factory=Settings)
    report: Report = field(default=unheard)

    @property
    def retry(self) -> Retry:
        """The retry policy of this remote, within the deadline of the whole command."""
        return replace(self.remote.retry, deadline=self.settings.deadline)
