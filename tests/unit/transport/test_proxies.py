"""Which proxy (behaviours D14)."""

from __future__ import annotations

import pytest

from dist_tool.errors import InvalidArgument, Unsupported
from dist_tool.names.origin import Origin
from dist_tool.transport.proxies import proxies_for

PROXY = "http://proxy.test:3128"
OTHER = "http://other.test:8080"

CASES: list[tuple[str, str, str | None, dict[str, str], dict[str, str]]] = [
    ("none", "https://registry.test", None, {}, {}),
    ("of the scheme", "https://registry.test", None, {"HTTPS_PROXY": PROXY}, {"https": PROXY}),
    ("of the other scheme", "https://registry.test", None, {"HTTP_PROXY": PROXY}, {}),
    ("lower case", "http://registry.test", None, {"http_proxy": PROXY}, {"http": PROXY}),
    ("lower case wins", "https://registry.test", None, {"HTTPS_PROXY": OTHER, "https_proxy": PROXY}, {"https": PROXY}),
    ("all", "https://registry.test", None, {"ALL_PROXY": PROXY}, {"https": PROXY}),
    (
        "the scheme's beats all",
        "https://registry.test",
        None,
        {"ALL_PROXY": OTHER, "https_proxy": PROXY},
        {"https": PROXY},
    ),
    ("empty is unset", "https://registry.test", None, {"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, {"https": PROXY}),
    ("bypassed", "https://registry.test", None, {"HTTPS_PROXY": PROXY, "NO_PROXY": "registry.test"}, {}),
    (
        "bypassed by suffix",
        "https://a.registry.test",
        None,
        {"HTTPS_PROXY": PROXY, "no_proxy": "b, .registry.test"},
        {},
    ),
    ("bypassed by CIDR", "https://10.1.2.3", None, {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, {}),
    (
        "bypassed by port",
        "https://registry.test:5000",
        None,
        {"HTTPS_PROXY": PROXY, "NO_PROXY": "registry.test:5000"},
        {},
    ),
    (
        "another port is not bypassed",
        "https://registry.test:5001",
        None,
        {"HTTPS_PROXY": PROXY, "NO_PROXY": "registry.test:5000"},
        {"https": PROXY},
    ),
    ("all bypassed", "https://registry.test", None, {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, {}),
    ("the remote's own", "https://registry.test", OTHER, {"HTTPS_PROXY": PROXY}, {"https": OTHER}),
    ("the remote wants none", "https://registry.test", "", {"HTTPS_PROXY": PROXY}, {}),
    ("the remote's own is not bypassed", "https://registry.test", OTHER, {"NO_PROXY": "*"}, {"https": OTHER}),
    ("localhost", "http://localhost:5000", None, {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, {}),
    ("127/8", "http://127.8.8.8", None, {"HTTP_PROXY": PROXY}, {}),
    ("::1", "http://[::1]:5000", None, {"HTTP_PROXY": PROXY}, {}),
    ("loopback, even by the remote's own", "http://localhost:5000", OTHER, {}, {}),
    ("a private address is proxied", "http://192.168.0.1", None, {"HTTP_PROXY": PROXY}, {"http": PROXY}),
    ("httpoxy", "http://registry.test", None, {"REQUEST_METHOD": "GET", "HTTP_PROXY": PROXY}, {}),
    (
        "httpoxy, the safe name",
        "http://registry.test",
        None,
        {"REQUEST_METHOD": "GET", "http_proxy": PROXY},
        {"http": PROXY},
    ),
]


@pytest.mark.parametrize(
    ("url", "configured", "environ", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_proxy_of_an_origin(
    url: str, configured: str | None, environ: dict[str, str], expected: dict[str, str]
) -> None:
    assert proxies_for(Origin.of(url), configured, environ) == expected


def test_the_processs_own_environment_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is passed down decides, also for NO_PROXY, which requests would look up by itself (trap T8)."""
    monkeypatch.setenv("HTTPS_PROXY", OTHER)
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxies_for(Origin.of("https://registry.test"), None, {"HTTPS_PROXY": PROXY}) == {"https": PROXY}
    assert proxies_for(Origin.of("https://registry.test"), None, {}) == {}


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "All_Proxy"])
def test_a_socks_proxy_is_refused_by_the_name_of_its_variable(scheme: str, variable: str) -> None:
    with pytest.raises(Unsupported) as caught:
        proxies_for(Origin.of("https://registry.test"), None, {variable: f"{scheme}://me:secret@proxy.test:1080"})
    assert (caught.value.exit_code, caught.value.retryable) == (8, False)
    assert caught.value.what == f"{variable}: SOCKS proxies are not supported"


UNUSABLE = [
    "http://",
    "http://:3128",
    "http://proxy.test:port",
    "http://proxy.test:99999",
    "http://proxy.test:0",
    "http://[::1",
    "ftp://proxy.test",
    "://proxy.test",
    "http://proxy.test:3128\n",
    "me:secret@pro xy.test",
]


@pytest.mark.parametrize("value", UNUSABLE)
def test_a_proxy_that_cannot_be_used_is_refused_by_the_name_of_its_variable(value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        proxies_for(Origin.of("https://registry.test"), None, {"ALL_PROXY": value})
    assert caught.value.what == "ALL_PROXY is not the URL of an http proxy"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["proxy.test:3128", "proxy.test", "me:secret@proxy.test:3128", "https://[fd00::1]:1/"]
)
def test_other_forms_of_a_proxy_are_used(value: str) -> None:
    assert proxies_for(Origin.of("https://registry.test"), None, {"https_proxy": value}) == {"https": value}


def test_an_unusable_proxy_does_no_harm_where_it_is_bypassed() -> None:
    environ = {"ALL_PROXY": "socks5://proxy.test", "NO_PROXY": "registry.test"}
    assert proxies_for(Origin.of("https://registry.test"), None, environ) == {}
