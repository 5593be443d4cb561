"""What the tests of faults share."""

from __future__ import annotations

import pytest
from support.kinds import KINDS, Locate


@pytest.fixture(params=KINDS)
def locate(request: pytest.FixtureRequest) -> Locate:
    """How the remote of each kind that speaks HTTP is written: `locate(server)`, `locate(server, NAME)`."""
    return KINDS[request.param]
