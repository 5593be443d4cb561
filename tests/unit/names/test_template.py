"""Where digests and names are, in places without an index of their own."""

from __future__ import annotations

import pytest

from dist_tool.errors import InvalidArgument
from dist_tool.names.template import Template, checked_path, parse_template
from dist_tool.oci.digest import Digest

DIGEST = Digest("sha256", "6e" + "3c" * 31)
HEX = DIGEST.encoded


@pytest.mark.parametrize(
    ("location", "blob", "name"),
    [
        ("", f"sha256/{HEX}", "n"),
        ("a/b", f"a/b/sha256/{HEX}", "a/b/n"),
        ("/a/b/", f"a/b/sha256/{HEX}", "a/b/n"),
        ("{algorithm}/{encoded}", f"sha256/{HEX}", "n"),
        ("blobs/{digest}", f"blobs/{DIGEST}", "blobs/n"),
        ("r/blobs/{algorithm}/{prefix}/{encoded}/data", f"r/blobs/sha256/6e/{HEX}/data", "r/blobs/n"),
        ("a/x-{encoded}.bin", f"a/x-{HEX}.bin", "a/n"),
    ],
)
def test_a_location_says_where_digests_and_names_are(location: str, blob: str, name: str) -> None:
    template = parse_template(location)
    assert template.blob_path(DIGEST) == blob
    assert template.path("n") == name


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("a/../b", "a component of the path is '..'"),
        ("./a", "a component of the path is '.'"),
        ("a//b", "a component of the path is 'empty'"),
        ("{encode}", r"unknown placeholder \{encode\}: use \{algorithm\}"),
        ("{}/{encoded}", r"unknown placeholder \{\}"),
        ("{encoded}/{", "unmatched brace"),
        ("{encoded}}", "unmatched brace"),
        ("{{encoded}}", "unmatched brace"),
        ("{algorithm}/x", "all digests would have the same path"),
        ("{prefix}", "all digests would have the same path"),
    ],
)
def test_an_ambiguous_template_is_refused(location: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse_template(location)


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "..", "a/..", "a/./b", "a\nb", "\x7f", "x" * 1025])
def test_a_path_that_could_escape_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        checked_path(name)


@pytest.mark.parametrize("name", ["a", "a/b", "...", "a..b", ".hidden", "a b", "ü", "{x}", "-x"])
def test_names_may_hold_all_else(name: str) -> None:
    assert Template("", "").path(name) == name
