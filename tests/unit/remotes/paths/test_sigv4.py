"""Signatures against the examples that Amazon publishes ("Examples: Signature Calculations", S3 API reference)."""

from __future__ import annotations

from calendar import timegm

import pytest

from dist_tool.remotes.paths.sigv4 import Keys, quoted, sign

EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOON = timegm((2013, 5, 24, 0, 0, 0))
HOST = "https://examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_published_signature_examples_are_reproduced(query: str, signature: str) -> None:
    headers = sign("GET", f"{HOST}/?{query}", EXAMPLE, "us-east-1", NOON)
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
    )
    assert headers["x-amz-date"] == "20130524T000000Z"


def test_a_session_token_is_sent_and_signed() -> None:
    with_token = Keys(EXAMPLE.access_key, EXAMPLE.secret_key, "token")
    headers = sign("GET", f"{HOST}/a", with_token, "us-east-1", NOON)
    assert headers["x-amz-security-token"] == "token"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token," in headers["Authorization"]


@pytest.mark.parametrize("change", ["method", "path", "region", "time", "host"])
def test_a_signature_is_good_for_one_request(change: str) -> None:
    parts = {"method": "GET", "path": "/a", "region": "us-east-1", "time": NOON, "host": HOST}
    other = {
        **parts,
        change: {"method": "HEAD", "path": "/b", "region": "eu-west-1", "time": NOON + 1}.get(change, f"{HOST}:1"),
    }

    def signed(values: dict[str, object]) -> str:
        url = f"{values['host']}{values['path']}"
        headers = sign(str(values["method"]), url, EXAMPLE, str(values["region"]), float(str(values["time"])))
        return headers["Authorization"].rpartition("=")[2]

    assert signed(parts) != signed(other)


def test_paths_are_percent_encoded_once() -> None:
    assert quoted("a b/c+d:e~f/ü/%2e") == "a%20b/c%2Bd%3Ae~f/%C3%BC/%252e"


def test_secrets_are_not_in_a_repr() -> None:
    assert "secret" not in repr(Keys("id", "secret", "secret-token"))
