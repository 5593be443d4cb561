"""What the user configured, as values. Reading files and the environment is `config`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dist_tool.retry import Retry


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
    """Where an endpoint may send us. `allow_hosts` ("" means any; `*.` prefix allowed)."""

    max_hops: int = 10
    allow_hosts: tuple[str, ...] = ()
    allow_private: bool = False


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
    """One `[[remote]]` table. `where` is FILE:LINE of it."""

    prefix: str = ""
    kind: str = ""
    location: str = ""
    blocked: bool = False
    plain_http: bool | None = None
    tls: Tls = field(default_factory=Tls)
    header: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None
    timeout: Timeouts = field(default_factory=Timeouts)
    retry: Retry = field(default_factory=Retry)
    redirect: Redirects = field(default_factory=Redirects)
    auth: AuthSettings = field(default_factory=AuthSettings)
    where: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything: the remotes table and the environment's part that concerns fetching.

    `environ` is a snapshot of the environment, for credentials, proxies and trust stores;
    `cache_dir` is "" where access tokens must not be kept.
    """

    remotes: tuple[RemoteSettings, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache_dir: str = ""
    timeout_s: float | None = None
    max_size: int | None = None
    lenient: bool = False
