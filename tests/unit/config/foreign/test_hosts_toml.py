"""containerd's hosts.toml: the endpoints of the examples of its documentation, in order (behaviours D1-D7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.config_files import chosen, urls, write

from dist_tool import config
from dist_tool.config.foreign import sources as others
from dist_tool.errors import InvalidArgument
from dist_tool.settings import EVERYTHING, Settings, Tls

CERTIFICATES = ("docker-mirror.crt", "mirror.pem", "test-1-ca.pem", "special.pem", "client.cert", "client.key")


@pytest.fixture(autouse=True)
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that stands for /etc. It does not exist yet."""
    directory = tmp_path / "etc"
    monkeypatch.setattr(others, "ETC", str(directory))
    return directory


@pytest.fixture
def root(etc: Path) -> Path:
    return etc / "containerd" / "certs.d"


def settings(**environ: str) -> Settings:
    return config.load(environ, file="")


def hosts(root: Path, host: str, text: str) -> Path:
    for name in (*CERTIFICATES, "client.pem", "client-1.pem", "client-2.pem"):
        write(root / host / name)
    return write(root / host / "hosts.toml", text)


# --- The examples of containerd's docs/hosts.md.


def test_the_default_host_of_docker(root: Path) -> None:
    hosts(
        root,
        "docker.io",
        """
        server = "https://docker.io"

        [host."https://registry-1.docker.io"]
          capabilities = ["pull", "resolve"]
        """,
    )
    assert urls(settings(), "redis") == ["https://docker.io/v2/library/redis"] * 2  # what docker.io's API is, is known
    mirror, primary = chosen(settings(), "redis").endpoints
    assert (mirror.capabilities, primary.capabilities) == ({"pull", "resolve"}, EVERYTHING)
    assert not mirror.ns
    assert not primary.ns


def test_local_mirrors_for_docker(root: Path) -> None:
    file = hosts(
        root,
        "docker.io",
        """server = "https://registry-1.docker.io"    # Exclude this to not use upstream

[host."https://public-mirror.example.com"]
  capabilities = ["pull"]                  # Requires less trust, won't resolve tag to digest from this host
[host."https://docker-mirror.internal"]
  capabilities = ["pull", "resolve"]
  ca = "docker-mirror.crt"                 # Or absolute path
""",
    )
    assert urls(settings(), "redis") == [
        "https://public-mirror.example.com/v2/library/redis",
        "https://docker-mirror.internal/v2/library/redis",
        "https://docker.io/v2/library/redis",
    ]
    public, private, primary = chosen(settings(), "redis").endpoints
    assert [endpoint.can("resolve") for endpoint in (public, private, primary)] == [False, True, True]
    assert [endpoint.ns for endpoint in (public, private, primary)] == [True, True, False]
    assert private.tls == Tls(ca=(f"{file.parent}/docker-mirror.crt",))
    assert [endpoint.where for endpoint in (public, private, primary)] == [f"{file}:{line}" for line in (3, 5, 1)]


def test_a_default_mirror_for_all_registries_and_upstream_after_it(root: Path) -> None:
    hosts(root, "_default", '[host."https://registry.example.com"]\n  capabilities = ["pull", "resolve"]\n')
    assert urls(settings(), "quay.example/a/b") == ["https://registry.example.com/v2/a/b", "?://quay.example/v2/a/b"]
    assert urls(settings(), "redis")[-1] == "?://docker.io/v2/library/redis"
    found = chosen(settings(), "quay.example/a/b")
    assert (found.mirrors[0].ns, found.prefix) == (True, "quay.example")


def test_a_server_that_is_the_mirror_forbids_upstream(root: Path) -> None:
    hosts(root, "_default", 'server = "https://registry.example.com"\n')
    assert urls(settings(), "quay.example/a") == ["https://registry.example.com/v2/a"]
    assert chosen(settings(), "quay.example/a").own.ns


def test_a_private_registry_without_verification(root: Path) -> None:
    hosts(
        root,
        "docker.io",
        """
        server = "https://registry-1.docker.io"

        [host."http://192.168.31.250:5000"]
          capabilities = ["pull", "resolve", "push"]
          skip_verify = true
        """,
    )
    assert urls(settings(), "redis") == [
        "http://192.168.31.250:5000/v2/library/redis",
        "https://docker.io/v2/library/redis",
    ]
    mirror, primary = chosen(settings(), "redis").endpoints
    assert (mirror.tls.skip_verify, primary.tls.skip_verify) == (True, False)


def test_the_hosts_of_the_description_in_detail(root: Path) -> None:
    text = """
        [host."https://mirror.registry"]
          capabilities = ["pull"]
          ca = "mirror.pem"
          skip_verify = false
          [host."https://mirror.registry".header]
            x-custom-2 = ["value1", "value2"]

        [host."https://mirror-bak.registry/us"]
          capabilities = ["pull"]
          skip_verify = true

        [host."http://mirror.registry"]
          capabilities = ["pull"]

        [host."https://test-1.registry"]
          capabilities = ["pull", "resolve", "push"]
          ca = ["test-1-ca.pem", "special.pem"]
          client = [["client.cert", "client.key"],["client.pem", ""]]

        [host."https://test-2.registry"]
          client = "client.pem"

        [host."https://test-3.registry"]
          client = ["client-1.pem", "client-2.pem"]

        [host."https://non-compliant-mirror.registry/v2/upstream"]
          capabilities = ["pull"]
          override_path = true
        """
    at = hosts(root, "up.example", text).parent
    assert urls(settings(), "up.example/team/app") == [
        "https://mirror.registry/v2/team/app",
        "https://mirror-bak.registry/us/v2/team/app",
        "http://mirror.registry/v2/team/app",
        "https://test-1.registry/v2/team/app",
        "https://test-2.registry/v2/team/app",
        "https://test-3.registry/v2/team/app",
        "https://non-compliant-mirror.registry/v2/upstream/team/app",
        "?://up.example/v2/team/app",
    ]
    found = chosen(settings(), "up.example/team/app").mirrors
    assert found[0].header == {"x-custom-2": "value1, value2"}
    assert found[3].tls == Tls(
        ca=(f"{at}/test-1-ca.pem", f"{at}/special.pem"),
        client=((f"{at}/client.cert", f"{at}/client.key"), (f"{at}/client.pem", f"{at}/client.pem")),
    )
    assert found[4].tls.client == ((f"{at}/client.pem", f"{at}/client.pem"),)
    assert found[5].tls.client == tuple((f"{at}/client-{n}.pem",) * 2 for n in (1, 2))


# --- Which directory (D1).


@pytest.mark.parametrize(
    ("directories", "host", "mirror"),
    [
        (["a.example_5000_", "a.example:5000", "_default"], "a.example:5000", "a.example_5000_"),
        (["a.example:5000", "_default"], "a.example:5000", "a.example:5000"),
        (["a.example", "_default"], "a.example:5000", "_default"),
        (["a.example", "_default"], "a.example", "a.example"),
        (["a.example"], "b.example", ""),
        (["[::1]_5000_"], "[::1]:5000", "[::1]_5000_"),
        (["[::1]"], "[::1]", "[::1]"),
        (["localhost"], "localhost", "localhost"),
    ],
)
def test_the_first_directory_for_a_host_counts(directories: list[str], host: str, mirror: str, root: Path) -> None:
    for number, name in enumerate(directories):
        hosts(root, name, f'[host."https://m{number}.example"]\n')
    found = chosen(settings(), f"{host}/x").mirrors
    assert [endpoint.location for endpoint in found] == (
        [f"m{directories.index(mirror)}.example"] if mirror in directories else []
    )


def test_an_empty_host_directory_hides_the_default(root: Path) -> None:
    hosts(root, "_default", '[host."https://m.example"]\n')
    (root / "a.example").mkdir()
    assert settings().route_for(chosen_locator("a.example/x")) is None


def test_another_certs_d_directory_can_be_configured(root: Path, tmp_path: Path) -> None:
    hosts(root, "a.example", '[host."https://etc.example"]\n')
    hosts(tmp_path / "other", "a.example", '[host."https://other.example"]\n')
    by_variable = settings(DIST_HOSTS_DIR=str(tmp_path / "other"))
    file = write(tmp_path / "config.toml", 'hosts_dir = "other"\n')
    for found in (by_variable, config.load({}, file=str(file))):
        assert [mirror.location for mirror in chosen(found, "a.example/x").mirrors] == ["other.example"]


def chosen_locator(text: str):  # type: ignore[no-untyped-def]
    from dist_tool.names.locator import parse_locator

    return parse_locator(text)


# --- What a file says.


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://m.example", "https://m.example/v2/x"),
        ("m.example", "https://m.example/v2/x"),
        ("m.example:8443/hub", "https://m.example:8443/hub/v2/x"),
        ("http://m.example/", "http://m.example/v2/x"),
        ("https://m.example/v2", "https://m.example/v2/x"),
        ("https://m.example/v2/", "https://m.example/v2/x"),
        ("https://m.example/a//b/", "https://m.example/a/b/v2/x"),
        ("https://m.example/v2/hub", "https://m.example/v2/hub/v2/x"),
        ("https://registry", "https://registry:443/v2/x"),
        ("http://localhost", "http://localhost/v2/x"),
        ("http://[::1]:5000", "http://[::1]:5000/v2/x"),
        ("https://M.Example", "https://m.example/v2/x"),
    ],
)
def test_v2_is_put_after_the_path_of_a_host(url: str, meant: str, root: Path) -> None:
    hosts(root, "a.example", f'[host."{url}"]\n')
    assert urls(settings(), "a.example/x")[0] == meant


@pytest.mark.parametrize(
    ("url", "meant"),
    [("https://m.example", "https://m.example/x"), ("https://m.example/api/hub/", "https://m.example/api/hub/x")],
)
def test_override_path_is_used_without_v2(url: str, meant: str, root: Path) -> None:
    hosts(root, "a.example", f'[host."{url}"]\noverride_path = true\n')
    assert urls(settings(), "a.example/x")[0] == meant


def test_top_level_keys_configure_the_server(root: Path) -> None:
    hosts(
        root,
        "a.example",
        'capabilities = ["PULL"]\nca = "mirror.pem"\nskip_verify = true\ndial_timeout = "1s"\n[header]\nx-a = "b"\n'
        '[host."https://m.example"]\ncapabilities = []\ndial_timeout = "0s"\n',
    )
    mirror, primary = chosen(settings(), "a.example/x").endpoints
    assert (primary.capabilities, primary.timeout.connect_s, primary.header) == ({"pull"}, 1.0, {"x-a": "b"})
    assert primary.tls == Tls(ca=(f"{root}/a.example/mirror.pem",), skip_verify=True)
    assert (mirror.capabilities, mirror.timeout.connect_s, mirror.header, mirror.tls) == (EVERYTHING, 10.0, {}, Tls())


def test_unknown_keys_are_ignored_as_containerd_does(root: Path) -> None:
    hosts(root, "a.example", 'novelty = 1\n[host."https://m.example"]\nnovelty = 2\n')
    assert len(chosen(settings(), "a.example/x").mirrors) == 1


def test_header_values_are_not_expanded(root: Path) -> None:
    hosts(root, "a.example", '[host."https://m.example".header]\nx-a = "${HOME}"\n')
    assert chosen(settings(HOME="/home/me"), "a.example/x").mirrors[0].header == {"x-a": "${HOME}"}


# --- Broken files (D7).


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ('server = "https://a.example\n', 1, "not valid TOML"),
        ('\n[host."https://m.example"]\ncapabilities = ["pull", "fly"]\n', 3, "is 'fly'"),
        ('\n[host."ftp://m.example"]\n', 2, "is not the URL of a registry"),
        ('\n[host."https://me:pw@m.example"]\n', 2, "is not the URL of a registry"),
        ('\n[host."https://m.example?x=1"]\n', 2, "is not the URL of a registry"),
        ('\n[host."https://m.example/a b"]\n', 2, "is not the path of an API"),
        ('\n\nserver = "https://:5000"\n', 3, "is not the URL of a registry"),
        ("server = 1\n", 1, "expected a string"),
        ('[host."https://m.example"]\nca = "missing.crt"\n', 2, "missing.crt does not exist"),
        ('[host."https://m.example"]\nca = 1\n', 2, "expected a string"),
        ('[host."https://m.example"]\nclient = [["a"]]\n', 2, "expected a certificate and its key"),
        ('[host."https://m.example"]\nskip_verify = "yes"\n', 2, "expected true or false"),
        ('[host."https://m.example"]\ndial_timeout = "fast"\n', 2, "'fast' is not a duration"),
        ('[host."https://m.example".header]\nAuthorization = "Basic eA=="\n', 2, "credentials come from the files"),
        ("host = 1\n", 1, "expected a table"),
    ],
)
def test_a_broken_file_is_an_error_with_its_line_and_no_way_around_the_mirror(
    text: str, line: int, expected: str, root: Path
) -> None:
    file = hosts(root, "a.example", text)
    with pytest.raises(InvalidArgument) as caught:
        chosen(settings(), "a.example/x")
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert expected in str(caught.value)


def test_a_broken_file_for_one_host_is_no_concern_of_another(root: Path) -> None:
    hosts(root, "a.example", "server = \n")
    assert chosen(settings(), "b.example/x") == chosen(Settings(), "b.example/x")


# --- docker's certificates (D6).


def test_without_hosts_toml_certificates_are_found_by_dockers_pattern(root: Path) -> None:
    at = root / "a.example"
    for name in ("ca.crt", "b.crt", "client.cert", "client.key", "alone.cert", "notes.txt"):
        write(at / name)
    assert chosen(settings(), "a.example/x").own.tls == Tls(
        ca=(f"{at}/b.crt", f"{at}/ca.crt"),
        client=((f"{at}/alone.cert", f"{at}/alone.cert"), (f"{at}/client.cert", f"{at}/client.key")),
    )
    write(at / "hosts.toml", "")
    assert len(chosen(settings(), "a.example/x").own.tls.ca) == 2, "an empty file is none"


def test_each_endpoint_has_the_certificates_of_its_own_host(etc: Path, root: Path) -> None:
    hosts(root, "a.example", '[host."https://m.example:8443"]\n[host."https://n.example"]\nca = "mirror.pem"\n')
    for place in ("docker/certs.d/m.example:8443", "docker/certs.d/n.example", "containers/certs.d/a.example"):
        write(etc / place / "ca.crt")
    found = [endpoint.tls.ca for endpoint in chosen(settings(), "a.example/x").endpoints]
    assert found == [
        (f"{etc}/docker/certs.d/m.example:8443/ca.crt",),
        (f"{root}/a.example/mirror.pem",),
        (f"{etc}/containers/certs.d/a.example/ca.crt",),
    ]


def test_the_users_certificates_come_before_the_systems(etc: Path, isolation: Path) -> None:
    user = write(isolation / ".config" / "containers" / "certs.d" / "a.example" / "ca.crt")
    for name in ("containers", "docker"):
        write(etc / name / "certs.d" / "a.example" / "ca.crt")
    assert chosen(settings(HOME=str(isolation)), "a.example/x").own.tls.ca == (str(user),)
    assert chosen(settings(), "a.example/x").own.tls.ca == (f"{etc}/containers/certs.d/a.example/ca.crt",)


@pytest.mark.parametrize("name", ["docker.io", "registry-1.docker.io"])
def test_docker_hub_has_two_names_for_its_certificates(name: str, etc: Path) -> None:
    file = write(etc / "docker" / "certs.d" / name / "ca.crt")
    assert chosen(settings(), "redis").own.tls.ca == (str(file),)


def test_certificates_come_to_our_own_tables_that_say_nothing_on_tls(etc: Path, tmp_path: Path) -> None:
    found = write(etc / "docker" / "certs.d" / "m.example" / "ca.crt")
    own = write(tmp_path / "own.pem")
    text = '[[remote]]\nprefix = "{0}"\nlocation = "m.example/x"\n{1}\n'
    file = write(tmp_path / "c.toml", text.format("a.example", "") + text.format("b.example", 'tls.ca = ["own.pem"]'))
    loaded = config.load({}, file=str(file))
    assert chosen(loaded, "a.example/y").own.tls.ca == (str(found),)
    assert chosen(loaded, "b.example/y").own.tls.ca == (str(own),)


def test_a_key_without_its_certificate_is_refused(etc: Path) -> None:
    file = write(etc / "docker" / "certs.d" / "a.example" / "client.key")
    with pytest.raises(InvalidArgument, match=f"{file} has no certificate"):
        chosen(settings(), "a.example/x")


# --- Whose word counts (D17).


def test_our_own_table_wins(root: Path, tmp_path: Path) -> None:
    hosts(root, "a.example", "server = \n")
    file = write(tmp_path / "config.toml", '[[remote]]\nprefix = "a.example"\nlocation = "own.example"\n')
    assert chosen(config.load({}, file=str(file)), "a.example/x").own.location == "own.example"


@pytest.mark.parametrize("words", ["none", "registries.conf", "registries.conf, certs.d"])
def test_sources_that_are_not_imported_are_not_read(words: str, root: Path) -> None:
    hosts(root, "a.example", "server = \n")
    assert not chosen(settings(DIST_IMPORT=words), "a.example/x").mirrors


def test_the_imported_sources_are_configured_and_the_environment_wins(root: Path, tmp_path: Path) -> None:
    hosts(root, "a.example", '[host."https://m.example"]\n')
    file = str(write(tmp_path / "config.toml", "import = []\n"))
    assert not chosen(config.load({}, file=file), "a.example/x").mirrors
    assert chosen(config.load({"DIST_IMPORT": "hosts.toml"}, file=file), "a.example/x").mirrors


def test_an_unknown_word_in_the_environment_is_refused() -> None:
    with pytest.raises(
        InvalidArgument, match=r"DIST_IMPORT: 'hosts' is not known: use some of hosts.toml, registries.conf"
    ):
        settings(DIST_IMPORT="hosts")


def test_locators_of_other_kinds_are_no_concern_of_others(root: Path) -> None:
    hosts(root, "a.example", "server = \n")
    assert settings().route_for(chosen_locator("http::a.example/x")) is None
    assert settings().route_for(chosen_locator("./a.example/x")) is None
