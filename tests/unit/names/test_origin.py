"""Exact URLs, origins and classes of hosts."""

from __future__ import annotations

import pytest

from dist_tool.errors import ProtocolError
from dist_tool.names.origin import Origin, host_class, resolve_location, split_url

BASE = "http://base.test:5000/v2/app?x=1"


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("http://a.test", "http://a.test", "/"),
        ("HTTP://A.Test:80/b", "http://a.test", "/b"),
        ("https://a.test:/b", "https://a.test", "/b"),
        ("https://a.test:444?x=/y", "https://a.test:444", "/?x=/y"),
        ("http://[::1]:5000/b#fragment", "http://[::1]:5000", "/b"),
        ("http://a.test/%2f%7E~|[]/%2e%2e/a//b\\c?d='\"<>", "http://a.test", "/%2f%7E~|[]/%2e%2e/a//b\\c?d='\"<>"),
        ("http://a.test/b@c:d", "http://a.test", "/b@c:d"),
        ("http://a.test/a b/\u00fc?\u20ac", "http://a.test", "/a%20b/%C3%BC?%E2%82%AC"),
    ],
)
def test_url_is_split_into_origin_and_unchanged_target(url: str, origin: str, target: str) -> None:
    found, rest = split_url(url)
    assert (str(found), rest) == (origin, target)
    assert split_url(f"{found}{rest}") == (found, rest)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a.test/", "//a.test/", "a.test", "http:a.test", "http:///a", "http://", "http://a.test:0/"),
        *("http://a.test:65536/", "http://a.test:x/", "http://a.test:5 /", "http://me@a.test/", "http://me:pw@a.test/"),
        *("http://127.0.0.1:80\\@a.test/", "http://127.0.0.1\\.a.test/", "http://a\\b/", "http://a.test\t/"),
        *("http://a.test/\r\nX: y", "http://a.test/\0", "http://a.test/\x7f", "http://a b/", "http://\u00fc.test/"),
        *("http://a%2etest/", "http://[::1/", "http://[fe80::1%25eth0]/", "http://::1/", "http://\u212aube.test/"),
    ],
)
def test_url_that_two_parsers_may_read_differently_is_refused(url: str) -> None:
    with pytest.raises(ProtocolError):
        split_url(url)
    with pytest.raises(ProtocolError):
        Origin.of(url)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://cdn.test/%2f/%7E~/[|]/%2e%2e/x?a=b%2Fc&d", "https://cdn.test/%2f/%7E~/[|]/%2e%2e/x?a=b%2Fc&d"),
        ("https://cdn.test/a/../b?", "https://cdn.test/a/../b?"),
        ("https://me:pw@cdn.test/b@c", "https://cdn.test/b@c"),
        ("//cdn.test//b", "http://cdn.test//b"),
        ("/b%2fc?", "http://base.test:5000/b%2fc?"),
        ("/a/../b#f", "http://base.test:5000/b"),
        ("b", "http://base.test:5000/v2/b"),
        ("?y=2", "http://base.test:5000/v2/app?y=2"),
        ("/\u00c3\u00bc b", "http://base.test:5000/%C3%BC%20b"),  # UTF-8, as header fields are decoded
        ("/\u00fc", "http://base.test:5000/%FC"),
        ("http://127.0.0.1\\@cdn.test/", "http://127.0.0.1\\@cdn.test/"),  # for `split_url` to refuse
    ],
)
def test_location_is_kept_as_it_came(location: str, url: str) -> None:
    assert resolve_location(BASE, location) == url


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        *((host, "public") for host in ("a.test", "8.8.8.8", "100.63.255.255", "100.128.0.1", "64:ff9b::8.8.8.8")),
        *((host, "private") for host in ("10.0.0.1", "100.64.0.1", "100.127.255.255", "fd00::1", "64:ff9b::10.0.0.1")),
        *((host, "link-local") for host in ("169.254.169.254", "[fe80::1]", "64:ff9b::169.254.169.254")),
        *(
            (host, "link-local")
            for host in ("100.100.100.200", "0x64.100.100.200", "fd00:ec2::254", "[fd00:ec2:0::254]")
        ),
        *((host, "link-local") for host in ("168.63.129.16", "fd20:ce::254", "fd00:c1::a9fe:a9fe")),
        *((host, "loopback") for host in ("127.1", "::1", "0.0.0.0", "2002:7f00:1::", "::ffff:127.0.0.1")),
    ],
)
def test_class_of_a_host(host: str, kind: str) -> None:
    assert host_class(host) == kind
