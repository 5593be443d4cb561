"""Choosing a platform where an index does not name it: how much is asked."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable

import pytest
from support.content import Blob, image, to_json
from support.repositories import over

from dist_tool.errors import LimitExceeded, NotFound
from dist_tool.images.select import ASKED_LIMIT, select_image
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from dist_tool.oci.platform import Platform
from dist_tool.stream.body import Body

ARM, AMD = Platform.parse("linux/arm64"), Platform.parse("linux/amd64")
CONFIG = image("select", platform=ARM).config


class Counted:
    """A remote of blobs in memory that counts what is opened."""

    def __init__(self, blobs: Iterable[Blob]) -> None:
        self._blobs = {blob.digest: blob for blob in blobs}
        self.opened: Counter[Digest] = Counter()

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        return self._blobs[Digest.parse(object_id)].descriptor

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        self.opened[desc.digest] += 1
        return Body(io.BytesIO(self._blobs[desc.digest].data))


def _manifest(number: int, config: Blob = CONFIG) -> Blob:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {**config.descriptor.to_json(), "mediaType": OCI_CONFIG},
        "layers": [],
        "annotations": {"number": str(number)},
    }
    return Blob(to_json(document), OCI_MANIFEST)


def _index(entries: Iterable[Blob]) -> Blob:
    return Blob(to_json({"schemaVersion": 2, "manifests": [each.descriptor.to_json() for each in entries]}), OCI_INDEX)


def _find(wanted: Platform, *entries: Blob, more: Iterable[Blob] = ()) -> tuple[Counted, Descriptor | Exception]:
    index = _index(entries)
    remote = Counted([index, CONFIG, *entries, *more])
    try:
        return remote, select_image(over(remote), str(index.digest), wanted).desc
    except (NotFound, LimitExceeded) as error:
        return remote, error


def test_one_config_is_read_once_for_all_entries() -> None:
    entries = [_manifest(number) for number in range(50)]
    remote, found = _find(AMD, *entries)
    assert isinstance(found, NotFound)
    assert remote.opened[CONFIG.digest] == 1
    assert remote.opened.total() == 1 + 50 + 1


def test_an_entry_that_is_repeated_is_read_once() -> None:
    remote, found = _find(AMD, *[_manifest(1)] * 500)
    assert isinstance(found, NotFound)
    assert remote.opened.total() == 3


def test_more_entries_without_a_platform_than_the_limit_are_refused() -> None:
    remote, found = _find(AMD, *[_manifest(number) for number in range(ASKED_LIMIT + 1)])
    assert isinstance(found, LimitExceeded)
    assert (found.exit_code, found.hint) == (5, "give the digest of the manifest")
    assert remote.opened.total() == 1 + ASKED_LIMIT + 1


def test_the_last_entry_within_the_limit_is_found() -> None:
    config = image("select", platform=AMD).config
    last = _manifest(0, config)
    _, found = _find(AMD, *[_manifest(number) for number in range(1, ASKED_LIMIT)], last, more=[config])
    assert isinstance(found, Descriptor)
    assert found.digest == last.digest


@pytest.mark.parametrize("wanted", [ARM, AMD])
def test_the_limit_is_that_of_all_nested_indexes_together(wanted: Platform) -> None:
    inner = [_manifest(number) for number in range(ASKED_LIMIT)]
    nested = _index(inner)
    remote, found = _find(wanted, _manifest(1000), nested, more=inner)
    assert isinstance(found, Descriptor if wanted == ARM else LimitExceeded)
    assert remote.opened.total() <= ASKED_LIMIT + 3
