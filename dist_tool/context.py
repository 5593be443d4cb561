"""The context passed to a remote when it is opened."""

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
    """The endpoint, all settings and the operation that a remote is opened for.

    `asked` is the locator before any rewriting, None if it is not known. `shared` holds objects
    that the remotes of one session share; None: the remote creates and closes its own.
    """

    endpoint: Endpoint = field(default_factory=Endpoint)
    settings: Settings = field(default_factory=Settings)
    run: Run = NO_RUN
    asked: Locator | None = None
    shared: Shared | None = None

    def once(self, key: object, make: Callable[[], _T]) -> _T:
        """The shared object of `key`, created on first use; without a session, a new one."""
        return make() if self.shared is None else self.shared.once(key, make)

    @property
    def retry(self) -> Retry:
        """The retry limits of this remote."""
        return self.endpoint.retry_limits
