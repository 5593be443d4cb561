"""Explaining a name: where its objects would be asked for, in order, and by whose word."""

from __future__ import annotations

from typing import Any, NamedTuple

from dist_tool.errors import InvalidArgument, PolicyRefused
from dist_tool.names.reference import HUB, HUB_API, Locator, ObjectName, is_path, parse_host, parse_object
from dist_tool.settings import CAPABILITIES, RemoteSettings, Settings


class ExplainedEndpoint(NamedTuple):
    """One place, as it would be asked. `url` is "" for what is no registry; secrets are in none of this.

    `tls` None means plain http, or no network at all. `credentials` has one line for each
    source, in the order in which they are asked.
    """

    role: str
    kind: str
    target: str
    url: str
    capabilities: tuple[str, ...]
    ns: str
    tls: dict[str, Any] | None
    header: tuple[str, ...]
    proxy: str
    credentials: tuple[str, ...]
    where: str


class Explanation(NamedTuple):
    """What a name comes to. `refused` is what policy says against it, "" for nothing."""

    locator: str
    object: str
    prefix: str
    where: str
    endpoints: tuple[ExplainedEndpoint, ...]
    policy: dict[str, Any]
    refused: str
    pin: dict[str, str] | None

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {**self._asdict(), "endpoints": [endpoint._asdict() for endpoint in self.endpoints]}


def parse_name(text: str, settings: Settings) -> tuple[Locator, ObjectName]:
    """A locator or a reference: a bare locator stays without the tag `latest`. Raises InvalidArgument."""
    try:
        locator = settings.locator(text)
        if locator.kind in ("", "registry") or ":" not in locator.rest:
            return locator, ObjectName()
    except InvalidArgument:
        pass  # it has a tag or a digest, or is wrong both ways
    found = settings.reference(text)
    try:
        return found.locator, parse_object(found.object_id) if found.object_id else ObjectName()
    except InvalidArgument:  # a name in a layout, or a path on a server: nothing is decided by it
        return found.locator, ObjectName()


def parse_host_or_name(text: str, settings: Settings) -> tuple[Locator, ObjectName]:
    """As `parse_name`; but what can be a host is one, as for a login. It has no path."""
    head = text.partition(":")[0]
    if "/" not in text and not is_path(text) and ("." in head or head.lower() == "localhost" or text.startswith("[")):
        return Locator("", f"{parse_host(text)}/"), ObjectName()
    return parse_name(text, settings)


def explain(locator: Locator, name: ObjectName, settings: Settings) -> Explanation:
    """Look a name up as a fetch would; nothing is asked of the network, and no helper is run.

    `name` may be empty, where it is not known. Raises InvalidArgument for a broken file.
    """
    known = name if name.tag or name.digest else None
    remote = settings.remote_for(locator, known)
    pin = settings.pins.get(f"{locator.rest}:{name.tag}") if settings.pin_for(locator, name.tag) else None
    policy = settings.policy
    return Explanation(
        locator=str(locator),
        object=str(name),
        prefix=remote.prefix if remote else "",
        where=remote.where if remote else "",
        endpoints=tuple(_endpoints(locator, remote or RemoteSettings(), settings)),
        policy={key: {"value": _plain(getattr(policy, key)), "where": where} for key, where in policy.where.items()},
        refused=_refusal(locator, known, remote, settings),
        pin={"digest": str(pin.digest), "where": pin.where} if pin else None,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _refusal(locator: Locator, name: ObjectName | None, remote: RemoteSettings | None, settings: Settings) -> str:
    try:
        settings.policy.check_name(locator)
        if name is not None:
            settings.check_object(locator, name)
    except PolicyRefused as error:
        return str(error)
    return f"{locator} is blocked: by {remote.where}" if remote and remote.blocked else ""


def _endpoints(locator: Locator, remote: RemoteSettings, settings: Settings) -> list[ExplainedEndpoint]:
    if locator.kind == "path":
        return [_local("path", str(locator), remote)._replace(role="remote")]
    found = []
    for endpoint in remote.endpoints:
        target = endpoint.rewrite(locator)
        if target.kind == "registry":
            found.append(_registry(locator, target, endpoint, settings))
        else:
            found.append(_local(target.kind, str(target), endpoint))
    return [place._replace(role="remote" if n == len(found) else "mirror") for n, place in enumerate(found, 1)]


def _local(kind: str, target: str, remote: RemoteSettings) -> ExplainedEndpoint:
    return ExplainedEndpoint(
        "", kind, target, "", _capabilities(remote), "", None, tuple(remote.header), "", (), remote.where
    )


def _capabilities(remote: RemoteSettings) -> tuple[str, ...]:
    return tuple(word for word in CAPABILITIES if remote.can(word))


def _registry(locator: Locator, target: Locator, remote: RemoteSettings, settings: Settings) -> ExplainedEndpoint:
    from dist_tool.auth.keychain import Keychain

    scheme = schemes(remote, target.host)[0]
    api = HUB_API if target.host == HUB else target.host
    return ExplainedEndpoint(
        role="",
        kind="registry",
        target=str(target),
        url=f"{scheme}://{api}{remote.api_path}/{target.path}",
        capabilities=_capabilities(remote),
        ns=locator.host if remote.ns else "",
        tls=_tls(remote) if scheme == "https" else None,
        header=tuple(remote.header),
        proxy=_proxy(f"{scheme}://{api}", remote, settings),
        credentials=tuple(Keychain(remote.auth, settings.environ).explain(target.host, target.path)),
        where=remote.where,
    )


def schemes(remote: RemoteSettings, host: str) -> tuple[str, ...]:
    """The schemes that a registry is tried with, in order (behaviours B51, D10)."""
    from dist_tool.names.origin import is_loopback

    if remote.plain_http is not None:
        return ("http",) if remote.plain_http else ("https",)
    if is_loopback(host) and not remote.tls.ca:
        return ("http", "https")
    return ("https", "http") if remote.insecure else ("https",)


def _tls(remote: RemoteSettings) -> dict[str, Any]:
    return {
        "verify": not remote.tls.skip_verify,
        "ca": list(remote.tls.ca),
        "client": [list(pair) for pair in remote.tls.client],
        "insecure": remote.insecure,
    }


def _proxy(url: str, remote: RemoteSettings, settings: Settings) -> str:
    from dist_tool.names.origin import Origin, redact
    from dist_tool.transport.proxies import proxies_for

    proxy = next(iter(proxies_for(Origin.of(url), remote.proxy, settings.environ).values()), "")
    return redact(proxy) if proxy else ""
