"""Every attack of the corpus, as whoever runs the tests, as an ordinary user, with and without openat2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.attack_run import Verdict, run_all_as_user, run_attack
from support.attacks import ATTACKS, Attack

from dist_tool.layers.options import ApplyOptions
from dist_tool.rootfs import openat2


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


def _with_subclasses(kind: type) -> set[type]:
    return {kind}.union(*(_with_subclasses(sub) for sub in kind.__subclasses__()))


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
@pytest.mark.parametrize("use_openat2", [True, False], ids=["openat2", "walk"])
def test_attack_stays_inside(attack: Attack, tmp_path: Path, *, use_openat2: bool) -> None:
    if use_openat2 and not openat2.is_available():
        pytest.skip("no openat2 here")
    here = tmp_path / "here"
    here.mkdir()
    judge(attack, run_attack(attack, here, ApplyOptions(use_openat2=use_openat2)))


@pytest.fixture(scope="module")
def as_user() -> dict[str, Verdict]:
    return run_all_as_user()


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_on_an_ordinary_user_stays_inside(attack: Attack, as_user: dict[str, Verdict]) -> None:
    judge(attack, as_user[attack.name])


def test_the_corpus_is_as_large_as_promised_and_names_its_sources() -> None:
    """security.md, section 5: at least 80 layers; 2.3: incident by incident."""
    assert len(ATTACKS) >= 80
    sources = " ".join(attack.source for attack in ATTACKS)
    for incident in (
        *("CVE-2007-4559", "CVE-2025-4517", "CVE-2014-6407", "CVE-2014-9356", "CVE-2018-15664", "CVE-2019-14271"),
        *("CVE-2021-32760", "CVE-2025-47290", "CVE-2021-29136", "CVE-2021-21272", "GHSA-fxhp-mv3v-67qp"),
        *("CVE-2026-62268", "CVE-2024-9676", "CVE-2025-62518", "CVE-2026-33055", "GHSA-3cv2-h65g-fgmm"),
    ):
        assert incident in sources, incident
