"""Which credentials are found where (behaviours C18, C22-C30); helpers are real programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.keychain_home import HUB_KEY, SECRET, Home, answers, auths, everything

from dist_tool.auth import credential_helper
from dist_tool.errors import Unauthenticated


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "someone")


NOTHING = "echo credentials not found in native keychain; exit 1"


class TestOrder:
    """Own settings, DIST_AUTH_CONFIG, REGISTRY_AUTH_FILE, docker, containers, ~/.dockercfg (C28, C30)."""

    def test_a_helper_of_the_remotes_own_stands_in_for_all_others(self, home: Home) -> None:
        home.fill_every_source()
        asked = home.helper("own", f'[ "$server" = own.test ] && {answers("own", "p")} || {{ {NOTHING}; }}')
        assert home.user("own.test", helper="own") == "own"
        assert home.user("all.test", helper="own") == ""
        assert asked.read_text() == "get own.test\nget all.test\n"


class TestHelpers:
    """docker-credential-NAME programs (C25-C27)."""

    def test_one_of_the_hosts_own_beats_the_general_one_and_the_file(self, home: Home) -> None:
        home.docker({**auths(**{"a.test": "file:p"}), "credsStore": "all", "credHelpers": {"b.test": "own"}})
        home.helper("own", answers("own", "p"))
        home.helper("all", answers("all", "p"))
        assert (home.user("b.test"), home.user("a.test")) == ("own", "all")

    def test_a_helper_without_the_host_leaves_it_to_the_file(self, home: Home) -> None:
        home.docker({**auths(**{"a.test": "file:p"}), "credsStore": "all"})
        home.helper("all", NOTHING)
        assert home.user("a.test") == "file"
        assert home.user("b.test") == ""

    @pytest.mark.parametrize(
        ("file", "server"), [(".docker/config.json", HUB_KEY), ("run/containers/auth.json", "docker.io")]
    )
    def test_the_hub_is_asked_for_as_the_files_own_tools_store_it(self, home: Home, file: str, server: str) -> None:
        home.write(file, {"credHelpers": {"docker.io": "hub"}})
        asked = home.helper("hub", answers("u", "p"))
        assert home.user("docker.io") == "u"
        assert asked.read_text() == f"get {server}\n"

    def test_the_hubs_helper_may_stand_under_its_url(self, home: Home) -> None:
        home.docker({"credHelpers": {HUB_KEY: "hub"}})
        home.helper("hub", answers("u", "p"))
        assert home.user("docker.io") == "u"

    def test_the_user_name_token_marks_an_identity_token(self, home: Home) -> None:
        home.docker({"credsStore": "all"})
        home.helper("all", answers("<token>", SECRET))
        found = home.lookup("a.test")
        assert found is not None
        assert (found.username, found.identity_token) == ("", SECRET)

    @pytest.mark.parametrize("answer", [answers("u", ""), answers("", "p"), answers("<token>", "")])
    def test_half_an_answer_is_none(self, home: Home, answer: str) -> None:
        home.docker({"credsStore": "all"})
        home.helper("all", answer)
        assert home.lookup("a.test") is None

    def test_it_is_asked_once_per_host_whatever_it_says(self, home: Home) -> None:
        home.docker({"credsStore": "all"})
        asked = home.helper("all", NOTHING)
        keychain = home.keychain()
        for _ in range(3):
            keychain.lookup("a.test", "one")
            keychain.lookup("a.test", "two")
            home.lookup("b.test")
        assert asked.read_text() == "get a.test\nget b.test\n"
        failing = home.helper("bad", "exit 3")
        home.docker({"credsStore": "bad"})
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                home.lookup("a.test")
        assert failing.read_text() == "get a.test\n"

    def test_it_is_asked_again_after_an_old_answer_was_refused(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home.docker({"credsStore": "all"})
        asked = home.helper("all", answers("u", "p"))
        keychain = home.keychain()
        keychain.lookup("a.test", "")
        keychain.refused("a.test")
        keychain.lookup("a.test", "")
        assert asked.read_text() == "get a.test\n"
        now = credential_helper.monotonic()
        monkeypatch.setattr(credential_helper, "monotonic", lambda: now + 100)
        keychain.refused("a.test")
        keychain.lookup("a.test", "")
        assert asked.read_text() == "get a.test\n" * 2

    def test_a_failing_helper_is_an_error_and_its_output_stays_out_of_it(
        self, home: Home, capfd: pytest.CaptureFixture[str]
    ) -> None:
        home.docker({"credsStore": "bad"})
        home.helper("bad", f"echo {SECRET}; echo the keyring is locked >&2; exit 2")
        with pytest.raises(Unauthenticated, match=r"docker-credential-bad \(~/\.docker/config\.json\)") as caught:
            home.lookup("a.test")
        assert SECRET not in everything(caught.value)
        assert capfd.readouterr().err == "the keyring is locked\n"

    @pytest.mark.parametrize(
        "body",
        [f"echo {SECRET}", "echo []", f'echo "{{\\"Secret\\": \\"{SECRET}\\"}}"', "echo '{\"Username\": 1}'", ":"],
    )
    def test_an_answer_that_is_none_is_an_error_without_the_answer(self, home: Home, body: str) -> None:
        home.docker({"credsStore": "bad"})
        home.helper("bad", body)
        with pytest.raises(Unauthenticated, match="returned output") as caught:
            home.lookup("a.test")
        assert SECRET not in everything(caught.value)

    def test_a_helper_that_hangs_is_ended(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(credential_helper, "_TIMEOUT_S", 0.1)
        home.docker({"credsStore": "slow"})
        home.helper("slow", "exec sleep 60")
        with pytest.raises(Unauthenticated, match="timed out after"):
            home.lookup("a.test")

    def test_it_gets_the_given_environment_and_no_other(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LEAK", "1")
        home.environ["GIVEN"] = "2"
        home.docker({"credsStore": "env"})
        home.helper("env", 'printf \'{"Username": "u%s%s", "Secret": "p"}\' "$LEAK" "$GIVEN"')
        assert home.user("a.test") == "u2"

    def test_a_host_that_looks_like_an_option_or_a_shell_word_is_data(self, home: Home) -> None:
        home.docker({"credsStore": "all"})
        asked = home.helper("all", NOTHING)
        home.lookup("-x;id")
        assert asked.read_text() == "get -x;id\n"


def test_the_source_of_credentials_is_named(home: Home) -> None:
    home.docker({**auths(**{"a.test": "u:p"}), "credHelpers": {"b.test": "all"}})
    home.helper("all", answers("u", "p"))
    sources = [found.source for host in ("a.test", "b.test") if (found := home.lookup(host))]
    assert sources == ["~/.docker/config.json", "docker-credential-all (~/.docker/config.json)"]
