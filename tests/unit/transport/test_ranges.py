"""What a server sent of what was asked for (behaviours B25-B27, trap T5)."""

from __future__ import annotations

import pytest
from requests.structures import CaseInsensitiveDict

from dist_tool.transport.ranges import Extent, content_length, extent

CASES: list[tuple[str, int, dict[str, str], int, Extent | None]] = [
    # A 200 is the whole, whatever was asked.
    ("whole", 200, {"Content-Length": "100"}, 0, Extent(0, 100)),
    ("whole, no length", 200, {}, 0, Extent(0, None)),
    ("range ignored", 200, {"Content-Length": "100"}, 40, Extent(0, 100)),
    ("range ignored, a Content-Range all the same", 200, {"Content-Range": "bytes 40-99/100"}, 40, Extent(0, None)),
    # A 206 is believed where it is exactly what was asked for.
    ("exact", 206, {"Content-Range": "bytes 40-99/100", "Content-Length": "60"}, 40, Extent(40, 100)),
    ("exact, chunked", 206, {"Content-Range": "bytes 40-99/100"}, 40, Extent(40, 100)),
    ("total unknown", 206, {"Content-Range": "bytes 40-99/*", "Content-Length": "60"}, 40, Extent(40, None)),
    ("spaces around", 206, {"Content-Range": " bytes 40-99/100 "}, 40, Extent(40, 100)),
    ("lower-case name", 206, {"content-range": "bytes 40-99/100"}, 40, Extent(40, 100)),
    ("starts earlier", 206, {"Content-Range": "bytes 0-99/100"}, 40, None),
    ("starts later", 206, {"Content-Range": "bytes 41-99/100"}, 40, None),
    ("stops short", 206, {"Content-Range": "bytes 40-98/100"}, 40, None),
    ("beyond the end", 206, {"Content-Range": "bytes 40-100/100"}, 40, None),
    ("backwards", 206, {"Content-Range": "bytes 40-39/100"}, 40, None),
    ("length disagrees", 206, {"Content-Range": "bytes 40-99/100", "Content-Length": "59"}, 40, None),
    ("no Content-Range", 206, {"Content-Length": "60"}, 40, None),
    ("two Content-Ranges", 206, {"Content-Range": "bytes 40-99/100, bytes 40-99/100"}, 40, None),
    ("other unit", 206, {"Content-Range": "items 40-99/100"}, 40, None),
    ("no unit", 206, {"Content-Range": "40-99/100"}, 40, None),
    ("number with underscore", 206, {"Content-Range": "bytes 4_0-99/100"}, 40, None),
    ("digits of another script", 206, {"Content-Range": "bytes ٤٠-99/100"}, 40, None),
    ("newline at the end", 206, {"Content-Range": "bytes 40-99/100\n7"}, 40, None),
    ("number without bounds", 206, {"Content-Range": f"bytes 40-{'9' * 5000}/*"}, 40, None),
    (
        "several parts",
        206,
        {"Content-Range": "bytes 40-99/100", "Content-Type": "Multipart/ByteRanges; boundary=x"},
        40,
        None,
    ),
    ("unsatisfied form in a 206", 206, {"Content-Range": "bytes */100"}, 100, None),
    # A 416 is good news where the object ends where we are.
    ("complete", 416, {"Content-Range": "bytes */100"}, 100, Extent(100, 100)),
    ("shorter than what we have", 416, {"Content-Range": "bytes */60"}, 100, None),
    ("longer than what we have", 416, {"Content-Range": "bytes */160"}, 100, None),
    ("416, total unknown", 416, {"Content-Range": "bytes */*"}, 100, None),
    ("416 without Content-Range", 416, {}, 100, None),
    ("416 with a range", 416, {"Content-Range": "bytes 0-99/100"}, 100, None),
    # Others hold no object.
    ("created", 201, {"Content-Range": "bytes 40-99/100"}, 40, None),
]


@pytest.mark.parametrize(
    ("status", "headers", "asked", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_an_answer_is_where_it_says_or_unusable(
    status: int, headers: dict[str, str], asked: int, expected: Extent | None
) -> None:
    assert extent(status, CaseInsensitiveDict(headers), asked) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("100", 100),
        (" 100 ", 100),
        ("9223372036854775807", 2**63 - 1),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1_0", None),
        ("1.0", None),
        ("0x10", None),
        ("٣", None),
        ("²", None),
        ("10, 10", None),
        ("1" * 20, None),
        ("9" * 5000, None),
    ],
)
def test_a_length_is_ascii_digits_and_nothing_else(value: str, expected: int | None) -> None:
    """Trap T7."""
    assert content_length({"Content-Length": value}) == expected


def test_a_length_beside_a_transfer_coding_counts_for_nothing() -> None:
    """RFC 9112, 6.3: the coding frames the body."""
    assert content_length(CaseInsensitiveDict({"Content-Length": "5", "transfer-encoding": "chunked"})) is None
