"""What servers say is quoted without the secrets that they were sent."""

from __future__ import annotations

from base64 import b64encode

import pytest

from dist_tool.transport.redaction import quotable

BASIC = b64encode(b"me:pass:word").decode()
SIGNATURE = "AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host, Signature=abc123"


@pytest.mark.parametrize(
    ("name", "value", "said", "shown"),
    [
        ("Authorization", "Bearer a/b+c=", "no a/b+c= here", "no *** here"),
        ("authorization", "Bearer a/b+c=", r'{"message": "no a\/b+c= here"}', '{"message": "no *** here"}'),
        ("Authorization", f"Basic {BASIC}", f"{BASIC} is me:pass:word", "*** is me:***"),
        ("Authorization", "basic no base64!", "no base64! it is", "*** it is"),
        ("Authorization", "Negotiate", "Negotiate", "Negotiate"),
        ("Authorization", SIGNATURE, "Signature=abc123 of AKIA", "Signature=*** of AKIA"),
        ("X-Amz-Security-Token", "FwoGZXIvYXdzE", "<Token>FwoGZXIvYXdzE</Token>", "<Token>***</Token>"),
        ("x-tenant", "a-long-tenant", "not a-long-tenant", "not ***"),
        ("x-tenant", "t", "that tenant", "that tenant"),
        ("User-Agent", "dist/1.2.3.4", "dist/1.2.3.4 is old", "dist/1.2.3.4 is old"),
    ],
)
def test_secrets_of_a_request_are_hidden_and_nothing_else(name: str, value: str, said: str, shown: str) -> None:
    assert quotable(said, {"Host": "registry.test:5000", name: value}) == shown


def test_a_secret_within_another_does_not_leave_the_rest_of_it() -> None:
    sent = {"Authorization": "Bearer token-of", "x-tenant": "token-of-the-tenant"}
    assert quotable("token-of-the-tenant, token-of", sent) == "***, ***"


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        ("https://cdn.test/b?ns=docker.io&X-Sig=a%2Fbcdefgh", "a/bcdefgh a%2Fbcdefgh docker.io", "*** *** docker.io"),
        ("https://cdn.test/blob?signed-by-this", "no blob?signed-by-this", "no blob?signed-by-this"),
        (
            "http://me:pass%3Aword@proxy.test:1",
            f"{BASIC} is me, pass:word, at proxy.test",
            "*** is me, ***, at proxy.test",
        ),
        ("https://cdn.test/blob", "no blob", "no blob"),
    ],
)
def test_secrets_of_urls_are_hidden_and_nothing_else(url: str, said: str, shown: str) -> None:
    assert quotable(said, {}, (url,)) == shown
