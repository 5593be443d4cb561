"""An HTTP session whose notices are kept."""

from __future__ import annotations

from typing import Any

from dist_tool.context import Context
from dist_tool.names.origin import Origin
from dist_tool.run import Notice, Run
from dist_tool.settings import Endpoint, Settings
from dist_tool.transport.session import HttpSession

HOME = "https://registry.test"


def session(home: str = HOME, *, environ: dict[str, str] | None = None, **remote: Any) -> HttpSession:
    """A session with the server `home`; `remote` are settings of its endpoint. Notices are in `notices`."""
    notices: list[Notice] = []
    settings = Settings(environ=environ or {})
    made = HttpSession(Origin.of(home), Context(Endpoint(**remote), settings, Run(notices.append)))
    made.notices = notices  # type: ignore[attr-defined]
    return made
