"""What a configuration file means, and every way in which it may be wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.bad_config import BAD_CONFIGS, BadConfig
from support.config_files import write
from support.routes import route

from dist_tool import config
from dist_tool.config.tables import DOCUMENT, MIRROR, POLICY, REMOTE
from dist_tool.errors import InvalidArgument
from dist_tool.settings import AuthSettings, Redirects, Route, Settings, Timeouts, Tls
from dist_tool.stream.retry import Retry

ROOT = Path(__file__).resolve().parents[3]


def load(tmp_path: Path, toml: str, environ: Mapping[str, str] | None = None) -> Settings:
    file = tmp_path / "config.toml"
    file.write_text(toml, encoding="utf-8")
    return config.load(environ or {}, file=str(file))


def remote(tmp_path: Path, body: str, environ: Mapping[str, str] | None = None) -> Route:
    """The only `[[remote]]` of a file, its prefix given where `body` has none."""
    start = "" if body.startswith("prefix") else 'prefix = "registry.example"\n'
    return load(tmp_path, f"[[remote]]\n{start}{body}\n", environ).routes[0]


@pytest.mark.parametrize("case", BAD_CONFIGS, ids=lambda case: case.name)
def test_a_bad_file_is_refused_with_its_line(case: BadConfig, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(tmp_path, case.toml)
    place = f"{tmp_path}/config.toml:{case.line}: " if case.line else f"{tmp_path}/config.toml: "
    assert str(caught.value).startswith(place)
    assert case.expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_every_key_arrives_in_the_settings(tmp_path: Path) -> None:
    for name in ("ca.pem", "c.pem", "c.key", "auth.json"):
        (tmp_path / name).touch()
    settings = load(
        tmp_path,
        """
        [fetch]
        timeout = "1m30s"
        max_size = "8MiB"
        lenient = true
        token_cache = false

        [[remote]]
        prefix = "docker.io/library"
        kind = "registry"
        location = "mirror.example:5000/hub"
        blocked = true
        plain_http = false
        tls = { ca = ["ca.pem"], client = [["c.pem", "c.key"]], skip_verify = true }
        header = { x-tenant = "${TENANT}" }
        proxy = "http://proxy.example:3128"
        timeout = { connect = "1s", headers = 2, idle = 3.5, floor = "1KiB", floor_window = "4s" }
        retry = { attempts = 7, base = "100ms", cap = "5s", max_wait = "2m" }
        redirect = { max_hops = 3, allow_hosts = ["*.CDN.example", "[::1]"], allow_private = true }
        auth = { helper = "ecr-login", file = "auth.json", realm_hosts = ["auth.example", "auth.example:8443"] }
        """,
        {"TENANT": "blue", "HOME": "/home/me"},
    )
    assert (settings.timeout_s, settings.max_size, settings.lenient, settings.cache_dir) == (90.0, 8 << 20, True, "")
    assert settings.routes == (
        route(
            "docker.io/library",
            kind="registry",
            location="mirror.example:5000/hub",
            blocked=True,
            plain_http=False,
            tls=Tls((f"{tmp_path}/ca.pem",), ((f"{tmp_path}/c.pem", f"{tmp_path}/c.key"),), skip_verify=True),
            header={"x-tenant": "blue"},
            proxy="http://proxy.example:3128",
            timeout=Timeouts(1.0, 2.0, 3.5, 1024, 4.0),
            retry=Retry(7, 0.1, 5.0, 120.0),
            redirect=Redirects(3, ("*.cdn.example", "::1"), allow_private=True),
            auth=AuthSettings("auto", "ecr-login", f"{tmp_path}/auth.json", ("auth.example", "auth.example:8443")),
            where=f"{tmp_path}/config.toml:8",
        ),
    )


def test_absent_keys_have_their_defaults(tmp_path: Path) -> None:
    found = remote(tmp_path, "retry = { attempts = 2 }\ntimeout = {}")
    assert found == route("registry.example", retry=Retry(attempts=2), where=f"{tmp_path}/config.toml:1")


def test_an_empty_file_is_a_good_file(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Settings()


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io/library", "docker.io/library"),
        ("registry-1.docker.io/library/redis", "docker.io/library/redis"),
        ("Registry.Example/team", "registry.example/team"),
        ("localhost", "localhost"),
        ("localhost:5000/x", "localhost:5000/x"),
        ("[::1]:5000", "[::1]:5000"),
        ("10.0.0.1/x", "10.0.0.1/x"),
        ("*.Example.com", "*.example.com"),
        ("*.example.com:5000", "*.example.com:5000"),
    ],
)
def test_prefixes_are_canonical(written: str, canonical: str, tmp_path: Path) -> None:
    assert remote(tmp_path, f'prefix = "{written}"').prefix == canonical


def test_names_on_docker_io_gain_no_library_in_a_prefix(tmp_path: Path) -> None:
    """`docker.io/bitnami` is a name space; a locator `docker.io/bitnami` would be an image."""
    assert remote(tmp_path, 'prefix = "docker.io/bitnami"').prefix == "docker.io/bitnami"


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("", "registry-1.docker.io/library", "docker.io/library"),
        ("registry", "mirror.example", "mirror.example"),
        ("http", "files.example/a b/%20?x=1", "files.example/a b/%20?x=1"),
        ("s3", "bucket/prefix", "bucket/prefix"),
        ("layout", "images", "{tmp}/images"),
        ("layout", "../images", "{parent}/images"),
        ("archive", "/srv/image.tar", "/srv/image.tar"),
        ("store", "~/store", "/home/me/store"),
    ],
)
def test_a_location_means_what_its_kind_makes_of_it(kind: str, written: str, meant: str, tmp_path: Path) -> None:
    line = f'kind = "{kind}"\n' if kind else ""
    found = remote(tmp_path, f'{line}location = "{written}"', {"HOME": "/home/me"})
    assert found.own.location == meant.format(tmp=tmp_path, parent=tmp_path.parent)


def test_a_blocked_layout_needs_no_location(tmp_path: Path) -> None:
    assert remote(tmp_path, 'kind = "layout"\nblocked = true').blocked


def test_relative_files_lie_beside_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.pem").touch()
    (tmp_path / "config.toml").write_text('[[remote]]\nprefix = "a.example"\ntls.ca = ["pki/ca.pem"]\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert config.load({}, file="../config.toml").routes[0].own.tls.ca == (f"{tmp_path}/pki/ca.pem",)


def test_a_tilde_is_the_home_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    body = 'tls.ca = ["~/ca.pem"]'
    assert remote(tmp_path, body, {"HOME": str(tmp_path)}).own.tls.ca == (f"{tmp_path}/ca.pem",)
    with pytest.raises(InvalidArgument, match=r":3: tls\.ca\[0\]: cannot expand ~: HOME is not set"):
        remote(tmp_path, body)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("Bearer ${TOKEN}", "Bearer s3cret"),
        ("${TOKEN}${TOKEN}", "s3crets3cret"),
        ("${EMPTY}", ""),
        ("$TOKEN costs $5", "$TOKEN costs $5"),
        ("$${TOKEN}", "${TOKEN}"),
        ("${NESTED}", "${TOKEN}"),
        ("a\\tb", "a\tb"),
    ],
)
def test_variables_are_expanded_once_in_header_values(template: str, value: str, tmp_path: Path) -> None:
    environ = {"TOKEN": "s3cret", "EMPTY": "", "NESTED": "${TOKEN}"}
    assert remote(tmp_path, f'header.x-t = "{template}"', environ).own.header == {"x-t": value}


@pytest.mark.parametrize("held", ["s3cret\n", "s3cret\r\nHost: b", " s3cret", "s3crét", "s3cret\0"])
def test_a_variable_that_no_header_can_hold_is_refused_and_not_shown(held: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r":3: header\.x-t is not a header value") as caught:
        remote(tmp_path, 'header.x-t = "${TOKEN}"', {"TOKEN": held})
    assert "s3cr" not in str(caught.value)


def test_variables_are_not_expanded_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=re.escape("${CA} does not exist")):
        remote(tmp_path, 'tls.ca = ["${CA}"]', {"CA": "/dev/null"})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("https://proxy.example", "https://proxy.example"),
        ("http://[::1]:3128/", "http://[::1]:3128/"),
        ("${PROXY}", "http://u:p@proxy.example:1"),
        ("http://me:${PASSWORD}@proxy.example:3128", "http://me:p%40s%2Fs@proxy.example:3128"),
        ("http://me:p%40@${HOST}:3128", "http://me:p%40@proxy.example:3128"),
    ],
)
def test_a_proxy_may_take_its_account_from_the_environment(written: str, meant: str, tmp_path: Path) -> None:
    environ = {"PROXY": "http://u:p@proxy.example:1", "PASSWORD": "p@s/s", "HOST": "proxy.example"}
    assert remote(tmp_path, f'proxy = "{written}"', environ).own.proxy == meant


@pytest.mark.parametrize("held", ["http://s3cret@", "s3cret", "http://proxy.example/s3cret", "http://proxy.example\n"])
def test_a_proxy_that_is_no_url_is_refused_and_not_shown(held: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=":3: proxy is not the URL of a proxy") as caught:
        remote(tmp_path, 'proxy = "${PROXY}"', {"PROXY": held})
    assert "s3cret" not in str(caught.value)


def test_secrets_are_not_in_the_representation_of_settings(tmp_path: Path) -> None:
    environ = {"TOKEN": "s3cret"}
    settings = load(
        tmp_path,
        '[[remote]]\nprefix = "a.example"\nheader.x-t = "${TOKEN}"\nproxy = "http://me:${TOKEN}@proxy.example"\n',
        environ,
    )
    assert settings.routes[0].own.header == {"x-t": "s3cret"}
    assert "s3cret" not in repr(settings)


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"[fetch]\n# caf\xe9\n")
    with pytest.raises(InvalidArgument, match=r"config\.toml:2: not UTF-8"):
        config.load({}, file=f"{tmp_path}/config.toml")


def test_every_key_is_in_the_page_and_every_key_of_the_page_is_known() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    reference = page.partition("\n## Keys")[2].partition("\n## ")[0]
    written = set(re.findall(r"^\| `([a-z_.]+)` \|", reference, re.MULTILINE))
    known = {name.removeprefix("remote.") for name in DOCUMENT.names()} - {"remote", "mirror", "policy", "pin", "store"}
    known |= set(REMOTE.names()) - {"mirror"} | {f"policy.{name}" for name in POLICY.names()} | {"store.path"}
    assert set(MIRROR.names()) < set(REMOTE.names())
    assert written == known


def test_the_recipes_of_the_page_are_good_files(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    recipes = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(recipes) == page.count("```toml")
    for name in ("pki/corporate-ca.pem", "pki/client.pem", "pki/client.key", ".config/dist/team-a.json"):
        write(tmp_path / name)
    environ = {"REGISTRY_TENANT": "blue", "PROXY_PASSWORD": "p@ss", "HOME": str(tmp_path)}
    for recipe in recipes:
        assert load(tmp_path, recipe, environ) != Settings(), recipe
