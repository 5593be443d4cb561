"""Answers of registries that are wrong, odd or of another time, and what is made of them."""

from __future__ import annotations

import json

import pytest
from support.content import Blob, image, index, to_json
from support.mocked import HOST, MockedRegistry, hinted

from dist_tool.errors import (
    BadManifest,
    DigestMismatch,
    DistError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ProtocolError,
    RemoteFailed,
    ResourceExhausted,
    ServerError,
    Unsupported,
)
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, SCHEMA1_TYPES

MANIFEST = image("answers").manifest
TAG = "manifests/latest"


def _manifest(
    registry: MockedRegistry, method: str = "GET", body: bytes = MANIFEST.data, **headers: str | None
) -> None:
    of: dict[str, str | None] = {"Content_Type": OCI_MANIFEST, "Docker_Content_Digest": str(Digest.of(body))}
    registry.answer(method, TAG, 200, body, **{**of, **headers})


def _errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]}).encode()


# Statuses and error bodies.


@pytest.mark.parametrize(
    ("status", "body", "expected", "said"),
    [
        (404, _errors("MANIFEST_UNKNOWN", "manifest unknown"), NotFound, "MANIFEST_UNKNOWN: manifest unknown"),
        (404, b"<html><title>404</title></html>", NotFound, "404 Not Found"),
        (404, b"", NotFound, "404 Not Found"),
        (400, _errors("UNKNOWN", "Not Found"), NotFound, "UNKNOWN: Not Found"),
        (400, _errors("UNKNOWN", "artifact x:latest not found"), NotFound, "artifact x:latest not found"),
        (403, _errors("DENIED", "requested access is denied"), PermissionDenied, "DENIED: requested access"),
        (405, b"", Unsupported, "405 Method Not Allowed"),
        (400, _errors("NAME_INVALID", "invalid"), InvalidArgument, "NAME_INVALID: invalid"),
        (418, b'{"message":"no coffee"}', RemoteFailed, "no coffee"),
        (200, b"", BadManifest, "not valid JSON"),
        (204, b"", RemoteFailed, "204 No Content"),
        (304, b"", ProtocolError, "unexpected status 304"),
        (302, b"", ProtocolError, "unexpected status 302"),
    ],
)
def test_an_error_answer_repeats_the_message_of_the_registry(
    mocked_registry: MockedRegistry, status: int, body: bytes, expected: type[DistError], said: str
) -> None:
    """Behaviours B34, B37."""
    mocked_registry.answer("GET", TAG, status, body)
    with pytest.raises(expected) as caught:
        mocked_registry.fetch("latest")
    assert said in caught.value.what
    assert mocked_registry.waits == []


@pytest.mark.parametrize(
    ("status", "body", "expected", "said"),
    [
        (500, b"<html>oops</html>", ServerError, "500 Internal Server Error"),
        (503, _errors("UNAVAILABLE", "maintenance"), ServerError, "UNAVAILABLE: maintenance"),
        (429, b'{"details":"too many requests"}', ResourceExhausted, "too many requests"),
        (522, b"", ServerError, "522"),
    ],
)
def test_retryable_failures_are_tried_five_times(
    mocked_registry: MockedRegistry, status: int, body: bytes, expected: type[DistError], said: str
) -> None:
    """Behaviours B39."""
    mocked_registry.answer("GET", TAG, status, body)
    with pytest.raises(expected) as caught:
        mocked_registry.fetch("latest")
    assert said in caught.value.what
    assert (len(mocked_registry.asked), len(mocked_registry.waits), len(caught.value.attempts)) == (5, 4, 5)


def test_a_success_after_failures_is_used(mocked_registry: MockedRegistry) -> None:
    """Behaviours B39."""
    mocked_registry.answer("GET", TAG, 503)
    mocked_registry.answer("GET", TAG, 429, Retry_After="7")
    _manifest(mocked_registry)
    assert mocked_registry.fetch("latest") == MANIFEST.data
    assert mocked_registry.waits == [0, 7]


def test_a_retry_after_beyond_the_limit_fails_at_once(mocked_registry: MockedRegistry) -> None:
    """Behaviours B38."""
    mocked_registry.answer("GET", TAG, 429, Retry_After="86400")
    with pytest.raises(ResourceExhausted) as caught:
        mocked_registry.fetch("latest")
    assert "asks to wait 86400 s" in caught.value.hint
    assert mocked_registry.waits == []


def test_urls_in_messages_are_redacted(mocked_registry: MockedRegistry) -> None:
    mocked_registry.answer("GET", TAG, 307, Location="https://cdn.test/x?X-Signature=secret")
    mocked_registry.answer("GET", "https://cdn.test/x?X-Signature=secret", 404)
    with pytest.raises(NotFound) as caught:
        mocked_registry.fetch("latest")
    assert "GET https://cdn.test/x?X-Signature=…" in str(caught.value)


# HEAD.


@pytest.mark.parametrize(
    "head",
    [
        {"Docker_Content_Digest": None},
        {"Docker_Content_Digest": "sha256:0"},
        {"Docker_Content_Digest": f"blake3:{'0' * 64}"},
        {"Docker_Content_Digest": f"md5:{'0' * 32}"},
        {"Content_Length": None},
        {"Content_Length": "1_0"},
        {"Content_Type": None},
    ],
    ids=["no digest", "bad digest", "blake3", "md5", "no length", "bad length", "no type"],
)
def test_an_incomplete_head_is_followed_by_a_get(mocked_registry: MockedRegistry, head: dict[str, str | None]) -> None:
    """Behaviours B13, B14."""
    _manifest(mocked_registry, "HEAD", **head)
    _manifest(mocked_registry)
    desc = mocked_registry.remote().resolve("latest", hinted())
    assert (desc.digest, desc.size, desc.media_type) == (MANIFEST.digest, len(MANIFEST.data), OCI_MANIFEST)
    assert mocked_registry.asked == [f"HEAD {TAG}", f"GET {TAG}"]


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_head_that_is_refused_is_followed_by_a_get(mocked_registry: MockedRegistry, status: int) -> None:
    """Behaviours B14, B15."""
    mocked_registry.answer("HEAD", TAG, status)
    _manifest(mocked_registry)
    assert mocked_registry.remote().resolve("latest", hinted()).digest == MANIFEST.digest


def test_the_get_shows_the_reason_that_a_head_cannot(mocked_registry: MockedRegistry) -> None:
    """Behaviours B15."""
    mocked_registry.answer("HEAD", TAG, 403)
    mocked_registry.answer("GET", TAG, 403, _errors("DENIED", "the project is archived"))
    with pytest.raises(PermissionDenied, match="the project is archived"):
        mocked_registry.remote().resolve("latest", hinted())


def test_a_head_that_finds_nothing_is_final(mocked_registry: MockedRegistry) -> None:
    mocked_registry.answer("HEAD", TAG, 404)
    with pytest.raises(NotFound):
        mocked_registry.remote().resolve("latest", hinted())
    assert mocked_registry.asked == [f"HEAD {TAG}"]


# Digests in headers.


LIE = str(Digest.of(b"something else"))


def test_a_header_that_contradicts_the_content_is_asked_again_and_then_an_error(
    mocked_registry: MockedRegistry,
) -> None:
    """Behaviours B12."""
    _manifest(mocked_registry, Docker_Content_Digest=LIE)
    with pytest.raises(DigestMismatch, match=f"{HOST} declares {LIE}, the content is {MANIFEST.digest}") as caught:
        mocked_registry.fetch("latest")
    assert "--lenient" in caught.value.hint
    assert mocked_registry.asked == [f"GET {TAG}"] * 2


def test_one_contradiction_of_header_and_content_is_retried(mocked_registry: MockedRegistry) -> None:
    """Behaviours B12."""
    _manifest(mocked_registry, Docker_Content_Digest=LIE)
    _manifest(mocked_registry)
    assert mocked_registry.fetch("latest") == MANIFEST.data


def test_lenient_trusts_the_content_with_one_warning(mocked_registry: MockedRegistry) -> None:
    """Behaviours B12."""
    _manifest(mocked_registry, Docker_Content_Digest=LIE)
    remote = mocked_registry.remote(lenient=True)
    assert mocked_registry.fetch("latest", remote=remote) == MANIFEST.data
    assert mocked_registry.warnings == [f"{HOST} declares {LIE}, the content is {MANIFEST.digest}"]
    assert len(mocked_registry.asked) == 1


@pytest.mark.parametrize("header", [None, "", "nonsense", "sha256:XYZ", f"blake3:{'0' * 64}"])
def test_an_uncheckable_digest_header_is_ignored(mocked_registry: MockedRegistry, header: str | None) -> None:
    """Behaviours B13."""
    _manifest(mocked_registry, Docker_Content_Digest=header)
    assert mocked_registry.fetch("latest") == MANIFEST.data


def test_a_header_of_sha512_makes_the_tag_one_of_sha512(mocked_registry: MockedRegistry) -> None:
    digest = Digest.of(MANIFEST.data, "sha512")
    _manifest(mocked_registry, Docker_Content_Digest=str(digest))
    assert mocked_registry.remote().resolve("latest", hinted(content=True)).digest == digest


# What a tag's content may be.


def _document(media_type: str | None, **fields: object) -> bytes:
    return to_json({"schemaVersion": 2, **({"mediaType": media_type} if media_type else {}), **fields})


DESCRIPTOR = MANIFEST.descriptor.to_json()
IMAGE_FIELDS = {"config": DESCRIPTOR, "layers": []}
INDEX_FIELDS = {"manifests": [DESCRIPTOR]}


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (OCI_MANIFEST, _document(OCI_MANIFEST, **IMAGE_FIELDS), OCI_MANIFEST),
        (f"{OCI_MANIFEST}; charset=utf-8", _document(OCI_MANIFEST, **IMAGE_FIELDS), OCI_MANIFEST),
        (OCI_MANIFEST.upper(), _document(OCI_MANIFEST, **IMAGE_FIELDS), OCI_MANIFEST),
        (OCI_MANIFEST, _document(None, **IMAGE_FIELDS), OCI_MANIFEST),
        (DOCKER_MANIFEST, _document(None, **IMAGE_FIELDS), DOCKER_MANIFEST),
        ("application/json", _document(DOCKER_LIST, **INDEX_FIELDS), DOCKER_LIST),
        ("application/octet-stream", _document(OCI_INDEX, **INDEX_FIELDS), OCI_INDEX),
        ("text/plain", _document(OCI_MANIFEST, **IMAGE_FIELDS), OCI_MANIFEST),
        (None, _document(None, **INDEX_FIELDS), OCI_INDEX),
        (None, _document(None, **IMAGE_FIELDS), OCI_MANIFEST),
        ("application/vnd.new.v9+json", b'{"a": 1}', "application/vnd.new.v9+json"),
    ],
)
def test_the_media_type_is_what_header_and_body_agree_on(
    mocked_registry: MockedRegistry, content_type: str | None, body: bytes, expected: str
) -> None:
    """Behaviours B8."""
    _manifest(mocked_registry, body=body, Content_Type=content_type)
    desc = mocked_registry.remote().resolve("latest", hinted(content=True))
    assert (desc.media_type, desc.data) == (expected, body)


@pytest.mark.parametrize(
    ("content_type", "body", "error", "said"),
    [
        (OCI_MANIFEST, _document(DOCKER_MANIFEST, **IMAGE_FIELDS), BadManifest, "but its mediaType is"),
        (OCI_MANIFEST, _document(None, **INDEX_FIELDS), BadManifest, "does not match its media type"),
        (OCI_INDEX, _document(None, **IMAGE_FIELDS), BadManifest, "does not match its media type"),
        (OCI_INDEX, _document(OCI_INDEX, **INDEX_FIELDS, layers=[]), BadManifest, "CVE-2021-41190"),
        (OCI_MANIFEST, _document(None, **INDEX_FIELDS, **IMAGE_FIELDS), BadManifest, "CVE-2021-41190"),
        (OCI_MANIFEST, _document(None, fsLayers=[]), Unsupported, "schema 1"),
        (OCI_MANIFEST, b'{"mediaType":1}', BadManifest, "mediaType is not a string"),
        (OCI_MANIFEST, b'{"config":{},"config":{}}', BadManifest, "a name occurs twice"),
        (OCI_MANIFEST, b'{"config":', BadManifest, "not valid JSON"),
        (OCI_MANIFEST, b"[" * 100_000, BadManifest, "nested too deeply"),
        (OCI_MANIFEST, b"\xff{}", BadManifest, "not valid JSON"),
        (OCI_MANIFEST, b"[]", ProtocolError, "is not a manifest"),
        ("text/html", b"<html>Sign in</html>", ProtocolError, "a web page"),
        ("text/html; charset=utf-8", b"{}", ProtocolError, "a web page"),
        *[(schema1, b'{"schemaVersion":1}', Unsupported, "schema 1") for schema1 in sorted(SCHEMA1_TYPES)],
    ],
)
def test_unacceptable_answers_are_refused_before_output(
    mocked_registry: MockedRegistry, content_type: str, body: bytes, error: type[DistError], said: str
) -> None:
    """Behaviours B7, B9."""
    _manifest(mocked_registry, body=body, Content_Type=content_type)
    with pytest.raises(error, match=said):
        mocked_registry.fetch("latest")


@pytest.mark.parametrize("media_type", sorted(SCHEMA1_TYPES))
def test_schema_1_is_refused_by_its_head_already(mocked_registry: MockedRegistry, media_type: str) -> None:
    """Behaviours B7."""
    _manifest(mocked_registry, "HEAD", Content_Type=media_type)
    with pytest.raises(Unsupported, match="schema 1"):
        mocked_registry.remote().resolve("latest", hinted())


def test_the_bytes_are_those_that_came_whatever_their_layout(mocked_registry: MockedRegistry) -> None:
    """Behaviours B10."""
    odd = Blob(b'  {"manifests" :\r\n[ ] , "schemaVersion":2.0}\n', OCI_INDEX)
    _manifest(mocked_registry, body=odd.data, Content_Type=OCI_INDEX)
    assert mocked_registry.fetch("latest") == odd.data


def test_a_web_page_instead_of_a_blob_is_a_digest_mismatch(mocked_registry: MockedRegistry) -> None:
    mocked_registry.answer("GET", f"blobs/{MANIFEST.digest}", 200, b"<html>Sign in</html>", Content_Type="text/html")
    with pytest.raises(DigestMismatch):
        mocked_registry.fetch(MANIFEST.digest)


def test_an_index_by_tag_is_the_index_itself(mocked_registry: MockedRegistry) -> None:
    both = index(image(1), image(2), docker=True).manifest
    _manifest(mocked_registry, body=both.data, Content_Type=DOCKER_LIST)
    assert mocked_registry.fetch("latest") == both.data


def test_the_remaining_quota_is_a_debug_notice(mocked_registry: MockedRegistry) -> None:
    """Behaviours B52."""
    quota = {"ratelimit_limit": "100;w=21600", "ratelimit_remaining": "76;w=21600\x1b[31m"}
    _manifest(mocked_registry, **quota)
    mocked_registry.fetch("latest")
    told = [notice for notice in mocked_registry.notices if "rate limit" in notice.text]
    assert [(notice.level, notice.text) for notice in told] == [
        ("debug", r"registry.test rate limit: 76;w=21600\x1b[31m left of 100;w=21600")
    ]


def test_the_error_of_an_exhausted_quota_names_the_quota(mocked_registry: MockedRegistry) -> None:
    """Behaviours B52."""
    mocked_registry.answer("GET", "manifests/latest", 429, ratelimit_limit="100", ratelimit_remaining="0")
    with pytest.raises(ResourceExhausted) as caught:
        mocked_registry.fetch("latest")
    assert caught.value.hint == "rate limit: 0 left of 100"
