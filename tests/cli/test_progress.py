"""Bars, and what is written while they are up."""

from __future__ import annotations

import io
import sys

import pytest

from dist_tool.cli import _progress
from dist_tool.cli._progress import Bars
from dist_tool.run import Event


def test_lines_of_others_stay_whole_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest that is broken in two can be neither copied nor found by grep."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(_progress, "_BARS_AFTER_S", 0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    line = f"dist: warning: [wrong] content for sha256:{'0123456789abcdef' * 4}"
    bars = Bars()
    bars(Event("sha256:00", 1, 100, "moving"))
    sys.stderr.write(f"{line}\n")
    bars.close()
    assert line in terminal.getvalue()
    assert sys.stderr is terminal
