"""What every kind of remote promises (api.py). A kind without a seeder makes the first test fail."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from contract.conftest import ALL_BLOBS, CONTENT, INDEXED, SEEDERS, SIZES, VARIANTS, Place
from support.content import Blob, flip, image
from support.repositories import fetch, fetch_to, resolve

from dist_tool.api import Listable, NamedFetcher, Referring, Remote
from dist_tool.errors import (
    DigestMismatch,
    DistError,
    InvalidArgument,
    NoDigest,
    NotFound,
    SizeMismatch,
    Truncated,
    Unsupported,
)
from dist_tool.names.hints import Hints, parse_hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes import table
from dist_tool.run import Run
from dist_tool.stream.body import Body
from dist_tool.transfer.opening import FetchOptions

V1 = CONTENT.images["v1"].manifest
SMALL = CONTENT.blobs["small"]
LAYER = CONTENT.images["v1"].layers[0]
ABSENT = Digest.of(b"nobody has this")


def test_every_kind_has_a_seeder_and_every_seeder_a_kind() -> None:
    assert SEEDERS.keys() == table.BUILTIN.keys()


def read(remote: Remote, object_id: object, *words: str) -> bytes:
    out = bytearray()
    fetch_to(remote, str(object_id), out.extend, parse_hints(words), FetchOptions(run=Run(pause=lambda _: None)))
    return bytes(out)


def drain(body: Body, piece: int = 1 << 16) -> bytes:
    out = bytearray()
    view = memoryview(bytearray(piece))
    while got := body.readinto(view):
        out += view[:got]
    body.close()
    return bytes(out)


@pytest.mark.parametrize(
    "form",
    ["SHA256:{0}", "x@SHA256:{0}", "MD5:{0}", "sha256={0}", "{0}", " sha256:{0}", "sha256:{0}\n", "@SHA256:{0}"],
)
def test_a_misspelled_digest_is_refused_and_not_used_as_a_name(remote: Remote, form: str) -> None:
    """Content that was meant to be verified must not come out unverified."""
    object_id = form.format(SMALL.digest.encoded)
    with pytest.raises(InvalidArgument, match="is not a digest"):
        remote.resolve(object_id, Hints())
    with pytest.raises(InvalidArgument, match="is not a digest"):
        read(remote, object_id)


def from_offset(remote: Remote, desc: Descriptor, offset: int) -> bytes:
    """The bytes from `offset`, what a Body gives before it skipped."""
    body = remote.open(desc, offset)
    assert body.offset <= offset
    assert body.total in (None, desc.size)
    return drain(body)[offset - body.offset :]


def test_it_is_a_remote(remote: Remote) -> None:
    assert isinstance(remote, Remote)


@pytest.mark.parametrize("content", ALL_BLOBS, ids=lambda content: f"{content.digest.algorithm}-{len(content.data)}")
def test_every_object_comes_out_by_its_digest_verified(remote: Remote, content: Blob) -> None:
    """Sizes 0, 1, a chunk and its neighbours; sha256, sha384 and sha512; manifests and configs."""
    assert read(remote, content.digest) == content.data


@pytest.mark.parametrize("hints", [Hints(), Hints(content=True)], ids=["resolve only", "and read"])
def test_a_digest_resolves_to_itself(remote: Remote, hints: Hints) -> None:
    for content in (V1, LAYER):
        desc = remote.resolve(str(content.digest), hints)
        assert desc.digest == content.digest
        assert desc.size in (None, len(content.data))


@pytest.mark.parametrize("name", CONTENT.images)
def test_a_name_means_its_manifest(place: Place, remote: Remote, name: str) -> None:
    manifest = CONTENT.images[name].manifest
    if not place.named:
        with pytest.raises(NotFound, match="digests only"):
            read(remote, name)
        return
    assert read(remote, name) == manifest.data
    try:
        desc = resolve(remote, name)
    except NoDigest:
        assert isinstance(remote, NamedFetcher)
        return
    assert (desc.digest, desc.size, desc.media_type, desc.data) == (
        manifest.digest,
        len(manifest.data),
        manifest.media_type,
        None,
    )


@pytest.mark.parametrize("object_id", [str(ABSENT), str(Digest.of(b"nobody", "sha512")), "absent"])
def test_absent_objects_raise_not_found(remote: Remote, object_id: str) -> None:
    with pytest.raises(NotFound):
        read(remote, object_id)


@pytest.mark.parametrize("object_id", ["sha256:short", f"sha256:{'G' * 64}", "@sha256:", f"blake3:{'0' * 64}"])
def test_a_malformed_or_unverifiable_digest_is_refused(remote: Remote, object_id: str) -> None:
    with pytest.raises((InvalidArgument, Unsupported, NoDigest)):
        remote.resolve(object_id, Hints())


def test_a_traversal_is_not_followed(remote: Remote) -> None:
    """CVE-2024-3727."""
    for object_id in ("sha256:../../oci-layout", "../oci-layout", "/etc/passwd"):
        with pytest.raises(DistError):
            read(remote, object_id)


@pytest.mark.parametrize("content", [SMALL, CONTENT.blobs["sha512"], CONTENT.blobs["0 bytes"]])
def test_open_at_an_offset_returns_the_remaining_bytes(remote: Remote, content: Blob) -> None:
    size = len(content.data)
    for offset in sorted({0, min(1, size), size // 2, max(size - 1, 0), size, size + 1, size + 1000}):
        assert from_offset(remote, content.descriptor, offset) == content.data[offset:]


def test_open_at_an_offset_returns_the_remaining_bytes_of_a_manifest(remote: Remote) -> None:
    for offset in (0, 1, len(V1.data) - 1, len(V1.data)):
        assert from_offset(remote, V1.descriptor, offset) == V1.data[offset:]


HINTS = [
    ["type:manifest"],
    ["type:index"],
    ["type:config"],
    ["type:layer"],
    ["type:blob"],
    ["mediatype:application/vnd.oci.image.index.v1+json"],
    ["mediatype:text/plain", "mediatype:image/png"],
    ["x-unknown:anything:with:colons", "platform:linux/arm64"],
    ["-"],
]


@pytest.mark.parametrize("words", HINTS, ids=" ".join)
def test_hints_do_not_change_the_content(place: Place, remote: Remote, words: list[str]) -> None:
    for content in (V1, LAYER, SMALL):
        assert read(remote, content.digest, *words) == content.data
    if place.named:
        assert read(remote, "v1", *words) == V1.data


def test_a_size_hint_is_verified(place: Place, remote: Remote) -> None:
    name = "v1" if place.named else V1.digest
    for object_id, data in ((V1.digest, V1.data), (name, V1.data), (SMALL.digest, SMALL.data)):
        assert read(remote, object_id, f"size:{len(data)}") == data
        for wrong in (0, len(data) - 1):
            with pytest.raises(SizeMismatch):
                read(remote, object_id, f"size:{wrong}")
        # Too few bytes from somebody who declared no length may as well have been cut.
        with pytest.raises((SizeMismatch, Truncated)):
            read(remote, object_id, f"size:{len(data) + 1}")


def test_open_ignores_a_wrong_size_and_media_type_of_the_descriptor(remote: Remote) -> None:
    desc = Descriptor(SMALL.digest, None, "application/vnd.oci.image.manifest.v1+json")
    assert drain(remote.open(desc)) == SMALL.data


def test_two_open_bodies_of_one_object_are_independent(remote: Remote) -> None:
    first, second = (remote.open(SMALL.descriptor) for _ in range(2))
    view = memoryview(bytearray(100))
    out: tuple[bytearray, bytearray] = (bytearray(), bytearray())
    going = True
    while going:
        going = False
        for body, collected in zip((first, second), out, strict=True):
            got = body.readinto(view)
            collected += view[:got]
            going = going or bool(got)
    first.close()
    second.close()
    assert out == (SMALL.data, SMALL.data)


def test_closing_one_body_leaves_the_other_open(remote: Remote) -> None:
    first, second = (remote.open(SMALL.descriptor) for _ in range(2))
    first.close()
    assert drain(second) == SMALL.data


@pytest.fixture
def frozen() -> Iterator[None]:
    """Leave all objects that exist out of collections, which then are fast."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen")
def test_a_body_that_is_closed_unread_leaks_no_resource(place: Place) -> None:
    """ResourceWarnings are errors here: what is not let go of comes to light when it is collected."""
    opened = place.open()
    for offset in (0, 100):
        body = opened.open(CONTENT.blobs[f"{SIZES[-1]} bytes"].descriptor, offset)
        body.close()
        body.close()
    if hasattr(opened, "close"):
        opened.close()
    del opened, body
    gc.collect()


@pytest.mark.usefixtures("frozen")
def test_a_failed_fetch_leaks_no_resource(place: Place) -> None:
    opened = place.open()
    for object_id, words in (("absent", []), (str(ABSENT), []), (str(SMALL.digest), ["size:7"])):
        with pytest.raises(DistError):
            read(opened, object_id, *words)
    if hasattr(opened, "close"):
        opened.close()
    del opened
    gc.collect()


def test_many_threads_may_use_one_remote(remote: Remote) -> None:
    wanted = [*ALL_BLOBS, *ALL_BLOBS]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda content: read(remote, content.digest), wanted)) == [c.data for c in wanted]


def test_close_can_be_called_twice(place: Place) -> None:
    opened = place.open()
    assert read(opened, SMALL.digest) == SMALL.data
    if hasattr(opened, "close"):
        opened.close()
        opened.close()


@pytest.mark.parametrize("bit", [0, len(SMALL.data) * 4 + 3, len(SMALL.data) * 8 - 1])
def test_a_flipped_bit_raises_digest_mismatch(place: Place, bit: int) -> None:
    opened = place.open()
    place.files(SMALL).write_bytes(flip(SMALL.data, bit))
    try:
        with pytest.raises(DigestMismatch):
            read(opened, SMALL.digest)
    finally:
        place.files(SMALL).write_bytes(SMALL.data)
        if hasattr(opened, "close"):
            opened.close()


def test_fetch_returns_a_verified_file(remote: Remote) -> None:
    """The library's way to read: the end is the verdict."""
    desc, body = fetch(remote, str(SMALL.digest))
    with body:
        assert body.read() == SMALL.data
    assert desc.digest == SMALL.digest


# Further powers, of those that have them.


LISTING = pytest.mark.parametrize("place", INDEXED, indirect=True)


@LISTING
def test_tags_lists_all_names(remote: Remote) -> None:
    assert isinstance(remote, Listable)
    assert sorted(remote.tags()) == sorted(CONTENT.images)


@LISTING
def test_an_object_without_referrers_has_an_empty_list(remote: Remote) -> None:
    assert isinstance(remote, Referring)
    assert list(remote.referrers(V1.digest)) == []
    assert list(remote.referrers(ABSENT)) == []


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> Blob:
    """A manifest among the images that is about v1."""
    about = image("signature")
    document = {**json.loads(about.manifest.data), "artifactType": "application/signature"}
    document["subject"] = V1.descriptor.to_json()
    manifest = Blob(json.dumps(document).encode(), about.manifest.media_type)
    monkeypatch.setitem(CONTENT.images, "signature", replace(about, manifest=manifest))  # type: ignore[misc]
    return manifest


@pytest.mark.parametrize("kind", INDEXED)
def test_referrers_of_a_manifest_are_listed_and_filtered(signed: Blob, tmp_path: Path, kind: str) -> None:
    with {**SEEDERS, **VARIANTS}[kind](tmp_path) as place:
        opened = place.open()
        assert isinstance(opened, Referring)
        found = list(opened.referrers(V1.digest))
        assert [desc.digest for desc in found] == [signed.digest]
        for wanted, count in (("application/signature", 1), ("application/sbom", 0)):
            assert len(list(opened.referrers(V1.digest, wanted))) == count
        if hasattr(opened, "close"):
            opened.close()
