"""Explain a name: the endpoints that would be tried, in order, and the file that configures each."""

from __future__ import annotations

from typing import Any, NamedTuple

from dist_tool.errors import InvalidArgument, PolicyRefused
from dist_tool.names.hub import api_host
from dist_tool.names.locator import Locator, is_path, parse_host
from dist_tool.names.reference import ObjectName, parse_object
from dist_tool.settings import CAPABILITIES, Endpoint, Route, Settings


class ExplainedEndpoint(NamedTuple):
    """One endpoint, and how it would be contacted. No field holds secrets.

    `url` is "" for endpoints that are not registries. `tls` None means plain http, or no network
    access. `credentials` has one line for each source, in the order in which they are tried.
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
    """The effective configuration of a name. `refused` is the reason why policy rejects it, "" if it does not."""

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
    """Parse a locator or a reference; a bare locator does not get the tag `latest`. Raises InvalidArgument."""
    try:
        locator = settings.locator(text)
        if locator.kind in ("", "registry") or ":" not in locator.rest:
            return locator, ObjectName()
    except InvalidArgument:
        pass  # it has a tag or a digest, or is invalid as a reference too
    found = settings.reference(text)
    try:
        return found.locator, parse_object(found.object_id) if found.object_id else ObjectName()
    except InvalidArgument:  # a name in a layout, or a path on a server: no setting depends on it
        return found.locator, ObjectName()


def parse_host_or_name(text: str, settings: Settings) -> tuple[Locator, ObjectName]:
    """As `parse_name`, but text that can be a host is parsed as one, with an empty path, as for a login."""
    head = text.partition(":")[0]
    if "/" not in text and not is_path(text) and ("." in head or head.lower() == "localhost" or text.startswith("[")):
        return Locator("", f"{parse_host(text)}/"), ObjectName()
    return parse_name(text, settings)


def explain(locator: Locator, name: ObjectName, settings: Settings) -> Explanation:
    """Look up a name as a fetch would, without network requests and without running a helper.

    `name` is empty if no object was given. Raises InvalidArgument for an invalid file.
    """
    object_name = name if name.tag or name.digest else None
    route = settings.route_for(locator, object_name)
    pin = settings.pins.get(f"{locator.rest}:{name.tag}") if settings.pin_for(locator, name.tag) else None
    policy = settings.policy
    return Explanation(
        locator=str(locator),
        object=str(name),
        prefix=route.prefix if route else "",
        where=route.where if route else "",
        endpoints=tuple(_endpoints(locator, route or Route(), settings)),
        policy={key: {"value": _jsonable(getattr(policy, key)), "where": where} for key, where in policy.where.items()},
        refused=_refusal(locator, object_name, route, settings),
        pin={"digest": str(pin.digest), "where": pin.where} if pin else None,
    )


def _jsonable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _refusal(locator: Locator, name: ObjectName | None, route: Route | None, settings: Settings) -> str:
    try:
        settings.policy.check_name(locator)
        if name is not None:
            settings.check_object(locator, name)
    except PolicyRefused as error:
        return str(error)
    return f"{locator} is blocked: by {route.where}" if route and route.blocked else ""


def _endpoints(locator: Locator, route: Route, settings: Settings) -> list[ExplainedEndpoint]:
    if locator.kind == "path":
        return [_local("path", str(locator), route.own)._replace(role="remote")]
    found = []
    for endpoint in route.endpoints:
        target = route.rewrite(locator, endpoint)
        if target.kind == "registry":
            found.append(_registry(locator, target, endpoint, settings))
        else:
            found.append(_local(target.kind, str(target), endpoint))
    return [each._replace(role="remote" if n == len(found) else "mirror") for n, each in enumerate(found, 1)]


def _local(kind: str, target: str, endpoint: Endpoint) -> ExplainedEndpoint:
    return ExplainedEndpoint(
        "", kind, target, "", _capabilities(endpoint), "", None, tuple(endpoint.header), "", (), endpoint.where
    )


def _capabilities(endpoint: Endpoint) -> tuple[str, ...]:
    return tuple(name for name in CAPABILITIES if endpoint.can(name))


def _registry(locator: Locator, target: Locator, endpoint: Endpoint, settings: Settings) -> ExplainedEndpoint:
    from dist_tool.auth.keychain import Keychain
    from dist_tool.transport.schemes import schemes_for

    scheme = schemes_for(endpoint, target.host)[0]
    api = api_host(target.host)
    return ExplainedEndpoint(
        role="",
        kind="registry",
        target=str(target),
        url=f"{scheme}://{api}{endpoint.api_path}/{target.path}",
        capabilities=_capabilities(endpoint),
        ns=locator.host if endpoint.ns else "",
        tls=_tls(endpoint) if scheme == "https" else None,
        header=tuple(endpoint.header),
        proxy=_proxy(f"{scheme}://{api}", endpoint, settings),
        credentials=tuple(Keychain(endpoint.auth, settings.environ).explain(target.host, target.path)),
        where=endpoint.where,
    )


def _tls(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "verify": not endpoint.tls.skip_verify,
        "ca": list(endpoint.tls.ca),
        "client": [list(pair) for pair in endpoint.tls.client],
        "insecure": endpoint.insecure,
    }


def _proxy(url: str, endpoint: Endpoint, settings: Settings) -> str:
    from dist_tool.names.origin import Origin, redact
    from dist_tool.transport.proxies import proxies_for

    proxy = next(iter(proxies_for(Origin.of(url), endpoint.proxy, settings.environ).values()), "")
    return redact(proxy) if proxy else ""
