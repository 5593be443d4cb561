"""Assertions about the verdict of an attack: nothing outside is changed, and inside is what is expected."""

from __future__ import annotations

from typing import Any

from support.attack_run import Verdict
from support.attacks import Attack


def judge(attack: Attack, verdict: Verdict) -> None:
    """Nothing outside changed, and inside is what should be."""
    assert verdict.harm == []
    if attack.refused is not None:
        assert verdict.outcome != "applied"
        classes = {found.__name__ for found in _with_subclasses(attack.refused)}
        assert verdict.outcome in classes, verdict.message
        assert verdict.exit_code == 5
    elif attack.inside is not None:
        assert (verdict.outcome, verdict.message) == ("applied", "")
        assert verdict.inside == {path: _text(value) for path, value in attack.inside.items()}
    assert "\n" not in verdict.message
    assert "\x1b" not in verdict.message


def _with_subclasses(kind: type[object]) -> set[type[object]]:
    return {kind}.union(*(_with_subclasses(sub) for sub in kind.__subclasses__()))


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value
