from __future__ import annotations

import pytest

from dist_tool.oci.mediatypes import essence, is_manifest_like, is_media_type, kind


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/vnd.oci.image.index.v1+json", "index"),
        ("application/vnd.docker.distribution.manifest.list.v2+json", "index"),
        ("application/vnd.oci.image.manifest.v1+json", "manifest"),
        ("application/vnd.docker.distribution.manifest.v2+json", "manifest"),
        ("application/vnd.oci.image.config.v1+json", "config"),
        ("application/vnd.docker.container.image.v1+json", "config"),
        ("application/vnd.oci.image.layer.v1.tar", "layer"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "layer"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "layer"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "layer"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "layer"),
        ("application/vnd.oci.empty.v1+json", "other"),
        ("application/json", "other"),
        ("", "other"),
    ],
)
def test_a_media_type_tells_the_kind_of_object(media_type: str, expected: str) -> None:
    assert kind(media_type) == expected
    assert is_manifest_like(media_type) is (expected in ("index", "manifest"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("application/octet-stream", True),
        ("application/vnd.oci.image.layer.v1.tar+zstd", True),
        (f"a/{'b' * 127}", True),
        (f"a/{'b' * 128}", False),
        ("text/plain 4 x", False),
        ("text/plain\n", False),
        ("text/plain; charset=utf-8", False),
        ("text/pl\u00e4in", False),
        ("text", False),
        ("/plain", False),
        ("a/b/c", False),
        ("", False),
    ],
)
def test_a_media_type_is_two_restricted_names(text: str, expected: bool) -> None:
    assert is_media_type(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "text/plain 4 x",
        "text/plain\tx",
        "text/plain, text/html",
        "text",
        "text/",
        "text/\xe4",
        f"a/{'b' * 128}",
        "a/b/c",
        "*/*",
    ],
)
def test_a_content_type_that_is_no_media_type_is_an_unknown_one(text: str) -> None:
    assert essence(text) == "application/octet-stream"
    assert essence(f"{text}; charset=utf-8") == "application/octet-stream"


def test_the_parameters_of_a_content_type_do_not_count() -> None:
    assert essence("Application/JSON; charset=utf-8") == "application/json"
    assert essence("") == ""
