"""Which parts of a request are registered as secrets, and hidden in what is shown afterwards."""

from __future__ import annotations

from base64 import b64encode

import pytest

from dist_tool.names.origin import redact
from dist_tool.redaction import hide
from dist_tool.transport.redaction import remember_path, remember_proxy, remember_request

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
@pytest.mark.parametrize("configured", [False, True])
def test_secrets_of_headers_are_hidden_and_nothing_else(
    configured: bool, name: str, value: str, said: str, shown: str
) -> None:
    headers = {"Host": "registry.test:5000", name: value}
    remember_request(headers, {name: value} if configured and name != "Authorization" else {}, ())
    assert hide(said) == shown


def test_a_secret_within_another_does_not_leave_the_rest_of_it() -> None:
    remember_request({"Authorization": "Bearer token-of", "x-tenant": "token-of-the-tenant"}, {}, ())
    assert hide("token-of-the-tenant, token-of") == "***, ***"


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        ("https://cdn.test/b?ns=docker.io&X-Sig=a%2Fbcdefgh", "a/bcdefgh a%2Fbcdefgh docker.io", "*** *** docker.io"),
        ("https://cdn.test/b;sig=abcdefgh/c", "no abcdefgh", "no ***"),
        ("https://auth.test/token?service=registry.test&scope=abcdefgh", "registry.test abcdefgh", None),
        ("https://cdn.test/blob?signed-by-this", "no blob?signed-by-this", None),
        ("https://cdn.test/blob", "no blob", None),
    ],
)
def test_secrets_of_urls_are_hidden_and_nothing_else(url: str, said: str, shown: str | None) -> None:
    remember_request({}, {}, (url,))
    assert hide(said) == (shown or said)


def test_the_login_of_a_proxy_is_hidden() -> None:
    remember_proxy("http://[not-a-url")
    remember_proxy("http://me:pass%3Aword@proxy.test:1")
    assert hide(f"{BASIC} is me, pass:word, at proxy.test") == "*** is me, ***, at proxy.test"


def test_parts_of_a_redirects_path_that_may_be_signatures_are_hidden() -> None:
    signed, digest = "eyJhbGciOiJIUzI1NiJ9.x", "ab" * 32
    url = f"https://cdn.test/v/{signed}/{digest}/x;sig=abcdefgh?k=v"
    assert redact(url, moved=True) == f"https://cdn.test/v/…/{digest}/x;sig=…?k=…"
    assert redact(url) == f"https://cdn.test/v/{signed}/{digest}/x;sig=…?k=…"
    remember_path(f"/v/{signed}/{digest}")
    assert hide(f"{signed} {digest}") == f"*** {digest}"
