from __future__ import annotations

from typing import Any

import pytest
from support import content

from dist_tool.errors import BadManifest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.platform import Platform

DIGEST = Digest.of(b"hello")
MINIMAL: dict[str, Any] = {"mediaType": "a/b", "digest": str(DIGEST), "size": 5}


def test_all_properties_are_read_and_written_in_the_order_of_the_specification() -> None:
    value = {
        **MINIMAL,
        "urls": ["https://example.com/x"],
        "annotations": {"a": "b"},
        "platform": {"architecture": "arm64", "os": "linux"},
        "artifactType": "c/d",
    }
    desc = Descriptor.from_json(value)
    assert desc == Descriptor(
        DIGEST, 5, "a/b", {"a": "b"}, Platform("linux", "arm64"), "c/d", ("https://example.com/x",)
    )
    assert list(desc.to_json().items()) == list(value.items())


def test_embedded_data_comes_along_and_is_not_written_again() -> None:
    desc = Descriptor.from_json({**MINIMAL, "data": "aGVsbG8="})
    assert desc.data == b"hello"
    assert "data" not in desc.to_json()


def test_unknown_properties_are_ignored() -> None:
    assert Descriptor.from_json({**MINIMAL, "x-other": [1], "urls": None, "annotations": None}) == Descriptor(
        DIGEST, 5, "a/b"
    )


def test_a_descriptor_of_unknown_size_has_no_json() -> None:
    with pytest.raises(ValueError, match="not known"):
        Descriptor(DIGEST).to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": True},
        {"size": 1.0},
        {"size": "5"},
        {"size": None},
        {"size": 2**63},
        {"digest": None},
        {"digest": 5},
        {"digest": "sha256:../../../etc/passwd"},
        {"digest": "sha256:abc"},
        {"mediaType": ""},
        {"mediaType": None},
        {"mediaType": 5},
        {"urls": "https://x"},
        {"urls": [1]},
        {"annotations": []},
        {"annotations": {"a": 1}},
        {"platform": "linux/amd64"},
        {"artifactType": 5},
        {"data": 5},
        {"data": "not base64!"},
        {"Size": 6},
        {"MEDIATYPE": "c/d"},
    ],
    ids=str,
)
def test_broken_properties_are_refused(change: dict[str, object]) -> None:
    """Negative sizes: umoci 0.5.1, image-spec #1285. Digests: CVE-2024-3727."""
    with pytest.raises(BadManifest):
        Descriptor.from_json({**MINIMAL, **change})


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_only_objects_are_descriptors(value: object) -> None:
    with pytest.raises(BadManifest):
        Descriptor.from_json(value)


def test_the_generated_content_describes_itself() -> None:
    blob = content.blob(1, 10, "sha512")
    assert Descriptor.from_json(blob.descriptor.to_json()) == blob.descriptor
