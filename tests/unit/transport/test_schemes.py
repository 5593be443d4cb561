"""The schemes that a host is tried with, for every caller."""

from __future__ import annotations

import pytest

from dist_tool.settings import Endpoint, Tls
from dist_tool.transport.schemes import schemes_for

LOOPBACK = "127.0.0.1:5000"


@pytest.mark.parametrize(
    ("host", "endpoint", "schemes"),
    [
        ("registry.test", Endpoint(), ("https",)),
        ("registry.test", Endpoint(insecure=True), ("https", "http")),
        ("registry.test", Endpoint(plain_http=True), ("http",)),
        (LOOPBACK, Endpoint(), ("http", "https")),
        (LOOPBACK, Endpoint(insecure=True), ("http", "https")),
        (LOOPBACK, Endpoint(tls=Tls(ca=("/ca.pem",))), ("https",)),
        (LOOPBACK, Endpoint(tls=Tls(ca=("/ca.pem",)), insecure=True), ("https", "http")),
        (LOOPBACK, Endpoint(plain_http=False), ("https",)),
        (LOOPBACK, Endpoint(plain_http=True, tls=Tls(ca=("/ca.pem",))), ("http",)),
    ],
)
def test_schemes_follow_from_the_settings_and_the_host(host: str, endpoint: Endpoint, schemes: tuple[str, ...]) -> None:
    assert schemes_for(endpoint, host) == schemes
