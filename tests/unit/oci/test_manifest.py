from __future__ import annotations

import json
from typing import Any

import pytest
from support import content

from dist_tool.errors import BadManifest, LimitExceeded, NotFound, Unsupported
from dist_tool.oci import mediatypes
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import (
    BYTES_PER_VALUE,
    CHILDREN_LIMIT,
    MANIFEST_LIMIT,
    is_attestation,
    parse_json,
    parse_manifest,
    select,
)
from dist_tool.oci.platform import Platform

IMAGE = content.image(1)
INDEX = content.index(IMAGE, content.image(2, platform=Platform("linux", "arm64")))


def _with(**changes: Any) -> bytes:
    return content.to_json({**json.loads(IMAGE.manifest.data), **changes})


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_a_manifest_is_its_config_and_layers_in_order(docker: bool) -> None:
    image = content.image(1, docker=docker)
    manifest = parse_manifest(image.manifest.data, image.manifest.media_type)
    assert manifest.children() == tuple(blob.descriptor for blob in (image.config, *image.layers))
    assert (manifest.is_index, manifest.media_type) == (False, image.manifest.media_type)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_index_is_its_manifests_with_their_platforms(docker: bool) -> None:
    index = content.index(IMAGE, docker=docker)
    manifest = parse_manifest(index.manifest.data)
    assert manifest.is_index
    assert manifest.media_type == index.manifest.media_type
    assert [(child.digest, child.platform) for child in manifest.children()] == [
        (IMAGE.manifest.digest, IMAGE.platform)
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"manifests": []}, mediatypes.OCI_INDEX),
        ({"config": IMAGE.config.descriptor.to_json(), "layers": []}, mediatypes.OCI_MANIFEST),
    ],
)
def test_a_document_without_a_type_is_what_it_looks_like(body: object, expected: str) -> None:
    assert parse_manifest(content.to_json(body)).media_type == expected


MOST_VALUES = MANIFEST_LIMIT // BYTES_PER_VALUE
MANY: dict[str, tuple[bytes, bytes]] = {
    "lists": (b"[],", b"[]"),
    "objects": (b"{},", b"{}"),
    "numbers": (b"1,", b"1"),
    "strings": (b'"",', b'""'),
    "strings with quotes and brackets": (rb'"\\\"[{,",', b'""'),
}


@pytest.mark.parametrize(("item", "last"), MANY.values(), ids=MANY)
def test_a_document_of_very_many_values_is_refused_before_it_is_decoded(
    item: bytes, last: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(LimitExceeded, match=f"more than {MOST_VALUES} values"):
        parse_json(b'{"x":[' + item * MOST_VALUES + last + b"]}")


def test_commas_and_brackets_in_strings_are_no_values() -> None:
    text = r"[{,\\\"" * (MOST_VALUES // 2)
    assert parse_json(b'{"x":"' + text.encode() + b'"}')["x"].startswith("[{,")


@pytest.mark.parametrize("data", [b'"' + b"[," * MOST_VALUES, b"\\" + b"," * 10 + b'"' + b"[" * MOST_VALUES])
def test_what_is_no_json_is_found_out_in_one_pass(data: bytes) -> None:
    with pytest.raises((BadManifest, LimitExceeded)):
        parse_json(data)


def test_an_index_of_the_most_children_with_annotations_is_read() -> None:
    entry = IMAGE.manifest.descriptor.to_json()
    entry |= {"platform": IMAGE.platform.to_json(), "annotations": {f"org.example.{n}": str(n) for n in range(8)}}
    data = content.to_json({"schemaVersion": 2, "manifests": [entry] * CHILDREN_LIMIT})
    assert len(parse_manifest(data, limit=len(data)).manifests) == CHILDREN_LIMIT


def test_the_subject_is_known_and_no_child() -> None:
    subject = content.image(9).manifest.descriptor
    manifest = parse_manifest(_with(subject=subject.to_json(), artifactType="a/b"))
    assert (manifest.subject, manifest.artifact_type) == (subject, "a/b")
    assert subject not in manifest.children()


@pytest.mark.parametrize(
    ("change", "declared"),
    [
        ({"manifests": []}, ""),
        ({"manifests": []}, mediatypes.OCI_MANIFEST),
        ({"mediaType": mediatypes.OCI_INDEX}, ""),
        ({"mediaType": mediatypes.OCI_INDEX, "manifests": []}, mediatypes.OCI_INDEX),
        ({}, mediatypes.OCI_INDEX),
        ({}, mediatypes.DOCKER_MANIFEST),
    ],
)
def test_a_document_must_be_one_thing_only(change: dict[str, Any], declared: str) -> None:
    """CVE-2021-41190."""
    with pytest.raises(BadManifest):
        parse_manifest(_with(**change), declared)


@pytest.mark.parametrize(
    "change",
    [
        {"config": None},
        {"config": []},
        {"layers": {}},
        {"layers": "x"},
        {"layers": [1]},
        {"mediaType": 5},
        {"subject": "x"},
        {"Layers": []},
        {"CONFIG": {}},
        {"mediatype": "x"},
        {"FsLayers": []},
    ],
    ids=str,
)
def test_broken_manifests_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadManifest):
        parse_manifest(_with(**change))


def test_a_manifest_needs_a_config() -> None:
    with pytest.raises(BadManifest, match="no config"):
        parse_manifest(content.to_json({"mediaType": mediatypes.OCI_MANIFEST, "layers": []}))


def test_names_that_publishers_choose_may_be_anything() -> None:
    annotations = {"Size": "big", "LAYERS": "many", "mediatype": "x"}
    assert parse_manifest(_with(annotations=annotations)).config == IMAGE.config.descriptor
    labels = {"config": {"Labels": {"Digest": "x"}}, "Config": {"Size": 1}}
    assert parse_json(content.to_json(labels)) == labels


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        ({"fsLayers": [], "schemaVersion": 1}, ""),
        ({}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v1+json"}, ""),
        ({"mediaType": "application/x-other"}, ""),
        ({}, ""),
    ],
)
def test_other_documents_are_unsupported(body: object, declared: str) -> None:
    with pytest.raises(Unsupported):
        parse_manifest(content.to_json(body), declared)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"config": {"size": 1, "size": 2}}',
        b"{} {}",
        b'{"a": "\x00"}',
        b'{"size": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(BadManifest):
        parse_manifest(data)


def test_documents_have_limits() -> None:
    """CVE-2020-1702: not by reading a part, but loudly."""
    with pytest.raises(LimitExceeded, match="11 bytes is over the limit of 10"):
        parse_manifest(b'{"a":"bcd"}', limit=10)
    entry = json.dumps(IMAGE.manifest.descriptor.to_json())
    many = '{"manifests":[' + ",".join([entry] * (CHILDREN_LIMIT + 1)) + "]}"
    with pytest.raises(LimitExceeded, match="10001 manifests"):
        parse_manifest(many.encode())


def _entry(platform: str | None, seed: str, **annotations: str) -> Descriptor:
    return Descriptor(
        Digest.of(seed.encode()), 1, annotations=annotations, platform=Platform.parse(platform) if platform else None
    )


def test_the_first_entry_of_the_best_fit_is_selected() -> None:
    entries = [
        _entry(None, "a"),
        _entry("linux/arm/v6", "b"),
        _entry("linux/arm/v7", "c"),
        _entry("linux/arm/v7", "d"),
        _entry("linux/arm64", "e"),
    ]
    assert select(entries, Platform.parse("linux/arm/v7")) == entries[2]
    assert select(entries[:2], Platform.parse("linux/arm/v7")) == entries[1]
    with pytest.raises(NotFound):
        select(entries[:4], Platform.parse("linux/arm64"))
    assert select(entries[:4], Platform.parse("linux/arm64"), compatible=True) == entries[2]


def test_the_error_without_a_compatible_platform_lists_the_platforms() -> None:
    with pytest.raises(NotFound) as caught:
        select([_entry("linux/arm64", "a"), _entry("linux/386", "b")], Platform.parse("linux/amd64"))
    assert caught.value.hint == "available: linux/arm64, linux/386"
    with pytest.raises(NotFound) as caught:
        select([], Platform.parse("linux/amd64"))
    assert caught.value.hint == "available: none that names a platform"


def test_attestations_are_never_selected() -> None:
    unknown = Descriptor(Digest.of(b"x"), 1, platform=Platform("unknown", "unknown"))
    named = _entry("linux/amd64", "y", **{"vnd.docker.reference.type": "attestation-manifest"})
    image = _entry("linux/amd64", "z")
    assert [is_attestation(entry) for entry in (unknown, named, image)] == [True, True, False]
    assert select([unknown, named, image], Platform.parse("linux/amd64")) == image
