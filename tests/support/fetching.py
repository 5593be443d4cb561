"""Fetching in this process, with everything noted and nothing waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dist_tool.errors import DistError
from dist_tool.names.hints import parse_hints
from dist_tool.names.locator import parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import Notice, Run
from dist_tool.settings import Endpoint, Route, Settings, Timeouts
from dist_tool.stream.retry import Retry
from dist_tool.transfer.opening import FetchOptions
from support.repositories import fetch_to
from support.repositories import opened as open_remote

# Limits for servers that are silent on purpose. All others answer within a millisecond.
SHORT = Timeouts(connect_s=2.0, headers_s=0.25, idle_s=0.25, floor=1024, floor_window_s=0.25)


@dataclass(slots=True)
class Outcome:
    """What a fetch came to. `waits` are the seconds that it would have slept."""

    data: bytes = b""
    error: DistError | None = None
    desc: Descriptor | None = None
    notices: list[Notice] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code."""
        return self.error.exit_code if self.error else 0

    @property
    def said(self) -> str:
        """Everything that could be shown to a user, debug output included."""
        lines = [notice.text for notice in self.notices]
        if self.error is not None:
            lines += [str(self.error), repr(self.error), *self.error.attempts, *map(str, self.error.registry_errors)]
        return "\n".join(lines)


def fetch(
    locator: str,
    object_id: object,
    *hints: str,
    remote: Endpoint | Route | None = None,
    settings: Settings | None = None,
    attempts: int = 5,
    max_stall_s: float = 75.0,
    deadline: float | None = None,
) -> Outcome:
    """Fetch as the command does; failures are in the outcome.

    `remote` is configured for the locator's host: an endpoint, or a route with mirrors. Its retries do not sleep.
    """
    outcome = Outcome()
    run = Run(outcome.notices.append, deadline=deadline, pause=outcome.waits.append, random=lambda: 0.0)
    retry = Retry(attempts=attempts, max_stall_s=max_stall_s)
    parsed = parse_locator(locator)
    route = remote if isinstance(remote, Route) else Route(endpoints=(remote or Endpoint(),))
    own = replace(route.own, kind=route.own.kind or parsed.kind, retry=retry)
    route = replace(route, prefix=parsed.host, endpoints=(*route.mirrors, own))
    settings = replace(settings or Settings(), routes=(route,))
    pieces: list[bytes] = []
    try:
        with open_remote(parsed, settings, run) as opened:
            options = FetchOptions(retry, settings.max_size, run=run)
            outcome.desc = fetch_to(
                opened, str(object_id), lambda view: pieces.append(bytes(view)), parse_hints(hints), options
            )
    except DistError as error:
        outcome.error = error.with_facts(object_id=str(object_id))
    outcome.data = b"".join(pieces)
    return outcome


def with_environment(**environ: str) -> Settings:
    """Settings with nothing but an environment."""
    return Settings(environ=environ)


def docker_config(passwords: Mapping[str, str]) -> str:
    """The text of a docker config.json; `passwords` maps hosts to USER:PASSWORD."""
    import json
    from base64 import b64encode

    auths = {host: {"auth": b64encode(login.encode()).decode()} for host, login in passwords.items()}
    return json.dumps({"auths": auths})
