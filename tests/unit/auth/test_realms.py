"""Who may be a token server, and who may see a password (behaviours C16, C17; incidents named)."""

from __future__ import annotations

import pytest

from dist_tool.auth.realms import Realm, check_realm
from dist_tool.errors import PolicyRefused, ProtocolError
from dist_tool.names.origin import Origin
from dist_tool.settings import AuthSettings

HTTPS = Origin.of("https://registry.test")
HTTP = Origin.of("http://registry.test:5000")
LOOPBACK = Origin.of("http://127.0.0.1:5000")


def check(text: str, registry: Origin = HTTPS, *hosts: str, verified: bool = True) -> Realm:
    return check_realm(text, registry, AuthSettings(realm_hosts=hosts), verified=verified)


def test_the_hub_and_gitlab_name_a_realm_elsewhere_over_tls() -> None:
    realm = check("https://auth.docker.io/token", Origin.of("https://registry-1.docker.io"))
    assert realm.url == "https://auth.docker.io/token"
    assert realm.password


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/token", "https://registry.test/token"),
        ("token?x=1,2", "https://registry.test/token?x=1,2"),
        ("//auth.test/token", "https://auth.test/token"),
        ("HTTPS://Auth.Test/token#fragment", "HTTPS://Auth.Test/token"),
    ],
)
def test_a_relative_realm_is_the_registrys_own(text: str, url: str) -> None:
    assert check(text).url.lower() == url.lower()


@pytest.mark.parametrize(
    "text",
    [
        "ftp://auth.test/token",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///token",
        "https:token",
        "https://[::1/token",
        "https://auth.test:99999/token",
        "https://auth.test:x/token",
        "https://auth.test\\@evil.test/token",
        "https://auth.test/to ken",
        "https://auth.test/\r\nX-Evil: 1",
        "https://aüth.test/token",
        "https://auth%2etest/token",
        "https://auth_.test;evil/token",
        "https://auth.test/" + "x" * 3000,
    ],
)
def test_what_is_no_plain_http_url_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        check(text)


def test_ggcr_2243_a_realm_over_plain_http_is_refused_for_an_https_registry() -> None:
    for realm in ("http://auth.test/token", "http://registry.test/token", "http://registry.test:443/token"):
        with pytest.raises(PolicyRefused, match="plain http"):
            check(realm)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "auth.localhost",
        "[::1]",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.9.9",
        "[fd00::1]",
        "0.0.0.0",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "localhost.",
    ],
)
def test_ggcr_2285_regclient_a_realm_inside_our_network_is_refused(host: str) -> None:
    with pytest.raises(PolicyRefused, match="address"):
        check(f"https://{host}/token")


def test_an_internal_realm_is_fine_at_the_registrys_own_host_and_port() -> None:
    registry = Origin.of("https://10.0.0.5:5000")
    assert check("https://10.0.0.5:5000/token", registry).password
    with pytest.raises(PolicyRefused):
        check("https://10.0.0.5:5001/token", registry)
    with pytest.raises(PolicyRefused):
        check("https://10.0.0.6:5000/token", registry)


def test_an_internal_realm_is_fine_where_the_user_has_named_it() -> None:
    assert check("https://10.0.0.6/token", HTTPS, "10.0.0.6").password
    assert check("https://[fd00::1]/token", HTTPS, "fd00::1").password
    with pytest.raises(PolicyRefused):
        check("https://auth.localhost/token", HTTPS, "*.localhost")


def test_a_loopback_registry_may_name_other_loopback_ports() -> None:
    """As a test setup does; a password stays with the very host all the same."""
    assert check("http://127.0.0.1:5001/token", LOOPBACK).password
    assert not check("http://localhost:5001/token", LOOPBACK).password


def test_ggcr_2292_2302_realm_hosts_narrow_the_choice() -> None:
    allowed = ("auth.test", "*.example.test")
    assert check("https://auth.test/token", HTTPS, *allowed).password
    assert check("https://deep.down.example.test/token", HTTPS, *allowed).password
    assert check("https://registry.test/token", HTTPS, *allowed).password
    for other in ("evil.test", "example.test", "notauth.test", "auth.test.evil.test", "xexample.test"):
        with pytest.raises(PolicyRefused, match="realm_hosts"):
            check(f"https://{other}/token", HTTPS, *allowed)


@pytest.mark.parametrize(
    "text",
    ["https://user@auth.test/", "https://user:pass@auth.test/", "https://auth.test:@evil.test/", "https://@evil.test/"],
)
def test_cve_2024_47081_user_information_in_a_realm_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(PolicyRefused) as caught:
        check(text)
    assert "user:" not in str(caught.value)
    assert "pass" not in str(caught.value)


def test_distribution_2026_a_password_follows_only_what_tls_vouches_for() -> None:
    """Over plain http, or with the certificate unchecked, anybody could have named the realm."""
    assert not check("https://auth.test/token", HTTP).password
    assert not check("http://auth.test/token", HTTP).password
    assert not check("https://auth.test/token", HTTPS, verified=False).password
    assert check("https://registry.test/token", HTTPS, verified=False).password
    assert check("http://registry.test:5001/token", HTTP).password
    assert check("https://registry.test/token", HTTP).password


def test_a_listed_realm_gets_the_password_over_tls_only() -> None:
    assert check("https://auth.test/token", HTTP, "auth.test").password
    assert not check("http://auth.test/token", HTTP, "auth.test").password
