"""The context that a remote is opened with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dist_tool.names.locator import Locator
from dist_tool.run import NO_RUN, Run, Shared
from dist_tool.settings import Endpoint, Settings
from dist_tool.stream.retry import Retry

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Context:
    """What a remote is opened with: its endpoint, all settings, and the operation that it serves.

    `asked` is the locator before any rewriting, None if it is not known. `shared` has what the
    remotes of one session share; None: the remote has everything for itself and closes it.
    """

    endpoint: Endpoint = field(default_factory=Endpoint)
    settings: Settings = field(default_factory=Settings)
    run: Run = NO_RUN
    asked: Locator | None = None
    shared: Shared | None = None

    def once(self, key: object, make: Callable[[], _T]) -> _T:
        """The shared object of `key`, made when it is first needed; without a session one of its own."""
        return make() if self.shared is None else self.shared.once(key, make)

    @property
    def retry(self) -> Retry:
        """The limits of retrying for this remote."""
        return self.endpoint.retry_limits
