"""Every attack of the corpus, as whoever runs the tests, as an ordinary user, with and without openat2."""

from __future__ import annotations

import pytest
from support.attack_run import Verdict, run_all_as_user
from support.attack_verdict import judge
from support.attacks import ATTACKS, Attack


@pytest.fixture(scope="module")
def as_user() -> dict[str, Verdict]:
    return run_all_as_user()


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_on_an_ordinary_user_stays_inside(attack: Attack, as_user: dict[str, Verdict]) -> None:
    judge(attack, as_user[attack.name])
