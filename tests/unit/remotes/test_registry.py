"""What a registry is asked, in which order, and with which headers (behaviours group B)."""

from __future__ import annotations

import pytest
from support.content import Blob, blob, flip, image, index
from support.mocked import HOST, REPOSITORY, MockedRegistry, hinted, joined

from dist_tool.errors import (
    DigestMismatch,
    DistError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    SizeMismatch,
    Unsupported,
)
from dist_tool.names.locator import parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, OCTET_STREAM
from dist_tool.remotes.registry import RegistryRemote

IMAGE = image("registry")
MANIFEST = IMAGE.manifest
LAYER = IMAGE.layers[0]
ALL = joined([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, "*/*"])


def _serve(registry: MockedRegistry, tail: str, content: Blob, method: str = "GET", **headers: str | None) -> None:
    of = {"Content_Type": content.media_type, "Docker_Content_Digest": str(content.digest)}
    registry.answer(method, tail, 200, content.data, **{**of, **headers})


def _missing(registry: MockedRegistry, tail: str, method: str = "GET") -> None:
    registry.answer(method, tail, 404)


# Tags.


def test_a_tag_is_a_manifest_and_one_get_brings_it_whole(mocked_registry: MockedRegistry) -> None:
    """Behaviours B1."""
    _serve(mocked_registry, "manifests/latest", MANIFEST)
    assert mocked_registry.fetch("latest") == MANIFEST.data
    assert mocked_registry.asked == ["GET manifests/latest"]


def test_resolving_a_tag_is_one_head(mocked_registry: MockedRegistry) -> None:
    """Behaviours B14."""
    _serve(mocked_registry, "manifests/latest", MANIFEST, "HEAD")
    assert mocked_registry.remote().resolve("latest", hinted()) == MANIFEST.descriptor
    assert mocked_registry.asked == ["HEAD manifests/latest"]


def test_a_digest_beside_a_tag_selects_the_object(mocked_registry: MockedRegistry) -> None:
    """Behaviours A14."""
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER)
    assert mocked_registry.fetch(f"latest@{LAYER.digest}") == LAYER.data


def test_docker_io_is_asked_at_its_api_host(mocked_registry: MockedRegistry) -> None:
    """Behaviours A5."""
    mocked_registry.answer(
        "GET",
        "https://registry-1.docker.io/v2/library/redis/manifests/7",
        body=MANIFEST.data,
        Content_Type=MANIFEST.media_type,
    )
    remote = mocked_registry.remote(locator="redis")
    assert mocked_registry.fetch("7", remote=remote) == MANIFEST.data


@pytest.mark.parametrize(
    ("locator", "url"),
    [
        ("registry.test:5000/a", "https://registry.test:5000/v2/a/"),
        ("registry.test:443/a", "https://registry.test/v2/a/"),
        ("localhost/a", "http://localhost/v2/a/"),
        ("localhost:5000/a", "http://localhost:5000/v2/a/"),
        ("127.8.8.8:5000/a", "http://127.8.8.8:5000/v2/a/"),
        ("[::1]:5000/a", "http://[::1]:5000/v2/a/"),
        ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/"),
    ],
)
def test_https_is_used_except_on_loopback(mocked_registry: MockedRegistry, locator: str, url: str) -> None:
    """Behaviours B51."""
    mocked_registry.answer("HEAD", f"{url}manifests/x", 404)
    with pytest.raises(NotFound):
        mocked_registry.remote(locator=locator).resolve("x", hinted())


@pytest.mark.parametrize(
    ("locator", "plain", "url"),
    [("lan.test/a", True, "http://lan.test/v2/a/"), ("localhost:5000/a", False, "https://localhost:5000/v2/a/")],
)
def test_plain_http_of_the_configuration_selects_the_scheme(
    mocked_registry: MockedRegistry, locator: str, plain: bool, url: str
) -> None:
    """Behaviours B51."""
    mocked_registry.answer("HEAD", f"{url}manifests/x", 404)
    with pytest.raises(NotFound):
        mocked_registry.remote(locator=locator, plain_http=plain).resolve("x", hinted())


# Digests.


def test_a_digest_is_a_blob_first_and_a_manifest_on_404(mocked_registry: MockedRegistry) -> None:
    """Behaviours B2."""
    _missing(mocked_registry, f"blobs/{MANIFEST.digest}")
    _serve(mocked_registry, f"manifests/{MANIFEST.digest}", MANIFEST)
    assert mocked_registry.fetch(MANIFEST.digest) == MANIFEST.data
    assert mocked_registry.asked == [f"GET blobs/{MANIFEST.digest}", f"GET manifests/{MANIFEST.digest}"]


@pytest.mark.parametrize(
    "hint",
    [
        "type:manifest",
        "type:index",
        f"mediatype:{OCI_MANIFEST}",
        f"mediatype:{OCI_INDEX}",
        f"mediatype:{DOCKER_LIST}",
        f"mediatype:{DOCKER_MANIFEST}",
    ],
)
def test_a_manifest_hint_requests_the_manifest_endpoint_first(mocked_registry: MockedRegistry, hint: str) -> None:
    """Behaviours B2."""
    _serve(mocked_registry, f"manifests/{MANIFEST.digest}", MANIFEST)
    assert mocked_registry.fetch(MANIFEST.digest, hint) == MANIFEST.data
    assert mocked_registry.asked == [f"GET manifests/{MANIFEST.digest}"]


@pytest.mark.parametrize("hint", ["type:layer", "type:config", "type:blob", "mediatype:text/plain", "x:y", "-"])
def test_other_hints_request_the_blob_endpoint_first(mocked_registry: MockedRegistry, hint: str) -> None:
    """Behaviours B2."""
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER)
    assert mocked_registry.fetch(LAYER.digest, hint) == LAYER.data
    assert mocked_registry.asked == [f"GET blobs/{LAYER.digest}"]


def test_a_wrong_hint_costs_a_request_and_changes_no_byte(mocked_registry: MockedRegistry) -> None:
    """Behaviours B2."""
    _missing(mocked_registry, f"manifests/{LAYER.digest}")
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER)
    assert mocked_registry.fetch(LAYER.digest, "type:manifest") == LAYER.data


@pytest.mark.parametrize("status", [400, 403, 405, 429, 500, 501, 503])
def test_no_other_status_than_404_leads_to_the_other_endpoint(mocked_registry: MockedRegistry, status: int) -> None:
    """containerd 9b7fa6131: after a 500 from manifests, blobs gave the right bytes, wrong type. Behaviours B3."""
    mocked_registry.answer("GET", f"blobs/{MANIFEST.digest}", status)
    with pytest.raises(DistError) as caught:
        mocked_registry.fetch(MANIFEST.digest)
    assert caught.value.status == status
    assert set(mocked_registry.asked) == {f"GET blobs/{MANIFEST.digest}"}


def test_absence_with_another_status_does_not_lead_to_the_other_endpoint(
    mocked_registry: MockedRegistry,
) -> None:
    """Behaviours B3."""
    unknown = b'{"errors":[{"code":"BLOB_UNKNOWN"}]}'
    for status, body in ((410, b""), (400, unknown)):
        mocked_registry.answer("GET", f"blobs/{MANIFEST.digest}", status, body)
        with pytest.raises(NotFound):
            mocked_registry.fetch(MANIFEST.digest)
    assert mocked_registry.asked == [f"GET blobs/{MANIFEST.digest}"] * 2


def test_an_absent_digest_is_not_found_and_the_message_names_both_endpoints(
    mocked_registry: MockedRegistry,
) -> None:
    _missing(mocked_registry, f"blobs/{LAYER.digest}")
    _missing(mocked_registry, f"manifests/{LAYER.digest}")
    with pytest.raises(NotFound, match=f"no such blob or manifest in {REPOSITORY}: "):
        mocked_registry.fetch(LAYER.digest)


def test_a_second_open_requests_the_endpoint_that_had_the_object(mocked_registry: MockedRegistry) -> None:
    _missing(mocked_registry, f"blobs/{MANIFEST.digest}")
    _serve(mocked_registry, f"manifests/{MANIFEST.digest}", MANIFEST)
    remote = mocked_registry.remote()
    for _ in range(2):
        assert mocked_registry.fetch(MANIFEST.digest, remote=remote) == MANIFEST.data
    assert mocked_registry.asked[2:] == [f"GET manifests/{MANIFEST.digest}"]


def test_resolving_a_digest_checks_that_it_exists(mocked_registry: MockedRegistry) -> None:
    _missing(mocked_registry, f"manifests/{LAYER.digest}", "HEAD")
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER, "HEAD", Content_Type=OCTET_STREAM)
    desc = mocked_registry.remote().resolve(str(LAYER.digest), hinted())
    assert desc == Descriptor(LAYER.digest, len(LAYER.data), OCTET_STREAM)


def test_resolving_an_absent_digest_is_not_found(mocked_registry: MockedRegistry) -> None:
    _missing(mocked_registry, f"manifests/{LAYER.digest}", "HEAD")
    _missing(mocked_registry, f"blobs/{LAYER.digest}", "HEAD")
    with pytest.raises(NotFound):
        mocked_registry.remote().resolve(str(LAYER.digest), hinted())


def test_resolving_a_digest_for_reading_sends_no_request(mocked_registry: MockedRegistry) -> None:
    """api.Resolver: a digest resolves to itself where the content follows."""
    desc = mocked_registry.remote().resolve(str(LAYER.digest), hinted("size:7", "type:layer", content=True))
    assert (desc.digest, desc.size) == (LAYER.digest, 7)
    assert mocked_registry.asked == []


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_other_algorithms_are_verified_by_themselves(mocked_registry: MockedRegistry, algorithm: str) -> None:
    content = blob("long", 1000, algorithm)
    _serve(mocked_registry, f"blobs/{content.digest}", content)
    assert mocked_registry.fetch(content.digest) == content.data


@pytest.mark.parametrize("object_id", [f"blake3:{'0' * 64}", "md5:d41d8cd98f00b204e9800998ecf8427e"])
def test_an_unverifiable_digest_is_refused_before_any_request(mocked_registry: MockedRegistry, object_id: str) -> None:
    """Behaviours A12."""
    for content in (False, True):
        with pytest.raises(Unsupported, match="cannot be verified"):
            mocked_registry.remote().resolve(object_id, hinted(content=content))
    assert mocked_registry.asked == []


@pytest.mark.parametrize("object_id", ["../../x", "a/b", "a b", "sha256:../../etc/passwd", "-x", "", "latest\n"])
def test_only_tags_and_digests_are_put_into_a_url(mocked_registry: MockedRegistry, object_id: str) -> None:
    """CVE-2024-3727."""
    with pytest.raises(InvalidArgument):
        mocked_registry.remote().resolve(object_id, hinted())
    assert mocked_registry.asked == []


def test_the_digest_header_of_a_blob_is_not_trusted(mocked_registry: MockedRegistry) -> None:
    """regclient #798: the header was preferred to what the user asked for. Behaviours B11."""
    wrong = Blob(flip(LAYER.data, 9))
    _serve(mocked_registry, f"blobs/{LAYER.digest}", wrong, Docker_Content_Digest=str(wrong.digest))
    with pytest.raises(DigestMismatch, match=f"expected {LAYER.digest}, got {wrong.digest}"):
        mocked_registry.fetch(LAYER.digest)


# Accept.


def test_the_full_list_of_types_is_sent_by_tag_and_by_digest(mocked_registry: MockedRegistry) -> None:
    """distribution answers 404 for an OCI manifest if the list does not name it. Behaviours B4, B5."""
    _serve(mocked_registry, "manifests/latest", MANIFEST)
    _serve(mocked_registry, "manifests/latest", MANIFEST, "HEAD")
    _serve(mocked_registry, f"manifests/{MANIFEST.digest}", MANIFEST)
    _serve(mocked_registry, f"manifests/{MANIFEST.digest}", MANIFEST, "HEAD")
    mocked_registry.fetch("latest")
    mocked_registry.fetch(MANIFEST.digest, "type:manifest")
    remote = mocked_registry.remote()
    remote.resolve("latest", hinted())
    remote.resolve(str(MANIFEST.digest), hinted())
    first, second, third, fourth = mocked_registry.headers("Accept")
    assert (first, third, fourth) == (ALL, ALL, ALL)
    assert second is not None
    assert sorted(second.split(", ")) == sorted(ALL.split(", "))
    assert second.startswith(OCI_MANIFEST)


def test_media_types_of_hints_lead_the_accept_list(mocked_registry: MockedRegistry) -> None:
    """Behaviours B5."""
    _serve(mocked_registry, "manifests/latest", MANIFEST)
    mocked_registry.fetch("latest", "mediatype:application/x", f"mediatype:{DOCKER_MANIFEST}")
    assert mocked_registry.headers("Accept") == [
        joined(["application/x", DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, "*/*"])
    ]


def test_the_manifest_fallback_sends_the_full_accept_list(mocked_registry: MockedRegistry) -> None:
    _missing(mocked_registry, f"blobs/{MANIFEST.digest}")
    _serve(mocked_registry, f"manifests/{MANIFEST.digest}", MANIFEST)
    mocked_registry.fetch(MANIFEST.digest)
    assert mocked_registry.headers("Accept") == ["*/*", ALL]


def test_another_type_than_the_hint_says_is_a_warning_and_the_same_bytes(mocked_registry: MockedRegistry) -> None:
    _serve(mocked_registry, "manifests/latest", MANIFEST)
    assert mocked_registry.fetch("latest", f"mediatype:{DOCKER_MANIFEST}") == MANIFEST.data
    assert mocked_registry.warnings == [f"the media type is {OCI_MANIFEST}, but the hint is {DOCKER_MANIFEST}"]


# Sizes.


def test_a_declared_size_that_is_not_the_expected_one_fails_before_the_first_byte(
    mocked_registry: MockedRegistry,
) -> None:
    """Behaviours B17."""
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER)
    with pytest.raises(SizeMismatch, match=f"{HOST} declares {len(LAYER.data)} bytes, expected 7"):
        mocked_registry.fetch(LAYER.digest, "size:7")


def test_the_size_of_a_tag_is_compared_with_the_hint(mocked_registry: MockedRegistry) -> None:
    """Behaviours B17."""
    _serve(mocked_registry, "manifests/latest", MANIFEST)
    with pytest.raises(SizeMismatch, match="but the hint is size:7"):
        mocked_registry.fetch("latest", "size:7")


def test_a_manifest_is_bounded_whatever_its_size_is_declared_to_be(mocked_registry: MockedRegistry) -> None:
    """Behaviours B18."""
    huge = {"Content_Type": OCI_MANIFEST, "Content_Length": str(9 << 20)}
    mocked_registry.answer("GET", "manifests/latest", body=b"{}", **huge)
    mocked_registry.answer("GET", f"manifests/{MANIFEST.digest}", body=b"{}", **huge)
    with pytest.raises(LimitExceeded, match="over the limit of 8388608"):
        mocked_registry.fetch("latest")
    with pytest.raises(LimitExceeded, match="more than the limit of 8388608"):
        mocked_registry.fetch(MANIFEST.digest, "type:manifest")


def test_an_empty_blob_is_a_blob(mocked_registry: MockedRegistry) -> None:
    """Behaviours B20."""
    empty = Blob(b"")
    _serve(mocked_registry, f"blobs/{empty.digest}", empty)
    assert mocked_registry.fetch(empty.digest) == b""


# Ranges.


def test_an_offset_is_requested_as_an_open_range(mocked_registry: MockedRegistry) -> None:
    """Behaviours B25."""
    rest = LAYER.data[100:]
    total = len(LAYER.data)
    mocked_registry.answer(
        "GET", f"blobs/{LAYER.digest}", 206, rest, Content_Range=f"bytes 100-{total - 1}/{total}", Content_Type="a/b"
    )
    body = mocked_registry.remote().open(LAYER.descriptor, 100)
    assert (body.offset, body.total, body.media_type, body.source) == (100, total, "a/b", HOST)
    assert body.readinto(memoryview(bytearray(total))) == len(rest)
    body.close()
    assert mocked_registry.headers("Range") == ["bytes=100-"]


def test_a_registry_without_ranges_returns_the_whole_object(mocked_registry: MockedRegistry) -> None:
    """Behaviours B26."""
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER)
    body = mocked_registry.remote().open(LAYER.descriptor, 100)
    assert (body.offset, body.total) == (0, len(LAYER.data))
    body.close()


def test_a_416_at_the_end_of_the_object_is_an_empty_body(mocked_registry: MockedRegistry) -> None:
    """Behaviours B27."""
    total = len(LAYER.data)
    mocked_registry.answer("GET", f"blobs/{LAYER.digest}", 416, Content_Range=f"bytes */{total}")
    body = mocked_registry.remote().open(LAYER.descriptor, total)
    assert (body.offset, body.total, body.readinto(memoryview(bytearray(9)))) == (total, total, 0)
    body.close()


def test_an_unusable_range_is_retried_without_a_range(mocked_registry: MockedRegistry) -> None:
    """Behaviours B27."""
    mocked_registry.answer("GET", f"blobs/{LAYER.digest}", 206, LAYER.data, Content_Range="bytes 7-9/10")
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER)
    body = mocked_registry.remote().open(LAYER.descriptor, 100)
    assert body.offset == 0
    body.close()
    assert mocked_registry.headers("Range") == ["bytes=100-", None]


def test_a_206_without_a_range_request_is_an_error(mocked_registry: MockedRegistry) -> None:
    """Behaviours B27."""
    mocked_registry.answer("GET", f"blobs/{LAYER.digest}", 206, LAYER.data, Content_Range="bytes 0-9/10")
    with pytest.raises(DistError, match="206") as caught:
        mocked_registry.fetch(LAYER.digest)
    assert caught.value.exit_code == 7


# Foreign layers.


FOREIGN = "https://cdn.test/layer?sig=secret"


def _foreign(*urls: str) -> Descriptor:
    return Descriptor(LAYER.digest, len(LAYER.data), LAYER.media_type, urls=urls)


def _read(registry: MockedRegistry, remote: RegistryRemote, desc: Descriptor) -> bytes:
    body = remote.open(desc)
    out = memoryview(bytearray(len(LAYER.data)))
    got = 0
    while count := body.readinto(out[got:]):
        got += count
    body.close()
    return bytes(out[:got])


def test_a_foreign_layer_is_looked_for_at_the_registry_and_then_at_its_url(mocked_registry: MockedRegistry) -> None:
    """CVE-2020-15157: its host gets nothing of ours. Behaviours B48."""
    _missing(mocked_registry, f"blobs/{LAYER.digest}")
    _missing(mocked_registry, f"manifests/{LAYER.digest}")
    mocked_registry.answer("GET", FOREIGN, body=LAYER.data)
    remote = mocked_registry.remote(header={"x-tenant": "blue"})
    assert _read(mocked_registry, remote, _foreign(FOREIGN)) == LAYER.data
    assert mocked_registry.headers("x-tenant") == ["blue", "blue", None]
    assert mocked_registry.mock.calls[2].request.headers.keys() == {"User-Agent", "Accept-Encoding"}


def test_a_foreign_host_that_redirects_to_the_registry_brings_nothing_of_ours_there(
    mocked_registry: MockedRegistry,
) -> None:
    """Behaviours B48."""
    _missing(mocked_registry, f"blobs/{LAYER.digest}")
    _missing(mocked_registry, f"manifests/{LAYER.digest}")
    back = f"https://{HOST}/v2/other/blobs/{LAYER.digest}"
    mocked_registry.answer("GET", FOREIGN, 307, Location=back)
    mocked_registry.answer("GET", back, body=LAYER.data)
    remote = mocked_registry.remote(header={"x-tenant": "blue"})
    assert _read(mocked_registry, remote, _foreign(FOREIGN)) == LAYER.data
    assert mocked_registry.headers("x-tenant") == ["blue", "blue", None, None]


def test_a_foreign_host_that_asks_for_a_password_gets_none(mocked_registry: MockedRegistry) -> None:
    """Behaviours B48."""
    _missing(mocked_registry, f"blobs/{LAYER.digest}")
    _missing(mocked_registry, f"manifests/{LAYER.digest}")
    mocked_registry.answer("GET", FOREIGN, 401, WWW_Authenticate='Basic realm="x"')
    with pytest.raises(DistError, match=r"cdn\.test") as caught:
        mocked_registry.remote().open(_foreign(FOREIGN))
    assert caught.value.exit_code == 4
    assert "secret" not in str(caught.value)
    assert mocked_registry.headers("Authorization") == [None, None, None]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "http://cdn.test/x",
        "file:///etc/passwd",
        "ftp://cdn.test/x",
        f"https://{HOST}/v2/other/blobs/x",
        "relative",
    ],
)
def test_a_foreign_url_must_not_lead_inside_nor_down_to_plain_http(mocked_registry: MockedRegistry, url: str) -> None:
    """ggcr #2293. Behaviours B48."""
    _missing(mocked_registry, f"blobs/{LAYER.digest}")
    _missing(mocked_registry, f"manifests/{LAYER.digest}")
    with pytest.raises(DistError) as caught:
        mocked_registry.remote().open(_foreign(url))
    assert caught.value.exit_code in (7, 10)


# Warnings.


def test_a_warning_is_shown_once_and_escaped(mocked_registry: MockedRegistry) -> None:
    """Behaviours B43."""
    warning = '299 - "gone \x1b[31msoon", 199 - "not this", 299 - "two"'
    _serve(mocked_registry, "manifests/latest", MANIFEST, Warning=warning)
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER, Warning=warning)
    remote = mocked_registry.remote()
    mocked_registry.fetch("latest", remote=remote)
    mocked_registry.fetch(LAYER.digest, remote=remote)
    assert mocked_registry.warnings == [f"{HOST} sent a warning: gone \\x1b[31msoon", f"{HOST} sent a warning: two"]


def test_a_remote_is_one_repository_of_the_rewritten_name(mocked_registry: MockedRegistry) -> None:
    _serve(mocked_registry, f"blobs/{LAYER.digest}", LAYER)
    name = parse_locator(f"registry::{HOST}/{REPOSITORY}")
    assert mocked_registry.fetch(LAYER.digest, remote=mocked_registry.remote(locator=str(name))) == LAYER.data


def test_an_index_is_fetched_like_any_manifest(mocked_registry: MockedRegistry) -> None:
    both = index(IMAGE, image("other"))
    _serve(mocked_registry, "manifests/latest", both.manifest)
    assert Digest.of(mocked_registry.fetch("latest")) == both.manifest.digest
