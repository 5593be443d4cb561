"""Which credentials are found where (behaviours C18, C22-C30); helpers are real programs."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.keychain_home import HUB_KEY, SECRET, Home, answers, auth, auths, everything

from dist_tool.auth.credential_file import CredentialFile, Dialect
from dist_tool.auth.keychain import Credentials, Keychain
from dist_tool.errors import InvalidArgument
from dist_tool.run import Notice
from dist_tool.settings import AuthSettings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "someone")


class TestOrder:
    """Own settings, DIST_AUTH_CONFIG, REGISTRY_AUTH_FILE, docker, containers, ~/.dockercfg (C28, C30)."""

    def steps(self, home: Home, steps: list[tuple[str, str]], **settings: Any) -> list[str]:
        """Who answers, after each of the `steps` that take a source away."""
        seen = [home.user("all.test", **settings)]
        for variable, file in steps:
            home.environ.pop(variable, None)
            if file:
                (home.path / file).unlink()
            seen.append(home.user("all.test", **settings))
        return seen

    def test_auto_asks_every_source_in_the_documented_order(self, home: Home) -> None:
        home.fill_every_source()
        assert self.steps(
            home,
            [
                ("DIST_AUTH_CONFIG", ""),
                ("REGISTRY_AUTH_FILE", ""),
                ("DOCKER_AUTH_CONFIG", ""),
                ("", "docker-config/config.json"),
                ("", "run/containers/auth.json"),
                ("", "config/containers/auth.json"),
                ("", ".dockercfg"),
            ],
        ) == ["dist", "named", "docker-env", "docker-file", "runtime", "config", "legacy", ""]

    def test_docker_asks_dockers_sources_only(self, home: Home) -> None:
        home.fill_every_source()
        steps = [("DOCKER_AUTH_CONFIG", ""), ("", "docker-config/config.json")]
        assert self.steps(home, steps, source="docker") == ["docker-env", "docker-file", ""]

    def test_containers_asks_as_podman_does(self, home: Home) -> None:
        home.fill_every_source()
        steps = [
            ("REGISTRY_AUTH_FILE", ""),
            ("", "run/containers/auth.json"),
            ("", "config/containers/auth.json"),
            ("", "docker-config/config.json"),
            ("", ".dockercfg"),
        ]
        expected = ["named", "runtime", "config", "docker-file", "legacy", ""]
        assert self.steps(home, steps, source="containers") == expected

    def test_a_named_auth_file_stands_in_for_the_containers_files_only(self, home: Home) -> None:
        home.fill_every_source()
        home.write("named.json", auths(**{"other.test": "named:p"}))
        for variable in ("DIST_AUTH_CONFIG", "DOCKER_AUTH_CONFIG"):
            del home.environ[variable]
        assert home.user("all.test") == "docker-file"
        (home.path / "docker-config/config.json").unlink()
        assert home.user("all.test") == ""

    def test_none_reads_nothing_at_all(self, home: Home) -> None:
        home.docker("broken")
        assert home.lookup("all.test", source="none") is None
        assert home.keychain(source="none").explain("all.test", "a") == []

    def test_a_file_of_the_remotes_own_stands_in_for_all_others(self, home: Home) -> None:
        home.fill_every_source()
        own = home.write("own/auth.json", auths(**{"own.test": "own:p"}))
        assert home.user("own.test", file=str(own)) == "own"
        assert home.user("all.test", file=str(own)) == ""

    def test_a_source_without_the_host_passes_to_the_next(self, home: Home) -> None:
        home.docker(auths(**{"a.test": "docker:p"}))
        home.write("run/containers/auth.json", auths(**{"b.test": "podman:p"}))
        assert (home.user("a.test"), home.user("b.test"), home.user("c.test")) == ("docker", "podman", "")

    def test_without_a_home_only_variables_are_left(self, home: Home) -> None:
        home.environ = {"DIST_AUTH_CONFIG": json.dumps(auths(**{"a.test": "u:p"})), "XDG_RUNTIME_DIR": "/nowhere"}
        assert home.user("a.test") == "u"
        assert home.user("b.test") == ""

    def test_an_empty_variable_is_not_set(self, home: Home) -> None:
        home.docker(auths(**{"a.test": "u:p"}))
        home.environ |= dict.fromkeys(("DIST_AUTH_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"), "")
        assert home.user("a.test") == "u"

    def test_the_processs_own_environment_is_never_read(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIST_AUTH_CONFIG", json.dumps(auths(**{"a.test": "u:p"})))
        monkeypatch.setenv("HOME", str(home.path))
        home.docker(auths(**{"a.test": "u:p"}))
        assert Keychain(AuthSettings(), {"XDG_RUNTIME_DIR": "/nowhere"}).lookup("a.test", "") is None


class TestKeys:
    """Which key of a file means a host (C23, C29)."""

    @pytest.mark.parametrize(
        "key",
        [
            HUB_KEY,
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "https://index.docker.io/v2/",
            "https://registry-1.docker.io",
            "http://docker.io/",
        ],
    )
    @pytest.mark.parametrize("file", [".docker/config.json", "run/containers/auth.json"])
    def test_the_hub_has_many_names(self, home: Home, key: str, file: str) -> None:
        home.write(file, auths(**{key: "u:p", "other.test": "no:p"}))
        assert home.user("docker.io") == "u"

    def test_dockers_file_prefers_dockers_name_for_the_hub(self, home: Home) -> None:
        home.docker(auths(**{"docker.io": "podman:p", HUB_KEY: "docker:p"}))
        assert home.user("docker.io") == "docker"
        home.write("named.json", auths(**{HUB_KEY: "docker:p", "docker.io": "podman:p"}))
        home.environ["REGISTRY_AUTH_FILE"] = str(home.path / "named.json")
        assert home.user("docker.io") == "podman"

    def test_dockers_browser_tokens_are_not_the_hubs_credentials(self, home: Home) -> None:
        home.docker(auths(**{HUB_KEY + "access-token": "a:p", HUB_KEY + "refresh-token": "r:p"}))
        assert home.lookup("docker.io") is None

    @pytest.mark.parametrize(
        ("key", "host", "found"),
        [
            ("a.test", "a.test", True),
            ("a.test:5000", "a.test:5000", True),
            ("a.test:5000", "a.test", False),
            ("a.test", "a.test:5000", False),
            ("https://a.test", "a.test", True),
            ("http://a.test/v1/", "a.test", True),
            ("https://a.test/v2/", "a.test", True),
            ("https://A.test/", "a.test", True),
            ("a.test/", "a.test", True),
            ("sub.a.test", "a.test", False),
            ("a.test", "sub.a.test", False),
            ("a.test.evil", "a.test", False),
            ("https://a.test@evil.test/", "a.test", False),
            ("[::1]:5000", "[::1]:5000", True),
        ],
    )
    def test_a_key_means_its_host_and_no_other(self, home: Home, key: str, host: str, found: bool) -> None:
        for file in (".docker/config.json", "run/containers/auth.json"):
            home.write(file, auths(**{key: "u:p"}))
            assert bool(home.lookup(host)) is found
            (home.path / file).unlink()

    def test_the_exact_key_beats_one_that_only_contains_the_host(self, home: Home) -> None:
        home.docker(auths(**{"https://a.test/v1/": "old:p", "a.test": "new:p"}))
        assert home.user("a.test") == "new"

    def test_namespaces_are_tried_longest_first(self, home: Home) -> None:
        home.write(
            "run/containers/auth.json",
            auths(
                **{"a.test": "host:p", "a.test/one": "one:p", "a.test/one/two": "two:p", "docker.io/library": "lib:p"}
            ),
        )
        paths = ["one/two", "one/two/three", "one/twofold", "one", "onetwo", "other", ""]
        assert [home.user("a.test", path) for path in paths] == ["two", "two", "one", "one", "host", "host", "host"]
        assert home.user("docker.io", "library/redis") == "lib"
        assert home.user("docker.io", "someone/redis") == ""

    def test_podmans_namespace_is_no_key_for_the_whole_host_but_dockers_is(self, home: Home) -> None:
        podman = home.write("run/containers/auth.json", auths(**{"a.test/team": "team:p"}))
        assert home.user("a.test", "other") == ""
        podman.unlink()
        home.docker(auths(**{"a.test/team": "team:p"}))
        assert home.user("a.test", "other") == "team"

    def test_the_legacy_file_has_no_object_around_its_keys(self, home: Home) -> None:
        home.write(".dockercfg", {HUB_KEY: {**auth("u:p"), "email": "u@mail.test"}, "https://a.test/v1/": auth("v:p")})
        assert (home.user("docker.io"), home.user("a.test")) == ("u", "v")


class TestEntries:
    """What an entry holds (C18, C24, C25)."""

    @staticmethod
    def entry(home: Home, content: Any) -> Credentials | None:
        home.docker({"auths": {"a.test": content}})
        return home.lookup("a.test")

    @pytest.mark.parametrize(
        ("pair", "username", "password"),
        [
            (b"u:p", "u", "p"),
            (b"u:p:with:colons", "u", "p:with:colons"),
            (b"u:p\0\0", "u", "p"),
            ("ü:pä".encode(), "ü", "pä"),
            (b"u: p ", "u", " p "),
        ],
    )
    def test_auth_is_split_at_the_first_colon(self, home: Home, pair: bytes, username: str, password: str) -> None:
        found = self.entry(home, {"auth": base64.b64encode(pair).decode()})
        assert found is not None
        assert (found.username, found.password) == (username, password)

    @pytest.mark.parametrize("pair", ["u:p", "us:p", "use:p"])
    def test_auth_may_lack_its_padding(self, home: Home, pair: str) -> None:
        found = self.entry(home, {"auth": base64.b64encode(pair.encode()).decode().rstrip("=")})
        assert found is not None
        assert f"{found.username}:{found.password}" == pair

    def test_a_password_that_is_not_utf8_is_sent_as_it_is(self, home: Home) -> None:
        stored = base64.b64encode(b"u:\xff\xfe").decode()
        found = self.entry(home, {"auth": stored})
        assert found is not None
        assert found.basic == f"Basic {stored}"

    def test_plain_fields_do_as_well(self, home: Home) -> None:
        found = self.entry(home, {"username": "u", "password": "p"})
        assert found is not None
        assert found.basic == "Basic dTpw"

    def test_identity_and_registry_tokens_are_kept_apart(self, home: Home) -> None:
        identity = self.entry(home, {**auth("u:p"), "identitytoken": "refresh"})
        assert identity is not None
        assert (identity.identity_token, identity.kind) == ("refresh", "an identity token")
        registry = self.entry(home, {"registrytoken": "bearer"})
        assert registry is not None
        assert (registry.registry_token, registry.kind) == ("bearer", "a registry token")

    @pytest.mark.parametrize(
        "content", [{}, None, {"auth": ""}, auth("u:"), {"username": "u"}, {"password": "p"}, {"email": "u@mail.test"}]
    )
    def test_an_entry_without_both_user_and_password_is_none(self, home: Home, content: Any) -> None:
        assert self.entry(home, content) is None

    def test_an_empty_entry_leaves_the_host_to_the_next_source(self, home: Home) -> None:
        home.docker({"auths": {"a.test": {}}})
        home.write("run/containers/auth.json", auths(**{"a.test": "podman:p"}))
        assert home.user("a.test") == "podman"

    @pytest.mark.parametrize(
        "content",
        [
            "text",
            [],
            {"auth": 1},
            {"auth": "???"},
            {"auth": "dTpw\u00e4"},
            {"auth": "a"},
            {"auth": base64.b64encode(b"no colon").decode()},
            {"auth": base64.b64encode(b":p").decode()},
            {"username": ["u"], "password": "p"},
            {"identitytoken": 5},
        ],
    )
    def test_a_broken_entry_is_an_error_that_names_file_and_key(self, home: Home, content: Any) -> None:
        with pytest.raises(InvalidArgument, match=r"~/\.docker/config\.json: auths: 'a\.test'"):
            self.entry(home, content)

    def test_a_broken_entry_of_another_host_is_no_concern(self, home: Home) -> None:
        home.docker({"auths": {"a.test": auth("u:p"), "b.test": {"auth": "???"}}})
        assert home.user("a.test") == "u"


class TestBrokenFiles:
    """Never anonymous because of a typing mistake (C25)."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"auths": {\n\n}', r"~/\.docker/config\.json:3: not valid JSON"),
            ('{\n"auths": {},\n}', r"config\.json:\d: not valid JSON"),
            (b'{\n"auths": {"\xff": {}}}', r"config\.json:2: not UTF-8"),
            ("[]", "not a JSON object"),
            ("[" * 100_000, "not valid JSON"),
            ('{"auths": []}', "auths is not an object"),
            ('{"credHelpers": "x"}', "credHelpers is not an object"),
            ('{"credHelpers": {"a.test": 1}}', "'a.test' is not a string"),
            ('{"credsStore": {}}', "credsStore is not a string"),
        ],
    )
    def test_a_malformed_file_is_an_error_with_its_line(self, home: Home, content: Any, message: str) -> None:
        home.docker(content)
        with pytest.raises(InvalidArgument, match=message):
            home.lookup("a.test")

    def test_every_source_is_named_as_the_user_knows_it(self, home: Home) -> None:
        home.environ["DIST_AUTH_CONFIG"] = "{"
        with pytest.raises(InvalidArgument, match=r"^DIST_AUTH_CONFIG:1: "):
            home.lookup("a.test")
        home.environ = {**home.environ, "DIST_AUTH_CONFIG": "", "REGISTRY_AUTH_FILE": "/dev/null/auth.json"}
        assert home.lookup("a.test") is None

    @pytest.mark.parametrize("content", ["", " \n"])
    def test_an_empty_file_says_nothing(self, home: Home, content: str) -> None:
        home.docker(content)
        assert home.lookup("a.test") is None

    def test_a_file_over_1_mib_is_refused(self, home: Home) -> None:
        home.docker('{"auths": {}, "x": "' + "x" * (1 << 20) + '"}')
        with pytest.raises(InvalidArgument, match="over the limit"):
            home.lookup("a.test")

    def test_an_unreadable_file_is_an_error_and_not_absence(self, home: Home) -> None:
        (home.path / ".docker/config.json").mkdir(parents=True)
        with pytest.raises(InvalidArgument, match="cannot be read: is a directory"):
            home.lookup("a.test")

    def test_the_remotes_own_file_must_be_there(self, home: Home) -> None:
        with pytest.raises(InvalidArgument, match="no such file"):
            home.lookup("a.test", file=str(home.path / "absent.json"))

    def test_a_named_file_that_is_not_there_yet_is_no_error(self, home: Home) -> None:
        """It is where `podman login` will write to."""
        home.environ["REGISTRY_AUTH_FILE"] = str(home.path / "later.json")
        assert home.lookup("a.test") is None


class TestHelpers:
    """docker-credential-NAME programs (C25-C27)."""

    def test_an_empty_name_means_no_helper_for_that_host(self, home: Home) -> None:
        home.docker({**auths(**{"a.test": "file:p"}), "credsStore": "absent", "credHelpers": {"a.test": ""}})
        assert home.user("a.test") == "file"

    def test_a_helper_that_is_not_installed_is_a_configuration_error(self, home: Home) -> None:
        home.docker({"credsStore": "desktop"})
        with pytest.raises(InvalidArgument, match=r"config\.json names .*docker-credential-desktop.*no such file") as e:
            home.lookup("a.test")
        assert "source" in e.value.hint

    @pytest.mark.parametrize("name", ["../evil", "a b", "x;id", "a/b", "ü", "a\n", "$(id)"])
    def test_a_name_that_is_no_program_name_is_never_run(self, home: Home, name: str) -> None:
        home.docker({"credsStore": name})
        with pytest.raises(InvalidArgument, match="not the name of a credential helper"):
            home.lookup("a.test")


class TestText:
    """What a file may hold that is no plain text (C24)."""

    @pytest.mark.parametrize("field", ["username", "password", "identitytoken", "registrytoken", "auth"])
    def test_a_lone_surrogate_is_an_error_that_names_the_field(self, home: Home, field: str) -> None:
        entry = {"username": "me", "password": "p"} | {field: "x\ud800"}
        home.docker({"auths": {"a.test": entry}})
        with pytest.raises(InvalidArgument, match=rf"'a\.test': {field} is not valid Unicode"):
            home.lookup("a.test")

    def test_line_breaks_within_base64_are_left_out(self, home: Home) -> None:
        text = base64.b64encode(b"me:" + b"p" * 60).decode()
        home.docker({"auths": {"a.test": {"auth": f"{text[:40]}\r\n{text[40:]}\n"}}})
        found = home.lookup("a.test")
        assert found is not None
        assert (found.username, found.password) == ("me", "p" * 60)

    @pytest.mark.parametrize("content", [b"", b"\n", json.dumps(auths(**{"a.test": "me:p"})).encode()])
    def test_a_byte_order_mark_is_left_out(self, home: Home, content: bytes) -> None:
        home.docker(b"\xef\xbb\xbf" + content)
        assert home.user("a.test") == ("me" if content.strip() else "")

    def test_a_host_is_found_under_its_other_spellings(self, home: Home) -> None:
        home.docker(auths(**{"[0:0:0:0:0:0:0:1]:5000": "six:p", "https://127.1:05000/v2/": "four:p"}))
        assert home.user("[::1]:5000") == "six"
        assert home.user("127.0.0.1:5000") == "four"


class TestSecrecy:
    """Secrets never in reprs, messages, logs or exceptions (C31)."""

    def test_no_form_of_credentials_shows_a_secret(self) -> None:
        full = Credentials("u", SECRET, SECRET, SECRET, "somewhere")
        shown = (repr(full), str(full), f"{full}", f"{full!r:>100}", repr([full]), repr({"c": full}))
        assert not any(SECRET in text for text in shown)
        assert "somewhere" in repr(full)
        assert len(full.secrets()) == 4

    def test_files_and_keychains_show_none_either(self, home: Home) -> None:
        home.docker(auths(**{"a.test": f"u:{SECRET}"}))
        notices: list[Notice] = []
        keychain = home.keychain(notices.append)
        assert keychain.lookup("a.test", "") is not None
        encoded = auth(f"u:{SECRET}")["auth"]
        file = CredentialFile.parse((home.path / ".docker/config.json").read_bytes(), "f", Dialect.DOCKER)
        shown = " ".join([repr(keychain), repr(file), str(notices), *keychain.explain("a.test", "")])
        assert notices
        assert SECRET not in shown
        assert encoded not in shown

    @pytest.mark.parametrize(
        "content",
        [
            '{"auths": {"a.test": {"auth": "SECRET"}',
            '{"auths": {"a.test": {"auth": "SECRET\n"}}}',
            '{"auths": {"a.test": {"auth": "SECRET \\x"}}}',
            '{"auths": {"a.test": {"auth": ["SECRET"]}}}',
            '{"auths": {"a.test": {"auth": "SECRET"}}}',
            '{"auths": {"a.test": "SECRET"}}',
            '"SECRET"',
            b'{"auths": {"a.test": {"auth": "SECRET\xff"}}}',
        ],
    )
    def test_a_broken_files_content_is_in_no_part_of_the_error(self, home: Home, content: Any) -> None:
        secret = SECRET.encode() if isinstance(content, bytes) else SECRET
        home.docker(content.replace(b"SECRET" if isinstance(content, bytes) else "SECRET", secret))
        with pytest.raises(InvalidArgument) as caught:
            home.lookup("a.test")
        assert SECRET not in everything(caught.value)


class TestFingerprint:
    """Changes with whatever decides the identity; costs no helper."""

    def test_it_is_stable_and_runs_no_helper(self, home: Home) -> None:
        home.docker({"credsStore": "all"})
        asked = home.helper("all", answers("u", "p"))
        assert home.keychain().fingerprint() == home.keychain().fingerprint()
        assert not asked.exists()

    def test_it_changes_with_every_source_and_setting(self, home: Home) -> None:
        keychain = home.keychain()
        seen = [keychain.fingerprint()]
        for name in (".docker/config.json", "run/containers/auth.json", ".config/containers/auth.json", ".dockercfg"):
            home.write(name, {})
            seen.append(keychain.fingerprint())
            home.write(name, {"auths": {"a.test": auth("somebody:else")}})
            seen.append(keychain.fingerprint())
        for variable in ("DIST_AUTH_CONFIG", "DOCKER_AUTH_CONFIG"):
            home.environ[variable] = "{}"
            seen.append(home.keychain().fingerprint())
        choices = ({"source": "docker"}, {"source": "none"}, {"helper": "x"}, {"realm_hosts": ("a.test",)})
        seen += [home.keychain(**settings).fingerprint() for settings in choices]
        home.environ["REGISTRY_AUTH_FILE"] = str(home.write("named.json", {}))
        seen.append(home.keychain().fingerprint())
        assert len(set(seen)) == len(seen)

    def test_broken_and_oversized_files_count_too_without_an_error(self, home: Home) -> None:
        seen = [home.keychain().fingerprint()]
        for content in ("{", "x" * (2 << 20)):
            home.docker(content)
            seen.append(home.keychain().fingerprint())
        assert len(set(seen)) == 3

    def test_a_login_meanwhile_is_noticed(self, home: Home) -> None:
        keychain = home.keychain()
        home.docker(auths(**{"a.test": "old:p"}))
        assert keychain.lookup("a.test", "") == home.lookup("a.test")
        before = keychain.fingerprint()
        home.docker(auths(**{"a.test": "newer:p"}))
        found = keychain.lookup("a.test", "")
        assert found is not None
        assert found.username == "newer"
        assert keychain.fingerprint() != before

    def test_a_pipe_is_read_once(self, home: Home) -> None:
        """As in auth.file given by process substitution."""
        reader, writer = os.pipe()
        os.write(writer, json.dumps(auths(**{"a.test": "u:p"})).encode())
        os.close(writer)
        keychain = home.keychain(file=f"/dev/fd/{reader}")
        first = keychain.fingerprint()
        assert keychain.fingerprint() == first
        found = keychain.lookup("a.test", "")
        os.close(reader)
        assert found is not None
        assert found.username == "u"


class TestExplain:
    """Which source would be used, without secrets and without running anything (C30)."""

    def test_every_source_has_a_line(self, home: Home) -> None:
        home.docker({**auths(**{HUB_KEY: f"bob:{SECRET}"}), "credsStore": "all"})
        asked = home.helper("all", answers("u", "p"))
        home.write("run/containers/auth.json", {"auths": {"a.test": {"identitytoken": SECRET}}})
        home.write(".dockercfg", "{")
        lines = home.keychain().explain("docker.io", "library/redis")
        assert lines[:-1] == [
            "DIST_AUTH_CONFIG: not set",
            "DOCKER_AUTH_CONFIG: not set",
            (
                f"~/.docker/config.json: runs docker-credential-all for {HUB_KEY}, "
                f"then user and password (bob) under {HUB_KEY!r}"
            ),
            "~/run/containers/auth.json: nothing for docker.io",
            "~/.config/containers/auth.json: absent",
        ]
        assert lines[-1].startswith("~/.dockercfg: broken: ~/.dockercfg:1: not valid JSON")
        assert not asked.exists()
        assert "an identity token under 'a.test'" in home.keychain().explain("a.test", "")[3]

    def test_a_helper_of_the_remotes_own_is_explained(self, home: Home) -> None:
        assert home.keychain(helper="ecr-login").explain("a.test", "") == [
            "auth.helper: runs docker-credential-ecr-login for a.test"
        ]
        assert "broken" in home.keychain(helper="a/b").explain("a.test", "")[0]
