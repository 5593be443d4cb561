"""Tags and referrers, page by page (behaviours B44-B47)."""

from __future__ import annotations

import json

import pytest
from support.content import Blob, image, to_json
from support.mocked import HOST, REPOSITORY, MockedRegistry

from dist_tool.errors import (
    BadManifest,
    DistError,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    ProtocolError,
    ServerError,
)
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from dist_tool.remotes.registry.listing import referrers_tag

FIRST = "tags/list?n=1000"
SUBJECT = image("subject").manifest.digest
REFERRERS = f"referrers/{SUBJECT}"


def _page(registry: MockedRegistry, tail: str, tags: object, link: str | None = None) -> None:
    registry.answer("GET", tail, body=to_json({"name": REPOSITORY, "tags": tags}), Link=link)


def _tags(registry: MockedRegistry) -> list[str]:
    return list(registry.remote().tags())


def test_one_page_is_one_request(mocked_registry: MockedRegistry) -> None:
    _page(mocked_registry, FIRST, ["b", "a"])
    assert _tags(mocked_registry) == ["b", "a"]
    assert mocked_registry.headers("Accept") == ["application/json"]


@pytest.mark.parametrize("tags", [None, []])
def test_a_repository_without_tags_is_empty(mocked_registry: MockedRegistry, tags: object) -> None:
    _page(mocked_registry, FIRST, tags)
    assert _tags(mocked_registry) == []


@pytest.mark.parametrize(
    "link",
    [
        f'</v2/{REPOSITORY}/tags/list?last=a&n=1>; rel="next"',
        f'<https://{HOST}/v2/{REPOSITORY}/tags/list?last=a&n=1>; rel="next"',
        f"<https://{HOST}:443/v2/{REPOSITORY}/tags/list?last=a&n=1>; rel=next",
        '<list?last=a&n=1>; rel="next"',
        '<?last=a&n=1>;rel="next"',
        '</v2/>; rel="first", <list?last=a&n=1>; title="x,y"; REL="last next"',
    ],
)
def test_a_link_leads_to_the_next_page(mocked_registry: MockedRegistry, link: str) -> None:
    """Behaviours B44."""
    _page(mocked_registry, FIRST, ["a"], link)
    _page(mocked_registry, "tags/list?last=a&n=1", ["b"])
    assert _tags(mocked_registry) == ["a", "b"]


@pytest.mark.parametrize("link", ["", "nonsense", '<list?last=a>; rel="prev"', '<list?last=a; rel="next"', "<list>"])
def test_without_a_next_link_the_page_is_the_last(mocked_registry: MockedRegistry, link: str) -> None:
    """Behaviours B44."""
    _page(mocked_registry, FIRST, ["a"], link)
    assert _tags(mocked_registry) == ["a"]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/v2/team/app/tags/list?last=a",
        f"https://{HOST}:444/v2/team/app/tags/list?last=a",
        f"http://{HOST}/v2/team/app/tags/list?last=a",
        "//evil.test/v2/team/app/tags/list",
        f"https://{HOST}@evil.test/v2/team/app/tags/list",
        f"https://{HOST}.evil.test/v2/team/app/tags/list",
        "/v2/other/app/tags/list?last=a",
        "/v2/team/app/../../other/tags/list",
        "file:///etc/passwd",
        "http://[::1/",
    ],
)
def test_a_next_link_to_another_host_is_not_followed(mocked_registry: MockedRegistry, target: str) -> None:
    """GHSA-h7vf-4x9w-h99v, ggcr #2332: the next page on another host was followed, token and all. Behaviours B44."""
    _page(mocked_registry, FIRST, ["a"], f'<{target}>; rel="next"')
    with pytest.raises(ProtocolError):
        _tags(mocked_registry)
    assert len(mocked_registry.asked) == 1


def test_a_pagination_loop_is_an_error(mocked_registry: MockedRegistry) -> None:
    _page(mocked_registry, FIRST, ["a"], '<list?last=a>; rel="next"')
    _page(mocked_registry, "tags/list?last=a", ["b"], '<list?n=1000>; rel="next"')
    with pytest.raises(ProtocolError, match="pagination loop"):
        _tags(mocked_registry)


def test_at_most_a_hundred_pages_are_requested(mocked_registry: MockedRegistry) -> None:
    """Behaviours B44."""
    _page(mocked_registry, FIRST, ["t"], '<list?last=1>; rel="next"')
    for number in range(1, 100):
        _page(mocked_registry, f"tags/list?last={number}", ["t"], f'<list?last={number + 1}>; rel="next"')
    tags = mocked_registry.remote().tags()
    assert [next(tags) for _ in range(100)] == ["t"] * 100
    with pytest.raises(LimitExceeded, match="more than 100 pages"):
        next(tags)
    assert len(mocked_registry.asked) == 100


@pytest.mark.parametrize("tags", [[1], [None], [{"name": "a"}]])
def test_a_list_of_other_things_than_tags_is_an_error(mocked_registry: MockedRegistry, tags: object) -> None:
    _page(mocked_registry, FIRST, tags)
    with pytest.raises(ProtocolError):
        _tags(mocked_registry)


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"tags":[]}' * 2])
def test_a_list_that_is_no_json_is_an_error(mocked_registry: MockedRegistry, body: bytes) -> None:
    mocked_registry.answer("GET", FIRST, body=body)
    with pytest.raises(BadManifest):
        _tags(mocked_registry)


def test_pages_are_asked_for_as_they_are_needed(mocked_registry: MockedRegistry) -> None:
    _page(mocked_registry, FIRST, ["a", "b"], '<list?last=b>; rel="next"')
    tags = mocked_registry.remote().tags()
    assert [next(tags), next(tags)] == ["a", "b"]
    assert len(mocked_registry.asked) == 1


# Referrers.


def _entry(name: str, artifact_type: str) -> dict[str, object]:
    content = Blob(name.encode(), OCI_MANIFEST)
    return {**content.descriptor.to_json(), "artifactType": artifact_type}


SBOM, SIGNATURE = _entry("sbom", "application/sbom"), _entry("signature", "application/signature")


def _index(*entries: dict[str, object]) -> bytes:
    return to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)})


def _referrers(registry: MockedRegistry, artifact_type: str = "") -> list[str]:
    return [str(desc.digest) for desc in registry.remote().referrers(SUBJECT, artifact_type)]


def _digests(*entries: dict[str, object]) -> list[str]:
    return [str(entry["digest"]) for entry in entries]


def test_referrers_are_what_the_registry_lists(mocked_registry: MockedRegistry) -> None:
    """Behaviours B46."""
    mocked_registry.answer("GET", REFERRERS, body=_index(SBOM, SIGNATURE), Content_Type=OCI_INDEX)
    assert _referrers(mocked_registry) == _digests(SBOM, SIGNATURE)
    assert mocked_registry.headers("Accept") == [OCI_INDEX]


def test_pages_of_referrers_are_followed(mocked_registry: MockedRegistry) -> None:
    """Behaviours B47."""
    link = '<?page=2>; rel="next"'
    mocked_registry.answer("GET", REFERRERS, body=_index(SBOM), Content_Type=OCI_INDEX, Link=link)
    mocked_registry.answer("GET", f"{REFERRERS}?page=2", body=_index(SIGNATURE), Content_Type=OCI_INDEX)
    assert _referrers(mocked_registry) == _digests(SBOM, SIGNATURE)


ASKED = f"{REFERRERS}?artifactType=application%2Fsbom"


@pytest.mark.parametrize(
    ("applied", "expected"),
    [
        (None, [SBOM]),
        ("", [SBOM]),
        ("annotations", [SBOM]),
        ("notartifactType", [SBOM]),
        ("artifactType", [SBOM, SIGNATURE]),  # whoever says that it filtered is believed
        ("annotations, artifactType", [SBOM, SIGNATURE]),
    ],
)
def test_referrers_are_filtered_here_unless_the_registry_did(
    mocked_registry: MockedRegistry, applied: str | None, expected: list[dict[str, object]]
) -> None:
    """Behaviours B47."""
    mocked_registry.answer(
        "GET", ASKED, body=_index(SBOM, SIGNATURE), Content_Type=OCI_INDEX, OCI_Filters_Applied=applied
    )
    assert _referrers(mocked_registry, "application/sbom") == _digests(*expected)


TAG = f"manifests/{referrers_tag(SUBJECT)}"


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (404, b"", None),
        (404, b"<html>", "text/html"),
        (400, b"", None),
        (400, json.dumps({"errors": [{"code": "NAME_INVALID"}]}).encode(), "application/json"),
        (405, b"", None),
        (406, b"", None),
        (200, b"<html>", "text/html"),
        (200, _index(SBOM), "application/json"),
    ],
)
def test_without_the_referrers_api_the_referrers_tag_is_read(
    mocked_registry: MockedRegistry, status: int, body: bytes, content_type: str | None
) -> None:
    """Behaviours B46."""
    mocked_registry.answer("GET", REFERRERS, status, body, Content_Type=content_type)
    mocked_registry.answer("GET", TAG, body=_index(SBOM, SIGNATURE), Content_Type=OCI_INDEX)
    assert _referrers(mocked_registry) == _digests(SBOM, SIGNATURE)


def test_entries_of_the_referrers_tag_are_filtered(mocked_registry: MockedRegistry) -> None:
    """Behaviours B47."""
    mocked_registry.answer("GET", ASKED, 404)
    mocked_registry.answer("GET", TAG, body=_index(SBOM, SIGNATURE), Content_Type=OCI_INDEX)
    assert _referrers(mocked_registry, "application/sbom") == _digests(SBOM)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b""),
        (200, b"no json"),
        (200, to_json({"schemaVersion": 2, "config": SBOM, "layers": []})),
        (200, to_json({"schemaVersion": 2})),
        (200, to_json({"schemaVersion": 1, "fsLayers": []})),
    ],
)
def test_a_tag_that_is_missing_or_no_index_is_an_empty_list(
    mocked_registry: MockedRegistry, status: int, body: bytes
) -> None:
    """Behaviours B46."""
    mocked_registry.answer("GET", REFERRERS, 404)
    mocked_registry.answer("GET", TAG, status, body)
    assert _referrers(mocked_registry) == []


@pytest.mark.parametrize(("status", "expected"), [(403, PermissionDenied), (503, ServerError)])
def test_other_errors_of_the_referrers_api_are_raised(
    mocked_registry: MockedRegistry, status: int, expected: type[DistError]
) -> None:
    mocked_registry.answer("GET", REFERRERS, status)
    with pytest.raises(expected):
        _referrers(mocked_registry)


def test_a_failed_later_page_does_not_restart_the_list(mocked_registry: MockedRegistry) -> None:
    link = '<?page=2>; rel="next"'
    mocked_registry.answer("GET", REFERRERS, body=_index(SBOM), Content_Type=OCI_INDEX, Link=link)
    mocked_registry.answer("GET", f"{REFERRERS}?page=2", 404)
    with pytest.raises(NotFound):
        _referrers(mocked_registry)


@pytest.mark.parametrize("body", [to_json([]), to_json({}), to_json({"manifests": 1}), to_json({"manifests": [{}]})])
def test_referrers_that_are_no_index_are_an_error(mocked_registry: MockedRegistry, body: bytes) -> None:
    mocked_registry.answer("GET", REFERRERS, body=body, Content_Type=OCI_INDEX)
    with pytest.raises(BadManifest):
        _referrers(mocked_registry)


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        (f"sha256:{'a' * 64}", f"sha256-{'a' * 64}"),
        (f"sha512:{'b' * 128}", f"sha512-{'b' * 64}"),
        ("a+b.c-d_e:A=_-9", "a-b.c-d_e-A-_-9"),
        (f"{'x' * 40}:{'Y' * 70}", f"{'x' * 32}-{'Y' * 64}"),
    ],
)
def test_the_referrers_tag_is_truncated_and_always_a_tag(digest: str, tag: str) -> None:
    """containerd and ggcr only replace the colon, and so ask for a tag of over 128 characters. Behaviours W5."""
    assert referrers_tag(Digest.parse(digest)) == tag
    assert len(tag) <= 128
