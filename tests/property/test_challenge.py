"""The challenge parser against whatever there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dist_tool.auth.challenges import Challenge, parse_challenges

TOKEN_CHARS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
tokens = st.text(TOKEN_CHARS, min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
challenges = st.builds(Challenge, tokens.map(str.lower), st.dictionaries(tokens.map(str.lower), values, max_size=4))
gaps = st.sampled_from([", ", ",", " ,\t", ",, "])


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(challenge: Challenge) -> str:
    parameters = ",".join(f"{name}={quoted(value)}" for name, value in challenge.parameters.items())
    return f"{challenge.scheme} {parameters}".strip()


@given(st.lists(st.text(max_size=200), max_size=5))
def test_nothing_makes_it_raise(lines: list[str]) -> None:
    for challenge in parse_challenges(lines):
        assert challenge.scheme == challenge.scheme.lower()
        assert all(name == name.lower() for name in challenge.parameters)


@given(st.text('Bearer realm="https://a/t",= \\\t[x', max_size=120))
def test_nothing_that_looks_like_a_challenge_makes_it_raise(line: str) -> None:
    assert all(challenge.scheme for challenge in parse_challenges([line]))


@given(st.lists(challenges, max_size=5), gaps)
def test_well_formed_challenges_survive_in_one_line_or_many(expected: list[Challenge], gap: str) -> None:
    lines = [written(challenge) for challenge in expected]
    assert parse_challenges(lines) == expected
    assert parse_challenges([gap.join(lines)]) == expected


@given(challenges, st.text(max_size=60))
def test_what_is_appended_changes_no_parameter_that_was_there(challenge: Challenge, tail: str) -> None:
    found = parse_challenges([written(challenge) + ", " + tail])
    assert found[0].scheme == challenge.scheme
    assert {name: found[0].parameters[name] for name in challenge.parameters} == challenge.parameters
