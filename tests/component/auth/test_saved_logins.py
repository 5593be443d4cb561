"""Keeping credentials where docker does (behaviours C22-C27); helpers are real programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.login_home import HUB, Home

from dist_tool.auth.saved_logins import SavedLogin
from dist_tool.errors import InvalidArgument, LocalFailure


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("settings", [{"credsStore": "all"}, {"credHelpers": {"a.test": "all"}, "credsStore": "no"}])
def test_a_helper_gets_the_password_and_the_file_a_mark(settings: dict[str, Any], home: Home) -> None:
    told = home.helper("all")
    home.write(settings)
    assert home.save("a.test") == SavedLogin(f"docker-credential-all ({home.file})")
    assert home.read() == {**settings, "auths": {"a.test": {}}}
    action, message = told.read_text().splitlines()
    assert (action, json.loads(message)) == ("store", {"ServerURL": "a.test", "Username": "me", "Secret": "p:ä s"})
    told.unlink()
    assert home.remove("a.test").changed
    assert told.read_text() == "erase\na.test\n"
    assert home.read() == {**settings, "auths": {}}


def test_a_helper_knows_the_hub_by_its_url(home: Home) -> None:
    told = home.helper("all")
    home.write({"credsStore": "all"})
    home.save("docker.io")
    assert json.loads(told.read_text().splitlines()[1])["ServerURL"] == HUB
    home.save("docker.io", helper="all")
    assert json.loads(told.read_text().splitlines()[3])["ServerURL"] == HUB


def test_a_helper_of_the_hosts_table_gets_it_and_no_file_is_touched(home: Home) -> None:
    told = home.helper("own")
    assert home.save("a.test", helper="own") == SavedLogin("docker-credential-own")
    assert told.exists()
    assert not home.file.exists()


def test_a_helper_that_fails_keeps_nothing_and_its_words_to_itself(home: Home) -> None:
    home.helper("all", "echo p:s3cret; exit 1")
    home.write({"credsStore": "all"})
    with pytest.raises(LocalFailure, match=r"docker-credential-all .* failed with status 1 to store") as caught:
        home.save("a.test")
    assert "s3cret" not in str(caught.value)
    assert home.read() == {"credsStore": "all"}
    home.write({"credsStore": "missing"})
    with pytest.raises(InvalidArgument, match="docker-credential-missing, which cannot be run"):
        home.save("a.test")


def test_a_helper_that_knows_nothing_of_the_host_is_no_failure(home: Home) -> None:
    home.helper("all", "echo credentials not found in native keychain; exit 1")
    home.write({"credsStore": "all", "auths": {}})
    assert not home.remove("a.test").changed
