"""Every attack of the corpus, as whoever runs the tests, as an ordinary user, with and without openat2."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.attack_run import run_attack
from support.attack_verdict import judge
from support.attacks import ATTACKS, Attack

from dist_tool.layers.options import ApplyOptions
from dist_tool.rootfs import openat2


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
@pytest.mark.parametrize("use_openat2", [True, False], ids=["openat2", "walk"])
def test_attack_stays_inside(attack: Attack, tmp_path: Path, *, use_openat2: bool) -> None:
    if use_openat2 and not openat2.is_available():
        pytest.skip("no openat2 here")
    here = tmp_path / "here"
    here.mkdir()
    judge(attack, run_attack(attack, here, ApplyOptions(use_openat2=use_openat2)))


def test_the_corpus_names_the_incidents_that_it_covers() -> None:
    """security.md, section 2.3."""
    sources = " ".join(attack.source for attack in ATTACKS)
    for incident in (
        *("CVE-2007-4559", "CVE-2025-4517", "CVE-2014-6407", "CVE-2014-9356", "CVE-2018-15664", "CVE-2019-14271"),
        *("CVE-2021-32760", "CVE-2025-47290", "CVE-2021-29136", "CVE-2021-21272", "GHSA-fxhp-mv3v-67qp"),
        *("CVE-2026-62268", "CVE-2024-9676", "CVE-2025-62518", "CVE-2026-33055", "GHSA-3cv2-h65g-fgmm"),
    ):
        assert incident in sources, incident
