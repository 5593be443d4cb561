"""What the parsers promise of every text, and the values of every spelling."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import content

from dist_tool.errors import DistError, InvalidArgument
from dist_tool.names.hints import KNOWN_KINDS, Hints, parse_hints, parse_size
from dist_tool.names.locator import parse_locator
from dist_tool.names.reference import ObjectName, Reference, parse_object, parse_reference
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import VERIFIABLE, Digest
from dist_tool.oci.manifest import parse_json, parse_manifest, select
from dist_tool.oci.platform import Platform

HEX = "0123456789abcdef"


def _hex(length: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=length, max_size=length)


registered = st.one_of(st.builds(Digest, st.just("sha256"), _hex(64)), st.builds(Digest, st.just("sha512"), _hex(128)))
unregistered = st.from_regex(r"[a-z0-9]{1,8}([.+_-][a-z0-9]{1,5}){0,2}:[a-zA-Z0-9=_-]{1,70}", fullmatch=True).filter(
    lambda text: text.partition(":")[0] not in (*VERIFIABLE, "blake3")
)
digests = st.one_of(registered, unregistered.map(Digest.parse))

_part = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
_path = st.lists(_part, min_size=1, max_size=3).map("/".join)
_name = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?(\.[a-z0-9]{1,6}){1,2}", fullmatch=True)
_host = st.one_of(_name, st.sampled_from(["localhost", "127.0.0.1", "[::1]", "[fe80::2]", "docker.io"]))
_port = st.one_of(st.just(""), st.integers(1, 65535).map(lambda n: f":{n}"))
_file = st.text(string.ascii_letters + string.digits + "._-~ ü", min_size=1, max_size=10)
locators = st.one_of(
    st.builds("{}{}/{}".format, _host, _port, _path),
    _path,
    st.builds("{}{}".format, st.sampled_from(["./", "../", "/", "~/"]), st.lists(_file, max_size=3).map("/".join)),
    st.builds("{}::{}".format, st.sampled_from(["layout", "archive", "s3", "store", "plugin"]), _file),
    st.builds("registry::{}".format, _path),
)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", fullmatch=True)
objects = st.one_of(
    tags.map(ObjectName), digests.map(lambda d: ObjectName("", d)), st.builds(ObjectName, tags, digests)
)
# Texts that look like what is parsed, and texts that look like nothing.
nearly = st.lists(
    st.one_of(
        st.sampled_from(
            ["/", ":", "@", "::", "://", ".", "..", "~", "-", "_", "[", "]", "%", "\n", "\x00", "ü", "٣", "é"]
        ),
        st.sampled_from(
            ["docker.io", "localhost", "sha256:", "a" * 64, "oci", "registry", "size", "mediatype", "A", "5000"]
        ),
        st.text(max_size=5),
    ),
    max_size=8,
).map("".join)
texts = st.one_of(st.text(), nearly)


@given(digests)
def test_a_digest_parses_from_what_it_prints(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest


@given(st.binary(), st.sampled_from(VERIFIABLE))
def test_the_digest_of_anything_parses(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert Digest.parse(str(digest)) == digest


@given(texts)
def test_what_parses_as_a_digest_is_safe_in_paths_and_urls(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidArgument:
        return
    assert str(digest) == text
    assert text.isascii()
    assert not set(text) & set("/\\.%?#&\0 ") or set(digest.encoded).isdisjoint("/\\.%?#&\0 ")


@given(locators)
def test_a_locator_parses_from_what_it_prints(text: str) -> None:
    try:
        locator = parse_locator(text)
    except InvalidArgument:  # 64 hexadecimal digits and the like
        return
    assert parse_locator(str(locator)) == locator


@given(objects)
def test_an_object_parses_from_what_it_prints(name: ObjectName) -> None:
    try:
        parsed = parse_object(str(name))
    except InvalidArgument:  # a tag of 64 hexadecimal digits
        return
    assert parsed == name


@given(locators, st.one_of(st.just(""), tags.map(":{}".format), digests.map("@{}".format), st.just(":a/b:c@d")))
def test_a_reference_parses_from_what_it_prints(locator: str, suffix: str) -> None:
    try:
        reference = parse_reference(locator + suffix)
    except InvalidArgument:
        return
    assert parse_reference(str(reference)) == reference


@given(texts)
def test_whatever_parses_as_a_reference_parses_from_what_it_prints(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidArgument:
        return
    assert parse_reference(str(reference)) == reference


@given(tags, digests)
def test_tag_and_digest_stay_together_in_every_kind_of_place(tag: str, digest: Digest) -> None:
    for place in ("docker.io/library/redis", "./dir", "layout::dir", "http::host.io:80/x"):
        assert parse_reference(f"{place}:{tag}@{digest}") == Reference(parse_locator(place), f"{tag}@{digest}")


platforms = st.builds(
    Platform,
    st.sampled_from(["linux", "windows", "darwin", "freebsd", "Linux", "macos"]),
    st.sampled_from(["amd64", "arm64", "arm", "386", "x86_64", "armhf", "aarch64", "s390x", "ARM"]),
    st.sampled_from(["", "v1", "v2", "v5", "v7", "7", "v8", "8", "v8.2", "v9"]),
    st.from_regex(r"([0-9]{1,3}(\.[0-9]{1,5}){0,3})?", fullmatch=True),
    st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), max_size=2).map(tuple),
)


@given(platforms.map(Platform.normalised))
def test_a_platform_parses_from_what_it_prints(platform: Platform) -> None:
    assert Platform.parse(str(platform)) == platform
    assert platform.normalised() == platform
    assert Platform.from_json(platform.to_json()) == platform
    assert platform in platform.candidates()
    assert platform.accepts(platform)


media_types = st.from_regex(r"[a-z]{1,10}/[a-z]{1,5}(\.[a-z0-9]{1,5}){0,3}(\+[a-z]{1,5})?", fullmatch=True)
other_hints = st.tuples(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(lambda name: name not in ("mediatype", "size", "type")),
    st.from_regex(r"[ -~]{1,10}", fullmatch=True),
)


@given(
    st.builds(
        Hints,
        st.lists(media_types, max_size=3).map(tuple),
        st.one_of(st.none(), st.integers(0, 2**63 - 1)),
        st.sampled_from(["", *KNOWN_KINDS]),
        st.lists(other_hints, max_size=3).map(tuple),
        content=st.just(False),
    ),
    st.randoms(use_true_random=False),
)
def test_hints_parse_from_their_words_in_any_order(hints: Hints, order: random.Random) -> None:
    """Hints of one type stay in their order, which means something; types may be mixed."""
    groups = [
        [f"mediatype:{media_type}" for media_type in hints.media_types],
        [] if hints.size is None else [f"size:{hints.size}"],
        [f"type:{hints.kind}"] if hints.kind else [],
        [f"{name}:{value}" for name, value in hints.other],
        ["-"],
    ]
    words: list[str] = []
    while left := [group for group in groups if group]:
        words.append(order.choice(left).pop(0))
    assert parse_hints(words) == hints


PARSERS: list[Callable[[str], object]] = [
    Digest.parse,
    parse_locator,
    parse_object,
    parse_reference,
    parse_size,
    Platform.parse,
    lambda text: parse_hints([text]),
    lambda text: parse_hints([f"mediatype:{text}"]),
    lambda text: parse_json(text.encode("utf-8", "surrogatepass")),
]


@pytest.mark.parametrize("parser", PARSERS)
@given(texts)
def test_parsers_of_any_text_fail_in_one_printable_line(parser: Callable[[str], object], text: str) -> None:
    try:
        parser(text)
    except DistError as error:
        line = str(error)
        assert line.isprintable()
        assert len(line) <= 1000


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "mediaType",
                    "config",
                    "layers",
                    "manifests",
                    "digest",
                    "size",
                    "platform",
                    "annotations",
                    "subject",
                    "x",
                ]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=15,
)


@given(json_values)
def test_any_json_is_a_manifest_or_a_clean_error(value: object) -> None:
    for parse in (Descriptor.from_json, Platform.from_json, lambda v: parse_manifest(json.dumps(v).encode())):
        with suppress(DistError):
            parse(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_a_clean_error(data: bytes) -> None:
    _parse_cleanly(data)


def _parse_cleanly(data: bytes) -> None:
    with suppress(DistError):
        manifest = parse_manifest(data)
        for child in manifest.children():
            assert Digest.parse(str(child.digest)) == child.digest
        if manifest.is_index:
            select(manifest.manifests, Platform("linux", "amd64"))


_SEEDS = [
    content.image(1).manifest.data,
    content.image(2, docker=True).manifest.data,
    content.index(content.image(1), content.index(content.image(3))).manifest.data,
]
# Pieces that have broken parsers before.
_PIECES = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-1", b"1e999", b"NaN", b"\x00", b"\xff"),
    *(b"9" * 5000, b"[" * 2000, b'{"a":' * 2000, b'"\\ud800"', b'"manifests":[],', b'"layers":{},', b'"size":-1,'),
    *(b'"mediaType":5,', b'"Layers":[],', b'"data":"!",', b'"platform":[],', b'"digest":"sha256:..",', b"\xef\xbb\xbf"),
]


def _mutated(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(_SEEDS))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + rng.randint(1, 30)]
            case 2:
                data[at:at] = rng.choice(_PIECES)
            case _:
                start = rng.randrange(len(data) + 1)
                data[at:at] = data[start : start + rng.randint(1, 60)]
    return bytes(data)


def _parse_mutated(count: int) -> None:
    rng = random.Random(20170119)
    for _ in range(count):
        data = _mutated(rng)
        try:
            _parse_cleanly(data)
        except Exception as error:
            raise AssertionError(f"{data!r}") from error


def test_a_sample_of_mutated_manifests_parses_or_fails_cleanly() -> None:
    _parse_mutated(2000)


@pytest.mark.torture
def test_fifty_thousand_mutated_manifests_parse_or_fail_cleanly() -> None:
    _parse_mutated(50_000)


def test_the_mutations_reach_both_outcomes() -> None:
    """A fuzzer whose inputs are all refused, or all accepted, tests nothing."""
    rng = random.Random(1)
    accepted = 0
    for _ in range(500):
        try:
            parse_manifest(_mutated(rng))
            accepted += 1
        except DistError:
            pass
    assert 25 < accepted < 475
