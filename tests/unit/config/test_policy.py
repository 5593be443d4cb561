"""Policy and pins: what is refused, and what a tag must mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.config_files import load, write

from dist_tool import config
from dist_tool.errors import PolicyRefused
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.names.reference import parse_object
from dist_tool.oci.digest import Digest
from dist_tool.remotes.table import open_remote
from dist_tool.session import Session
from dist_tool.settings import Pin, Policy, Settings

SHA = "sha256:" + "a" * 64
SHA512 = "sha512:" + "b" * 128
POLICY = """
[policy]
require_digest = ["prod.example/*", "*.prod.example", "docker.io/library/redis"]
blocked = ["evil.example", "docker.io/squatter", "other.example:05000", "[0::1]:5000"]
algorithms = ["sha256"]
max_manifest = "4MiB"
max_size = "1GiB"
redirect_hosts = ["*.cdn.example"]
"""


def test_every_key_arrives(tmp_path: Path) -> None:
    settings = load(tmp_path, POLICY)
    assert settings.policy == Policy(
        require_digest=("prod.example", "*.prod.example", "docker.io/library/redis"),
        blocked=("evil.example", "docker.io/squatter", "other.example:5000", "[::1]:5000"),
        algorithms=("sha256",),
        max_manifest=4 << 20,
        max_size=1 << 30,
        redirect_hosts=("*.cdn.example",),
    )
    assert settings.policy.where["blocked"] == f"{tmp_path}/config.toml:4"
    assert settings.max_size == 1 << 30


@pytest.mark.parametrize(
    "locator",
    [
        "prod.example/a/b",
        "a.prod.example/x",
        "redis",
        "registry::prod.example/a",
        "prod.example:443/a",
        "layout::http::prod.example/t",
        "registry-1.docker.io:443/library/redis",
    ],
)
def test_a_tag_is_refused_where_a_digest_is_required(locator: str, tmp_path: Path) -> None:
    policy = load(tmp_path, POLICY).policy
    parsed = parse_locator(locator)
    with pytest.raises(PolicyRefused, match=r"requires a digest, not the tag 'latest': .*config\.toml:3; run dist pin"):
        policy.check_object(parsed, parse_object("latest"))
    policy.check_object(parsed, parse_object(SHA))
    policy.check_object(parsed, parse_object(f"latest@{SHA}"))


@pytest.mark.parametrize("locator", ["prod.example.org/a", "docker.io/library/redis-x", "./prod.example/x", "a.b/c"])
def test_other_names_may_have_tags(locator: str, tmp_path: Path) -> None:
    load(tmp_path, POLICY).policy.check_object(parse_locator(locator), parse_object("latest"))


@pytest.mark.parametrize(
    ("locator", "refused"),
    [
        ("evil.example/a", True),
        ("http::evil.example/file", True),
        ("docker.io/squatter/x", True),
        ("docker.io/squatter2/x", False),
        ("evil.example:5000/a", False),
        ("evil.example:443/a", True),
        ("evil.example:0443/a", True),
        ("layout::http::evil.example/a", True),
        ("s3::bucket@EVIL.example/a", True),
        ("registry-1.docker.io:443/squatter/x", True),
        ("http::registry-1.docker.io:443/squatter/x", True),
        ("other.example:5000/a", True),
        ("other.example:05000/a", True),
        ("http::other.example:05000/a", True),
        ("[0:0:0:0:0:0:0:1]:5000/a", True),
        ("http::[0::1]:5000/a", True),
        ("./evil.example/a", False),
    ],
)
def test_blocked_names_are_refused_whatever_their_kind(locator: str, refused: bool, tmp_path: Path) -> None:
    policy = load(tmp_path, POLICY).policy
    if not refused:
        policy.check_name(parse_locator(locator))
        return
    with pytest.raises(PolicyRefused, match=r"is blocked by .*config\.toml:4"):
        policy.check_name(parse_locator(locator))


def test_a_star_matches_every_name_and_no_local_path(tmp_path: Path) -> None:
    policy = load(tmp_path, '[policy]\nrequire_digest = ["*"]\n').policy
    for locator in ("redis", "a.example:1/x", "http::a.example/file"):
        with pytest.raises(PolicyRefused):
            policy.check_object(parse_locator(locator), parse_object("latest"))
    policy.check_object(Locator("path", "/srv/layout"), parse_object("latest"))


def test_digests_of_other_algorithms_are_refused(tmp_path: Path) -> None:
    settings = load(tmp_path, POLICY)
    settings.policy.check_object(parse_locator("redis"), parse_object(SHA))
    with pytest.raises(PolicyRefused, match=r"digests of sha512 are not allowed: by .*config\.toml:5"):
        settings.check_object(parse_locator("redis"), parse_object(SHA512))


def test_no_policy_refuses_nothing() -> None:
    settings = Settings()
    settings.policy.check_name(parse_locator("evil.example/x"))
    settings.check_object(parse_locator("evil.example/x"), parse_object("latest"))
    settings.check_object(parse_locator("evil.example/x"), parse_object(SHA512))


def test_refusals_of_files_add_up_and_the_last_file_wins_otherwise(
    isolation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "SYSTEM_DIRECTORY", f"{tmp_path}/etc")
    text = '[policy]\nblocked = ["a.example"]\nmax_size = "2GiB"\nalgorithms = ["sha256"]\n'
    system = write(tmp_path / "etc" / "config.toml", text)
    text = '[policy]\nblocked = ["b.example"]\nmax_size = 0\nmax_manifest = 5\n'
    user = write(isolation / ".config" / "dist" / "config.toml", text)
    policy = config.load({"HOME": str(isolation)}).policy
    assert policy == Policy(blocked=("a.example", "b.example"), algorithms=("sha256",), max_manifest=5)
    assert policy.where == {
        "blocked": f"{user}:2",
        "max_size": f"{user}:3",
        "max_manifest": f"{user}:4",
        "algorithms": f"{system}:4",
    }


@pytest.mark.parametrize(("flag", "limit"), [(None, 1000), (0, 1000), (2000, 1000), (7, 7)])
def test_no_flag_lifts_the_size_that_policy_allows(flag: int | None, limit: int, tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "[fetch]\nmax_size = 5000\n[policy]\nmax_size = 1000\n")
    assert config.load({}, file=str(file), max_size=flag).max_size == limit


def test_pins_are_keyed_by_the_canonical_name(tmp_path: Path) -> None:
    text = f'[pin]\n"redis:7" = "{SHA}"\n\n"index.docker.io/a/b:x" = "{SHA512}"\n"r.example:5000/c:1" = "{SHA}"\n'
    settings = load(tmp_path, text)
    assert settings.pins == {
        "docker.io/library/redis:7": Pin(Digest.parse(SHA), f"{tmp_path}/config.toml:2"),
        "docker.io/a/b:x": Pin(Digest.parse(SHA512), f"{tmp_path}/config.toml:4"),
        "r.example:5000/c:1": Pin(Digest.parse(SHA), f"{tmp_path}/config.toml:5"),
    }
    for locator in ("redis", "registry-1.docker.io:443/library/redis", "registry::docker.io/library/redis"):
        assert settings.pin_for(parse_locator(locator), "7") == Digest.parse(SHA)
    assert settings.pin_for(parse_locator("r.example:05000/c"), "1") == Digest.parse(SHA)
    assert settings.pin_for(parse_locator("redis"), "8") is None
    assert settings.pin_for(parse_locator("http::docker.io/library/redis"), "7") is None
    assert settings.pin_for(parse_locator("redis"), "") is None


def test_a_pinned_tag_is_as_good_as_a_digest(tmp_path: Path) -> None:
    settings = load(tmp_path, f'{POLICY}\n[pin]\n"redis:7" = "{SHA}"\n"redis:8" = "{SHA512}"\n')
    settings.check_object(parse_locator("redis"), parse_object("7"))
    with pytest.raises(PolicyRefused, match="requires a digest"):
        settings.check_object(parse_locator("redis"), parse_object("9"))
    with pytest.raises(PolicyRefused, match="sha512 are not allowed"):
        settings.check_object(parse_locator("redis"), parse_object("8"))


def test_a_later_file_replaces_a_pin(isolation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SYSTEM_DIRECTORY", f"{tmp_path}/etc")
    write(tmp_path / "etc" / "config.toml", f'[pin]\n"redis:7" = "{SHA}"\n"redis:8" = "{SHA}"\n')
    user = write(isolation / ".config" / "dist" / "config.toml", f'[pin]\n"library/redis:7" = "{SHA512}"\n')
    pins = config.load({"HOME": str(isolation)}).pins
    assert pins["docker.io/library/redis:7"] == Pin(Digest.parse(SHA512), f"{user}:2")
    assert pins["docker.io/library/redis:8"].digest == Digest.parse(SHA)


def test_the_place_of_the_store_is_configured_and_the_environment_wins(tmp_path: Path) -> None:
    assert load(tmp_path, '[store]\npath = "objects"\n').store_path == f"{tmp_path}/objects"
    assert load(tmp_path, '[store]\npath = "objects"\n', {"DIST_STORE": "/elsewhere"}).store_path == ""


def test_a_pin_holds_with_and_without_the_https_port(tmp_path: Path) -> None:
    settings = load(tmp_path, f'[pin]\n"r.example/c:1" = "{SHA}"\n"s.example:443/c:1" = "{SHA}"\n')
    for locator in ("r.example:443/c", "r.example/c", "s.example/c", "s.example:443/c"):
        assert settings.pin_for(parse_locator(locator), "1") == Digest.parse(SHA)
    assert settings.pin_for(parse_locator("r.example:444/c"), "1") is None


def test_a_location_is_checked_by_the_policy_of_its_own_name(tmp_path: Path) -> None:
    text = """
[policy]
blocked = ["evil.example"]
require_digest = ["strict.example"]

[[remote]]
prefix = "a.example"
location = "evil.example/team"

[[remote]]
prefix = "b.example"
kind = "http"
location = "strict.example/files"
"""
    settings = load(tmp_path, text)
    with pytest.raises(PolicyRefused, match=r"evil\.example/team/x is blocked by 'evil\.example'"):
        open_remote(parse_locator("a.example/x"), settings)
    remote = Session(settings).repository("b.example/x")
    with pytest.raises(PolicyRefused, match=r"'strict\.example' requires a digest"):
        remote.resolve("latest", Hints())
