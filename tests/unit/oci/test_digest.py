from __future__ import annotations

import hashlib

import pytest

from dist_tool.errors import InvalidArgument, Unsupported
from dist_tool.oci.digest import VERIFIABLE, Digest, new_hasher

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("algorithm", VERIFIABLE)
def test_the_digest_of_bytes_is_what_hashlib_says(algorithm: str) -> None:
    assert str(Digest.of(b"hello", algorithm)) == f"{algorithm}:{hashlib.new(algorithm, b'hello').hexdigest()}"


def test_the_digest_of_nothing_is_the_well_known_one() -> None:
    assert Digest.of(b"") == Digest.parse(EMPTY)


@pytest.mark.parametrize(
    "text",
    [
        EMPTY,
        "sha384:" + "0" * 96,
        "sha512:" + "f" * 128,
        "blake3:" + "a" * 64,
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
        "a:b",
    ],
)
def test_digests_of_the_grammar_parse_and_print_the_same(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        ":abc",
        "latest",
        EMPTY.upper(),
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",  # `$` would take it
        " " + EMPTY,
        EMPTY.replace("e3b0", "E3B0"),
        EMPTY.replace("e3b0", "g3b0"),
        EMPTY.replace("e3b0", "é3b0"),
        "sha256:../../etc/passwd",
        "sha256:" + "/" * 64,
        "../sha256:abc",
        "SHA256:abc",
        "sha256:abc:def",
        "sha-:abc",
        "+sha:abc",
        "sha..x:abc",
        "\u017fha256:abc",
        "foo:" + "a" * 600,
    ],
)
def test_everything_else_is_refused_before_it_can_name_a_path(text: str) -> None:
    """CVE-2024-3727."""
    with pytest.raises(InvalidArgument):
        Digest.parse(text)


def test_the_error_of_a_wrong_digest_length_names_the_right_one() -> None:
    with pytest.raises(InvalidArgument, match="expected 64 lower-case hexadecimal digits, got 63"):
        Digest.parse(EMPTY[:-1])


@pytest.mark.parametrize("algorithm", ["blake3", "md5", "sha1", "no-such"])
def test_weak_algorithms_are_not_computed(algorithm: str) -> None:
    with pytest.raises(Unsupported, match="sha256"):
        new_hasher(algorithm)
    with pytest.raises(Unsupported):
        Digest(algorithm, "00").hasher()
