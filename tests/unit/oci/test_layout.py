"""The documents of an OCI image layout."""

from __future__ import annotations

import pytest

from dist_tool.errors import BadManifest
from dist_tool.oci.layout import (
    REF_NAME,
    index_document,
    is_supported,
    layout_document,
    layout_version,
    name_of_raw,
    raw_entries,
)


@pytest.mark.parametrize(
    ("document", "version", "supported"),
    [
        (layout_document(), "1.0.0", True),
        ({"imageLayoutVersion": "1.99.0", "more": 1}, "1.99.0", True),
        ({"imageLayoutVersion": "2.0.0"}, "2.0.0", False),
        ({"imageLayoutVersion": "10.0.0"}, "10.0.0", False),
        ({"imageLayoutVersion": 1}, "", False),
        ({}, "", False),
        ([], "", False),
    ],
)
def test_version_of_a_layout(document: object, version: str, supported: bool) -> None:
    assert (layout_version(document), is_supported(layout_version(document))) == (version, supported)


def test_entries_of_an_index() -> None:
    assert raw_entries(index_document([{"digest": "x"}])) == [{"digest": "x"}]
    assert raw_entries({}) == raw_entries([]) == []


def test_index_whose_entries_are_no_list_is_a_bad_manifest() -> None:
    with pytest.raises(BadManifest, match=r"where/index\.json: manifests are not a list"):
        raw_entries({"manifests": {}}, "where/index.json")


@pytest.mark.parametrize(
    ("entry", "name"), [({"annotations": {REF_NAME: "v1"}}, "v1"), ({"annotations": 1}, None), ({}, None), (1, None)]
)
def test_name_of_an_entry_in_json(entry: object, name: object) -> None:
    assert name_of_raw(entry) == name
