"""`dist config` and `dist auth`: what is configured, seen from the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from support.config_files import write
from support.content import image, write_layout
from support.invoked import Invoke

from dist_tool import config
from dist_tool.config.foreign import sources as others

IMAGE = image("configured store")
SHA = "sha256:" + "a" * 64
EVERYTHING = f"""[policy]
require_digest = ["prod.example"]
max_manifest = "4MiB"

[[remote]]
prefix = "docker.io"
header = {{ x-secret = "${{SECRET}}" }}
proxy = "http://me:${{SECRET}}@proxy.example:3128"
tls = {{ ca = ["ca.pem"], client = [["ca.pem", "ca.pem"]] }}

[[remote.mirror]]
location = "mirror.lan:5000/hub"
plain_http = true
ns = true
capabilities = ["pull"]
proxy = ""

[[remote.mirror]]
kind = "layout"
location = "/srv/images"
flat = true

[fetch]
timeout = "90s"
token_cache = false

[store]
path = "/srv/store"

[pin]
"redis:7" = "{SHA}"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with something of everything, in force."""
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setattr(config, "SYSTEM_DIRECTORY", f"{tmp_path}/etc/dist")
    write(tmp_path / "ca.pem")
    file = write(tmp_path / "config.toml", EVERYTHING)
    monkeypatch.setenv("DIST_CONFIG", str(file))
    return file


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /etc, its files read."""
    monkeypatch.setattr(others, "ETC", str(tmp_path / "etc"))
    monkeypatch.delenv("DIST_IMPORT")
    return tmp_path / "etc"


def explained(invoke: Invoke, *words: str) -> dict:  # type: ignore[type-arg]
    result = invoke("config", "explain", "--json", *words)
    assert (result.code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_explain_names_every_place_in_order_with_its_line(file: Path, invoke: Invoke) -> None:
    found = explained(invoke, "redis:7")
    assert (found["locator"], found["object"]) == ("docker.io/library/redis", "7")
    assert (found["prefix"], found["where"]) == ("docker.io", f"{file}:5")
    assert [(place["role"], place["target"], place["where"]) for place in found["endpoints"]] == [
        ("mirror", "registry::mirror.lan:5000/hub/library/redis", f"{file}:11"),
        ("mirror", "layout::/srv/images", f"{file}:18"),
        ("remote", "registry::docker.io/library/redis", f"{file}:5"),
    ]
    assert [place["url"] for place in found["endpoints"]] == [
        "http://mirror.lan:5000/v2/hub/library/redis",
        "",
        "https://registry-1.docker.io/v2/library/redis",
    ]


def test_explain_tells_what_each_place_is_trusted_and_shown_with(file: Path, invoke: Invoke) -> None:
    mirror, layout, remote = explained(invoke, "redis")["endpoints"]
    assert (mirror["capabilities"], mirror["ns"], mirror["tls"], mirror["proxy"]) == (["pull"], "docker.io", None, "")
    assert remote["tls"] == {
        "verify": True,
        "ca": [f"{file.parent}/ca.pem"],
        "client": [[f"{file.parent}/ca.pem"] * 2],
        "insecure": False,
    }
    assert (remote["proxy"], remote["header"], layout["credentials"]) == ("http://proxy.example:3128", ["x-secret"], [])


def test_explain_tells_policy_and_pin_of_the_object(file: Path, invoke: Invoke) -> None:
    pinned = explained(invoke, "redis:7")
    assert pinned["pin"] == {"digest": SHA, "where": f"{file}:31"}
    assert pinned["policy"]["require_digest"] == {"value": ["prod.example"], "where": f"{file}:2"}
    assert pinned["refused"] == ""
    assert explained(invoke, "redis:8")["pin"] is None
    assert "requires a digest" in explained(invoke, "prod.example/x:1")["refused"]
    assert explained(invoke, f"prod.example/x@{SHA}")["refused"] == ""
    assert explained(invoke, "prod.example/x")["refused"] == "", "no object, no refusal"


def test_explain_in_words_says_the_same(file: Path, invoke: Invoke) -> None:
    text = invoke("config", "explain", "redis:7").stdout.decode()
    assert text.startswith(f"docker.io/library/redis 7\n  table: docker.io ({file}:5)\n  1. mirror: http://mirror.lan")
    for part in (
        "may: pull\n",
        "tls: none, plain http",
        "ns: docker.io",
        f"pin: {SHA} ({file}:31)",
        "header: x-secret",
    ):
        assert part in text
    assert "refused: " in invoke("config", "explain", "prod.example/x:1").stdout.decode()


def test_no_secret_is_ever_shown(file: Path, invoke: Invoke) -> None:
    write(file.parent / "home/.docker/config.json", '{"auths": {"docker.io": {"auth": "bWU6czNjcmV0"}}}')
    for words in (
        ["config", "explain", "redis"],
        ["config", "explain", "--json", "redis"],
        ["config", "show"],
        ["config", "show", "--json"],
        ["auth", "explain", "redis"],
    ):
        result = invoke(*words)
        assert result.code == 0
        assert b"s3cret" not in result.stdout
        assert b"bWU6czNjcmV0" not in result.stdout


def test_explain_knows_others_files_and_their_aliases(etc: Path, invoke: Invoke) -> None:
    hosts = write(etc / "containerd/certs.d/a.example/hosts.toml", '[host."https://m.example"]\n')
    conf = write(
        etc / "containers/registries.conf",
        '[[registry]]\nlocation = "b.example"\ninsecure = true\n[aliases]\nfedora = "b.example/fedora"\n',
    )
    found = explained(invoke, "a.example/x")
    assert (found["where"], [place["url"] for place in found["endpoints"]]) == (
        str(hosts),
        ["https://m.example/v2/x", "https://a.example/v2/x"],
    )
    found = explained(invoke, "fedora")
    assert (found["locator"], found["where"]) == ("b.example/fedora", f"{conf}:1")
    assert "NOT VERIFIED, or plain http" in invoke("config", "explain", "fedora").stdout.decode()


def test_explain_of_a_name_without_a_table_and_of_a_directory(invoke: Invoke) -> None:
    (place,) = explained(invoke, "localhost:5000/x:1")["endpoints"]
    assert (place["role"], place["url"], place["where"]) == ("remote", "http://localhost:5000/v2/x", "")
    (place,) = explained(invoke, "./images:v1")["endpoints"]
    assert (place["role"], place["target"]) == ("remote", "./images")


@pytest.mark.parametrize("words", [["config", "explain", "https://a.example/x"], ["config", "explain", "a.example/X"]])
def test_what_is_no_name_is_a_usage_error(words: list[str], invoke: Invoke) -> None:
    assert invoke(*words).code == 2


def test_show_is_a_configuration_that_means_the_same(file: Path, invoke: Invoke) -> None:
    shown = invoke("config", "show").stdout.decode()
    assert f"[[remote]]  # {file}:5\n" in shown
    assert shown.split("\n\n")[-1].strip(), "one blank line between tables, none at the end"
    document = tomllib.loads(shown)
    assert document == json.loads(invoke("config", "show", "--json").stdout)
    assert document["remote"][0]["header"] == {"x-secret": "…"}
    assert document["remote"][0]["proxy"] == "http://…@proxy.example:3128"
    assert document["fetch"] == {"timeout": 90, "token_cache": False}
    assert "timeout = 90\n" in shown
    assert document["policy"] == {"require_digest": ["prod.example"], "max_manifest": 4 << 20}
    again = write(file.parent / "again.toml", shown.replace("…", "x"))
    assert json.loads(invoke("config", "show", "--json", "--config", str(again)).stdout) == document


def test_remotes_say_where_each_name_comes_from(file: Path, invoke: Invoke) -> None:
    write(
        file,
        '[[remote]]\nprefix = "a.example"\nblocked=true\n[[remote]]\nprefix = "b.example"\nlocation = "c.example/b"\n',
    )
    lines = [json.loads(line) for line in invoke("remotes", "--json").stdout.splitlines()]
    assert [line for line in lines if "prefix" in line] == [
        {"prefix": name, "kind": "registry", "location": place, "blocked": blocked, "where": f"{file}:{number}"}
        for name, place, blocked, number in (
            ("a.example", "a.example", True, 1),
            ("b.example", "c.example/b", False, 4),
        )
    ]
    shown = [line.split() for line in invoke("remotes").stdout.decode().splitlines()[-2:]]
    assert shown == [
        ["a.example", "registry", "blocked", f"{file}:1"],
        ["b.example", "registry", "c.example/b", f"{file}:4"],
    ]


def test_show_of_nothing_is_nothing(invoke: Invoke) -> None:
    assert (invoke("config", "show").stdout, invoke("config", "show", "--json").stdout) == (b"", b"{}\n")


def test_check_lists_what_is_in_order(file: Path, etc: Path, invoke: Invoke) -> None:
    hosts = write(etc / "containerd/certs.d/a.example/hosts.toml", 'server = "https://m.example"')
    conf = write(etc / "containers/registries.conf.d/1.conf")
    result = invoke("config", "check")
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.decode().splitlines() == [f"{name}: ok" for name in (file, hosts, conf)]
    assert invoke("config", "check", "-q").stdout == b""


def test_check_lists_everything_that_is_wrong_in_every_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    system = write(file.parent / "etc/dist/config.toml", "[fetch]\ntimeout = 'x'\nsize = 1\n[policy]\nblocked = 1\n")
    drop_in = write(file.parent / "etc/dist/config.d/a.toml", "[[remote]\n")
    monkeypatch.setenv("DIST_TIMEOUT", "soon")
    result = invoke("config", "check")
    assert result.code == 2
    places = [line.split(": ")[1] for line in result.stderr.splitlines()]
    assert places == [f"{system}:2", f"{system}:3", f"{system}:5", f"{drop_in}:1", "DIST_TIMEOUT"]
    assert result.stdout.decode() == f"{file}: ok\n"


def test_check_finds_what_is_wrong_in_others_files(etc: Path, invoke: Invoke) -> None:
    hosts = write(etc / "containerd/certs.d/a.example/hosts.toml", '\nserver = 1\nskip_verify = "no"\n')
    conf = write(etc / "containers/registries.conf", '[[registry]]\nlocation = "x"\n')
    result = invoke("config", "check", "--error-format", "json")
    assert result.code == 2
    errors = [json.loads(line) for line in result.stderr.splitlines()]
    assert [error["message"].split(": ")[0] for error in errors] == [f"{hosts}:3", f"{conf}:2"]
    assert {error["code"] for error in errors} == {"InvalidArgument"}


def test_path_is_the_file_to_edit(file: Path, isolation: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    assert invoke("config", "path").stdout.decode() == f"{file}\n"
    monkeypatch.delenv("DIST_CONFIG")
    own = isolation / ".config" / "dist" / "config.toml"
    assert invoke("config", "path").stdout.decode() == f"{own}\n"
    assert invoke("config", "path", "--all").stdout == b""
    write(own)
    drop_in = write(own.parent / "config.d" / "a.toml")
    assert invoke("config", "path", "--all").stdout.decode() == f"{own}\n{drop_in}\n"
    assert invoke("config", "path", "--config", "").code == 2


def test_auth_explain_names_the_sources_for_each_registry(file: Path, isolation: Path, invoke: Invoke) -> None:
    write(isolation / ".docker/config.json", '{"auths": {"mirror.lan:5000": {"username": "u", "password": "p"}}}')
    found = json.loads(invoke("auth", "explain", "--json", "redis").stdout)
    assert [each["url"] for each in found] == [
        "http://mirror.lan:5000/v2/hub/library/redis",
        "https://registry-1.docker.io/v2/library/redis",
    ]
    ours = "~/.docker/config.json: "
    assert f"{ours}user and password (u) under 'mirror.lan:5000'" in found[0]["sources"]
    assert f"{ours}nothing for docker.io" in found[1]["sources"]
    assert f"  {ours}nothing for docker.io\n" in invoke("auth", "explain", "redis").stdout.decode()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ghcr.io", "https://ghcr.io/v2/"),
        ("GHCR.io:443", "https://ghcr.io:443/v2/"),
        ("index.docker.io", "https://registry-1.docker.io/v2/"),
        ("localhost:5000", "http://localhost:5000/v2/"),
        ("[::1]:5000", "http://[::1]:5000/v2/"),
        ("registry.example/app:v1", "https://registry.example/v2/app"),
        ("redis:7", "https://registry-1.docker.io/v2/library/redis"),
    ],
)
def test_auth_explain_takes_a_host_as_login_does_and_a_reference(name: str, url: str, invoke: Invoke) -> None:
    assert [each["url"] for each in json.loads(invoke("auth", "explain", "--json", name).stdout)] == [url]


def test_the_configured_store_is_the_one_of_every_command(
    tmp_path: Path, isolation: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    layout = write_layout(tmp_path / "layout", {"v1": IMAGE})
    write(isolation / ".config/dist/config.toml", f'[store]\npath = "{tmp_path}/objects"\n')
    digest = str(IMAGE.config.digest)
    assert invoke("fetch", "--store", str(layout), digest).code == 0
    listed = invoke("content", "ls", "-q").stdout.decode().split()
    assert digest in listed
    assert (tmp_path / "objects" / "oci-layout").exists()
    monkeypatch.setenv("DIST_STORE", f"{tmp_path}/elsewhere")
    assert invoke("content", "ls", "-q").stdout == b""
