"""Keeping credentials where docker does (behaviours C22-C27); helpers are real programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.login_home import HUB, ME, Home

from dist_tool.auth.keychain import Keychain
from dist_tool.auth.saved_logins import CredentialLocation, SavedLogin, save
from dist_tool.errors import InvalidArgument
from dist_tool.settings import AuthSettings

BASIC = "bWU6cDrDpCBz"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_login_is_written_as_docker_writes_it(home: Home) -> None:
    assert home.save("ghcr.io") == SavedLogin(str(home.file), plain=True)
    assert home.file.read_text() == f'{{\n\t"auths": {{\n\t\t"ghcr.io": {{\n\t\t\t"auth": "{BASIC}"\n\t\t}}\n\t}}\n}}\n'
    assert home.file.stat().st_mode & 0o777 == 0o600
    found = home.found("ghcr.io")
    assert found is not None
    assert (found.username, found.password) == ("me", "p:ä s")


def test_what_else_is_in_the_file_stays_in_its_order(home: Home) -> None:
    home.write({"psFormat": "ü", "auths": {"a.test": {"auth": "eDp5", "x": 1}}, "plugins": {"z": {}, "a": [1]}})
    home.save("b.test")
    assert list(home.read()) == ["psFormat", "auths", "plugins"]
    assert home.read() == {
        "psFormat": "ü",
        "auths": {"a.test": {"auth": "eDp5", "x": 1}, "b.test": {"auth": BASIC}},
        "plugins": {"z": {}, "a": [1]},
    }


def test_docker_hub_is_kept_under_its_old_url(home: Home) -> None:
    home.save("docker.io")
    assert list(home.read()["auths"]) == [HUB]
    assert home.found("docker.io")
    assert home.remove("docker.io").changed
    assert home.read() == {"auths": {}}


def test_a_logout_finds_every_spelling_of_the_host(home: Home) -> None:
    entries = {"a.test": {}, "https://a.test/v1/": {}, "http://a.test": {}, "a.test:5000": {}, "b.test": {}}
    home.write({"auths": entries})
    assert home.remove("a.test").changed
    assert list(home.read()["auths"]) == ["a.test:5000", "b.test"]
    assert not home.remove("a.test").changed


def test_a_logout_without_a_file_makes_none(home: Home) -> None:
    assert not home.remove("a.test").changed
    assert not home.file.exists()


def test_a_broken_file_is_not_written_over(home: Home) -> None:
    home.write('{"auths": ')
    with pytest.raises(InvalidArgument, match="not valid JSON"):
        home.save("a.test")
    with pytest.raises(InvalidArgument, match="not valid JSON"):
        home.remove("a.test")
    assert home.file.read_text() == '{"auths": '


def test_the_place_is_the_first_that_is_named(home: Home) -> None:
    environ = {**home.environ, "REGISTRY_AUTH_FILE": "/r/auth.json", "DOCKER_CONFIG": "/d"}
    auth = AuthSettings(file="/own/auth.json")
    assert CredentialLocation.choose(auth, environ, "/given") == CredentialLocation("/given")
    assert CredentialLocation.choose(auth, environ) == CredentialLocation("/own/auth.json")
    assert CredentialLocation.choose(AuthSettings(helper="pass", file="/own/auth.json"), environ) == CredentialLocation(
        helper="pass"
    )
    assert CredentialLocation.choose(AuthSettings(), environ) == CredentialLocation("/r/auth.json")
    del environ["REGISTRY_AUTH_FILE"]
    assert CredentialLocation.choose(AuthSettings(), environ) == CredentialLocation("/d/config.json")
    assert CredentialLocation.choose(AuthSettings(), home.environ) == CredentialLocation(str(home.file))
    with pytest.raises(InvalidArgument, match="no file to save credentials in"):
        CredentialLocation.choose(AuthSettings(), {})


def test_a_containers_file_has_keys_of_its_own(home: Home, tmp_path: Path) -> None:
    place = CredentialLocation(str(tmp_path / "auth.json"))
    save(place, "docker.io", ME, home.environ)
    assert json.loads(Path(place.file).read_text()) == {"auths": {"docker.io": {"auth": BASIC}}}
    legacy = CredentialLocation(str(tmp_path / ".dockercfg"))
    save(legacy, "docker.io", ME, home.environ)
    assert json.loads(Path(legacy.file).read_text()) == {HUB: {"auth": BASIC}}


def test_a_mark_of_the_file_does_not_hide_what_another_source_says(home: Home) -> None:
    home.save("a.test")
    keychain = Keychain(AuthSettings(), home.environ)
    assert (keychain.answering("a.test"), keychain.answering("b.test")) == (str(home.file), "")
    environ = {**home.environ, "DIST_AUTH_CONFIG": '{"auths": {"a.test": {"auth": "eDp5"}}}'}
    assert Keychain(AuthSettings(), environ).answering("a.test") == "DIST_AUTH_CONFIG"


def test_a_file_with_a_byte_order_mark_and_half_a_surrogate_pair_stays_readable(home: Home) -> None:
    home.write("")
    home.file.write_bytes(b'\xef\xbb\xbf{"detachKeys": "\\ud800", "auths": {}}')
    home.save("a.test")
    assert home.read()["detachKeys"] == "\ud800"
    assert home.found("a.test") is not None
