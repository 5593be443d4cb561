"""Durations and sizes."""

from __future__ import annotations

import pytest

from dist_tool.config import parse_age, parse_bytes, parse_duration
from dist_tool.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("10", 10.0),
        ("1.5", 1.5),
        ("10s", 10.0),
        ("0s", 0.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1h0m1s1ms", 3601.001),
        ("500ms", 0.5),
        ("2m", 120.0),
        ("2m500ms", 120.5),
        ("1.5h", 5400.0),
        ("168h", 604_800.0),
    ],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "-1",
        "+1",
        "1 s",
        "10S",
        "1d",
        "1s1m",
        "1ms1s",
        "1m1m",
        "inf",
        "nan",
        "1e3",
        "1_0",
        "٣",
        "1s\n",
        ".5",
        "5.",
    ],
)
def test_malformed_durations_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["604800.1", "169h", "999999999999h"])
def test_durations_of_more_than_a_week_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="between 0 and 7 days"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("1m30s", 90.0), ("720h", 2_592_000.0), ("876000h", 3.1536e9)]
)
def test_an_age_may_be_of_more_than_a_week(text: str, seconds: float) -> None:
    assert parse_age(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "30d", "inf", "nan"])
def test_malformed_ages_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a duration"):
        parse_age(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("1234", 1234),
        ("12B", 12),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("4MB", 4_000_000),
        ("8MiB", 8 << 20),
        ("8 MiB", 8 << 20),
        ("2GiB", 2 << 30),
        ("3TB", 3 * 10**12),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_are_read_as_bytes(text: str, number: int) -> None:
    assert parse_bytes(text) == number


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1.5MiB", "1M", "1Mb", "1mib", "1_0", "٣", "1 ", "1  MB", "8MiB\n", "0x10"]
)
def test_malformed_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "9999999999TiB"])
def test_sizes_of_more_than_63_bits_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="between 0 and"):
        parse_bytes(text)
