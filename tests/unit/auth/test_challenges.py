"""WWW-Authenticate as servers and libraries really write it (behaviours C2, C3, trap T6)."""

from __future__ import annotations

import pytest

from dist_tool.auth.challenges import Challenge, parse_challenges

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/redis:pull"'


def test_the_hubs_challenge_is_read() -> None:
    assert parse_challenges([HUB]) == [
        Challenge(
            "bearer",
            {
                "realm": "https://auth.docker.io/token",
                "service": "registry.docker.io",
                "scope": "repository:library/redis:pull",
            },
        )
    ]


T6 = [
    "Negotiate",
    'Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a/b:pull,push"',
    'Basic realm="x, y"',
]


@pytest.mark.parametrize("values", [[", ".join(T6)], T6], ids=["one line", "three lines"])
def test_quoted_commas_do_not_split_challenges(values: list[str]) -> None:
    assert parse_challenges(values) == [
        Challenge("negotiate", {}),
        Challenge("bearer", {"realm": "https://a/t?x=1,2", "service": "s", "scope": "repository:a/b:pull,push"}),
        Challenge("basic", {"realm": "x, y"}),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('BEARER Realm="R"', [Challenge("bearer", {"realm": "R"})]),
        (r'Basic realm="a \"quoted\" \\ realm"', [Challenge("basic", {"realm": r'a "quoted" \ realm'})]),
        ('Bearer realm = "r" ,\tservice\t=\ts', [Challenge("bearer", {"realm": "r", "service": "s"})]),
        (
            "Bearer realm=https://auth.test/token,service=reg",
            [Challenge("bearer", {"realm": "https://auth.test/token", "service": "reg"})],
        ),
        ('Bearer realm="r" service="s"', [Challenge("bearer", {"realm": "r", "service": "s"})]),
        ('Bearer realm="r",,  ,service="s",', [Challenge("bearer", {"realm": "r", "service": "s"})]),
        ('Bearer realm="r",scope=""', [Challenge("bearer", {"realm": "r", "scope": ""})]),
        (
            'Negotiate YII/abc+def==, Basic realm="r"',
            [Challenge("negotiate", {}), Challenge("basic", {"realm": "r"})],
        ),
        ('Negotiate Basic realm="r"', [Challenge("negotiate", {}), Challenge("basic", {"realm": "r"})]),
        ('Basic realm="r",Basic realm="s"', [Challenge("basic", {"realm": "r"}), Challenge("basic", {"realm": "s"})]),
        ('Basic realm="ü"', [Challenge("basic", {"realm": "ü"})]),
    ],
)
def test_what_servers_write_is_understood(value: str, expected: list[Challenge]) -> None:
    assert parse_challenges([value]) == expected


def test_the_first_of_repeated_parameters_counts() -> None:
    assert parse_challenges(['Bearer realm="https://a.test/t",realm="https://evil.test/t"']) == [
        Challenge("bearer", {"realm": "https://a.test/t"})
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (", ,\t,", []),
        ('realm="nobody"', []),
        ('"stray", Basic realm="r"', [Challenge("basic", {"realm": "r"})]),
        ('[?], Basic realm="r"', [Challenge("basic", {"realm": "r"})]),
        ('Bearer realm="never closed, Basic realm=', [Challenge("bearer", {})]),
        ('Bearer service="s",realm="cut\\', [Challenge("bearer", {"service": "s"})]),
        ('Bearer =x, realm="r"', []),
        ('Basic realm=abc"def", charset="UTF-8"', [Challenge("basic", {"realm": "abc", "charset": "UTF-8"})]),
    ],
)
def test_malformed_parts_are_skipped(value: str, expected: list[Challenge]) -> None:
    assert parse_challenges([value]) == expected


@pytest.mark.parametrize(
    ("hostile", "found"),
    [
        ("a " * 100_000, 99_999),
        ("a=" * 100_000, 0),
        ('"' * 200_000, 0),
        ("a\\" * 100_000, 1),
        ('a="' + "\\" * 200_000, 0),
        ("a ==" * 50_000, 0),
        (",=" * 100_000, 0),
        ('a="b' * 50_000, 1),
        ("[" * 200_000, 0),
        ("x y/" * 50_000, 2),
    ],
)
def test_hostile_headers_are_not_read_over_and_over(hostile: str, found: int) -> None:
    """Quadratic work on 200 kB would be 10^10 steps: this test would not end."""
    assert len(parse_challenges([hostile])) == found
