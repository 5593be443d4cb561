"""`Warning` headers (behaviours B43)."""

from __future__ import annotations

import pytest

from dist_tool.transport.warning_header import warning_texts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('299 - "the tag is deprecated"', ["the tag is deprecated"]),
        ('299 - "one", 299 - "two, with a comma"', ["one", "two, with a comma"]),
        (r'299 - "a \"quoted\" word and a \\ backslash"', ['a "quoted" word and a \\ backslash']),
        ('299  -  "wide"', ["wide"]),
        ('299 - ""', [""]),
        ('199 - "miscellaneous"', []),
        ('299 registry.test "an agent that is none"', []),
        ('299 - "unclosed', []),
        ("299 - unquoted", []),
        ("", []),
    ],
)
def test_the_texts_of_299_are_read_and_all_else_is_ignored(value: str, expected: list[str]) -> None:
    assert warning_texts(value) == expected


def test_a_warning_cannot_drive_a_terminal() -> None:
    assert warning_texts('299 - "\x1b[2Jall is well\r"') == ["\\x1b[2Jall is well\\r"]
    assert warning_texts('299 - "\\\x1b[2J"') == ["\\x1b[2J"]


def test_warnings_are_bounded_in_length_and_number() -> None:
    assert len(warning_texts(f'299 - "{"x" * 10_000}"')[0]) == 300
    assert len(warning_texts(", ".join(['299 - "x"'] * 500))) == 10


@pytest.mark.parametrize("value", ['299 - "' + "\\" * 200_000, "299" + " " * 200_000], ids=["backslashes", "spaces"])
def test_a_hostile_value_is_given_up(value: str) -> None:
    """In time that grows with the value and no faster: else this does not end."""
    assert warning_texts(value) == []
