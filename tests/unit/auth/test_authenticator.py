"""Answering a registry that asks for authorization (behaviours group C; security incidents by number)."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.keychain_home import everything
from support.token_exchange import BASIC, PULL, SECRET, World, bearer

from dist_tool.auth.authenticator import (
    pull_scope,
    push_scope,
)
from dist_tool.auth.scopes import mount_scopes
from dist_tool.auth.token_cache import forget_tokens
from dist_tool.errors import (
    DistError,
    InvalidArgument,
    PermissionDenied,
    PolicyRefused,
    ProtocolError,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
)
from dist_tool.settings import AuthSettings


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestAnonymous:
    def test_the_first_request_goes_out_with_nothing_and_reads_nothing(self, world: World) -> None:
        """Behaviours C1."""
        world.logged_in()
        (world.home / ".docker/config.json").write_text("broken")
        assert world.process().authorization(PULL) == ""
        assert world.server.requests == []

    def test_a_token_is_fetched_without_credentials(self, world: World) -> None:
        """Behaviours C19."""
        auth = world.process()
        assert auth.answer([bearer()], PULL, "") == "Bearer t1"
        assert world.server.authorizations() == [""]
        assert auth.authorization(PULL) == "Bearer t1"

    def test_without_a_scope_in_the_challenge_what_is_needed_is_asked_for(self, world: World) -> None:
        """Behaviours C12."""
        world.process().answer([bearer(scope="")], PULL, "")
        assert world.server.scopes() == [list(PULL)]

    def test_demanded_scopes_come_first(self, world: World) -> None:
        """Behaviours C12, C15."""
        scopes = mount_scopes("dst", "src")
        world.process().answer([bearer(scope="repository:src:pull")], scopes, "")
        assert world.server.scopes() == [["repository:src:pull", "repository:dst:pull,push"]]

    def test_a_warm_process_needs_no_exchange_and_no_challenge(self, world: World) -> None:
        """Behaviours B55."""
        world.process().answer([bearer()], PULL, "")
        assert world.process().authorization(frozenset(PULL)) == "Bearer t1"
        assert world.process().answer([bearer()], PULL, "") == "Bearer t1"
        assert len(world.server.requests) == 1

    def test_an_expired_token_is_not_sent(self, world: World) -> None:
        """Behaviours C10."""
        auth = world.process()
        auth.answer([bearer()], PULL, "")
        world.now += 296
        assert auth.authorization(PULL) == world.process().authorization(PULL) == ""
        assert auth.answer([bearer()], PULL, "") == "Bearer t2"

    def test_a_token_serves_its_scopes_only(self, world: World) -> None:
        auth = world.process()
        auth.answer([bearer()], PULL, "")
        assert auth.authorization((push_scope("a/b"),)) == ""
        assert auth.authorization((pull_scope("c"),)) == ""

    def test_a_token_of_another_realm_or_service_does_not_answer(self, world: World) -> None:
        world.process().answer([bearer()], PULL, "")
        world.process().answer([bearer(realm="https://other.test/token")], PULL, "")
        world.process().answer([bearer(realm="https://other.test/token", service="other")], PULL, "")
        assert [urlsplit(request.url).netloc for request in world.server.requests] == [
            "auth.test",
            "other.test",
            "other.test",
        ]

    def test_another_login_makes_another_token(self, world: World) -> None:
        """Tokens of one identity are never sent in the name of another."""
        world.process().answer([bearer()], PULL, "")
        world.logged_in()
        assert world.process().authorization(PULL) == ""
        assert world.process().answer([bearer()], PULL, "") == "Bearer t2"


class TestCredentials:
    def test_user_and_password_buy_a_token(self, world: World) -> None:
        """Behaviours C5."""
        world.logged_in()
        assert world.process().answer([bearer()], PULL, "") == "Bearer t1"
        assert world.server.authorizations() == [BASIC]

    def test_the_hubs_credentials_are_kept_under_another_name_than_its_origin(self, world: World) -> None:
        world.logged_in("https://index.docker.io/v1/")
        auth = world.process("https://registry-1.docker.io", "docker.io")
        auth.answer([bearer("https://auth.docker.io/token")], PULL, "")
        assert world.server.authorizations() == [BASIC]

    def test_credentials_of_one_host_are_not_for_its_mirror(self, world: World) -> None:
        """Behaviours C33."""
        world.logged_in("registry.test")
        world.process("https://mirror.test", "mirror.test").answer([bearer()], PULL, "")
        assert world.server.authorizations() == [""]

    def test_a_namespace_has_its_own(self, world: World) -> None:
        """Behaviours C29."""
        (world.home / "run/containers").mkdir(parents=True)
        (world.home / "run/containers/auth.json").write_text(
            json.dumps({"auths": {"registry.test/a": {"username": "user", "password": SECRET}}})
        )
        auth = world.process()
        auth.answer([bearer()], PULL, "")
        auth.answer([bearer(scope="repository:other:pull")], (pull_scope("other"),), "")
        assert world.server.authorizations() == [BASIC, ""]

    def test_an_identity_token_goes_by_post(self, world: World) -> None:
        """Behaviours C7."""
        world.logged_in(identitytoken=SECRET)
        assert world.process().answer([bearer()], PULL, "") == "Bearer t1"
        (request,) = world.server.requests
        assert request.method == "POST"
        assert request.form is not None
        assert request.form["refresh_token"] == SECRET

    def test_a_server_without_post_is_asked_by_get(self, world: World) -> None:
        """Behaviours C7."""
        world.logged_in(identitytoken=SECRET)
        world.server.script = [404]
        assert world.process().answer([bearer()], PULL, "") == "Bearer t2"
        assert [request.method for request in world.server.requests] == ["POST", "GET"]

    def test_a_registry_token_is_the_answer_itself_and_stays_in_memory(self, world: World) -> None:
        """Behaviours C24."""
        world.logged_in(registrytoken=SECRET)
        auth = world.process()
        assert auth.answer([bearer()], PULL, "") == f"Bearer {SECRET}"
        assert auth.authorization(PULL) == f"Bearer {SECRET}"
        assert world.server.requests == []
        assert SECRET not in on_disk(world)
        with pytest.raises(PermissionDenied, match="does not exist or may require authorization"):
            auth.answer([bearer()], PULL, f"Bearer {SECRET}")

    def test_a_broken_file_is_an_error_once_credentials_are_wanted(self, world: World) -> None:
        """Behaviours C25."""
        world.logged_in()
        (world.home / ".docker/config.json").write_text("{")
        with pytest.raises(InvalidArgument, match=r"config\.json:1"):
            world.process().answer([bearer()], PULL, "")
        assert world.server.requests == []

    def test_source_none_means_anonymous(self, world: World) -> None:
        world.logged_in()
        world.settings = AuthSettings(source="none")
        world.process().answer([bearer()], PULL, "")
        assert world.server.authorizations() == [""]


class TestBasic:
    def test_bearer_is_preferred_wherever_it_stands(self, world: World) -> None:
        """Behaviours C4."""
        world.logged_in()
        for challenges in (['Basic realm="r"', bearer()], [f'Negotiate, Basic realm="r", {bearer()}'], [bearer()]):
            assert world.process().answer(challenges, PULL, "").startswith("Bearer ")

    def test_user_and_password_go_to_the_registry_itself(self, world: World) -> None:
        world.logged_in()
        auth = world.process()
        assert auth.answer(['Basic realm="r"'], PULL, "") == BASIC
        assert auth.authorization(PULL) == BASIC
        assert auth.authorization((push_scope("a/b"),)) == BASIC
        assert world.server.requests == []

    def test_they_are_never_written_down(self, world: World) -> None:
        """Behaviours C21."""
        world.logged_in()
        world.process().answer(['Basic realm="r"'], PULL, "")
        assert world.process().authorization(PULL) == ""
        assert on_disk(world) == ""

    def test_a_bearer_challenge_without_a_realm_leaves_basic(self, world: World) -> None:
        world.logged_in()
        assert world.process().answer(['Bearer service="s", Basic realm="r"'], PULL, "") == BASIC

    def test_over_plain_http_where_the_registry_as_a_whole_is(self, world: World) -> None:
        """Behaviours C18."""
        world.logged_in("localhost:5000")
        assert world.process("http://localhost:5000", "localhost:5000").answer(["Basic"], PULL, "") == BASIC

    @pytest.mark.parametrize(
        "entry", [{"username": "user"}, {"identitytoken": SECRET}, {"username": "", "password": SECRET}]
    )
    def test_without_both_there_is_nothing_to_send(self, world: World, entry: dict[str, str]) -> None:
        """Behaviours C18."""
        world.logged_in(**entry)
        with pytest.raises(Unauthenticated, match="user and password are required") as caught:
            world.process().answer(["Basic"], PULL, "")
        assert caught.value.exit_code == 4
        assert "dist login registry.test" in caught.value.hint

    def test_refused_credentials_are_final_and_named(self, world: World) -> None:
        """Behaviours B41."""
        world.logged_in()
        auth = world.process()
        sent = auth.answer(["Basic"], PULL, "")
        with pytest.raises(Unauthenticated, match=r"credentials from ~/\.docker/config\.json were refused"):
            auth.answer(["Basic"], PULL, sent)
        assert auth.authorization(PULL) == ""

    @pytest.mark.parametrize("challenges", [[], [""], ["Negotiate"], ["Digest nonce=x"], ['Bearer service="s"']])
    def test_an_unknown_scheme_is_an_error_that_names_it(self, world: World, challenges: list[str]) -> None:
        with pytest.raises(Unauthenticated) as caught:
            world.process().answer(challenges, PULL, "")
        assert (caught.value.status, caught.value.host) == (401, "registry.test")
        if challenges and challenges[0]:
            assert challenges[0].split()[0].lower() in str(caught.value)


class TestRefusals:
    """What follows a 401 to a request that had authorization (B41, C14)."""

    def test_a_cached_token_that_is_refused_is_renewed_once(self, world: World) -> None:
        """Behaviours C14."""
        world.process().answer([bearer()], PULL, "")
        auth = world.process()
        sent = auth.authorization(PULL)
        assert auth.answer([bearer(error="invalid_token")], PULL, sent) == "Bearer t2"
        assert world.process().authorization(PULL) == "Bearer t2"
        with pytest.raises(Unauthenticated, match="its own token server has just issued"):
            auth.answer([bearer(error="invalid_token")], PULL, "Bearer t2")
        assert len(world.server.requests) == 2

    def test_a_second_401_after_a_fresh_token_is_final(self, world: World) -> None:
        """Behaviours B41."""
        auth = world.process()
        sent = auth.answer([bearer()], PULL, "")
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                auth.answer([bearer(error="insufficient_scope")], PULL, sent)
        assert len(world.server.requests) == 1
        assert world.process().authorization(PULL) == ""

    def test_absent_and_forbidden_are_not_told_apart(self, world: World) -> None:
        """Behaviours B37."""
        auth = world.process("https://registry-1.docker.io", "docker.io")
        sent = auth.answer([bearer()], PULL, "")
        with pytest.raises(Unauthenticated, match="does not exist or may require authorization") as caught:
            auth.answer([bearer(error="insufficient_scope")], PULL, sent)
        assert caught.value.hint == "no credentials for docker.io were sent; log in with `dist login`"
        world.logged_in()
        auth = world.process()
        sent = auth.answer([bearer()], PULL, "")
        with pytest.raises(PermissionDenied, match="does not exist or may require authorization") as denied:
            auth.answer([bearer(error="insufficient_scope")], PULL, sent)
        assert denied.value.hint.startswith("credentials from ~/.docker/config.json were sent")

    def test_the_message_names_the_source_even_if_another_process_used_it(self, world: World) -> None:
        world.logged_in()
        world.process().answer([bearer()], PULL, "")
        auth = world.process()
        sent = auth.answer([bearer()], PULL, auth.authorization(PULL))
        with pytest.raises(PermissionDenied) as caught:
            auth.answer([bearer()], PULL, sent)
        assert "~/.docker/config.json" in caught.value.hint

    def test_a_fresh_token_is_extended_by_what_the_registry_demands_once(self, world: World) -> None:
        """Behaviours C14."""
        auth = world.process()
        sent = auth.answer([bearer()], PULL, "")
        more = bearer(scope="repository:base:pull", error="insufficient_scope")
        assert auth.answer([more], PULL, sent) == "Bearer t2"
        assert world.server.scopes()[1] == ["repository:base:pull", *PULL]
        assert auth.authorization(PULL) == world.process().authorization(PULL) == "Bearer t2"
        for scope in ("repository:base:pull", "repository:third:pull"):
            with pytest.raises(Unauthenticated):
                auth.answer([bearer(scope=scope)], PULL, "Bearer t2")
        assert len(world.server.requests) == 2

    def test_a_registry_that_always_demands_more_is_not_followed_for_ever(self, world: World) -> None:
        auth = world.process()
        first = auth.answer([bearer(scope="repository:r1:pull")], PULL, "")
        second = auth.answer([bearer(scope="repository:r2:pull")], PULL, first)
        with pytest.raises(Unauthenticated):
            auth.answer([bearer(scope="repository:r3:pull")], PULL, second)
        assert len(world.server.requests) == 2

    def test_an_old_token_that_is_refused_is_renewed(self, world: World) -> None:
        """It may have been revoked; a long-lived process must get over that."""
        auth = world.process()
        sent = auth.answer([bearer()], PULL, "")
        world.now += 61
        assert auth.answer([bearer()], PULL, sent) == "Bearer t2"

    def test_a_token_that_another_thread_renewed_is_used(self, world: World) -> None:
        world.process().answer([bearer()], PULL, "")
        auth = world.process()
        sent = auth.authorization(PULL)
        assert [auth.answer([bearer()], PULL, sent) for _ in range(3)] == ["Bearer t2"] * 3
        assert auth.answer([bearer()], PULL, "") == "Bearer t2"
        assert len(world.server.requests) == 2

    def test_a_server_that_repeats_a_refused_token_ends_it(self, world: World) -> None:
        world.server.script = ["same", "same"]
        world.process().answer([bearer()], PULL, "")
        auth = world.process()
        assert auth.answer([bearer()], PULL, auth.authorization(PULL)) == "Bearer same"
        with pytest.raises(Unauthenticated):
            auth.answer([bearer()], PULL, "Bearer same")

    def test_threads_share_one_exchange(self, world: World) -> None:
        """Behaviours C20."""
        auth, ready, answers = world.process(), threading.Barrier(8), []

        def work() -> None:
            ready.wait()
            answers.append(auth.answer([bearer()], PULL, ""))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == ["Bearer t1"] * 8
        assert len(world.server.requests) == 1


class TestTokenServerFailures:
    @pytest.mark.parametrize(
        ("answer", "kind", "exit_code"),
        [
            (401, Unauthenticated, 4),
            (403, Unauthenticated, 4),
            (429, ResourceExhausted, 7),
            (503, ServerError, 7),
            (404, ProtocolError, 7),
            (b"<html>", ProtocolError, 7),
            (b"{}", ProtocolError, 7),
        ],
    )
    def test_each_has_its_class(self, world: World, answer: Any, kind: type[DistError], exit_code: int) -> None:
        world.server.script = [answer]
        auth = world.process()
        with pytest.raises(kind) as caught:
            auth.answer([bearer()], PULL, "")
        assert type(caught.value) is kind
        assert caught.value.exit_code == exit_code
        assert auth.answer([bearer()], PULL, "") == "Bearer t2"

    def test_a_refusal_says_what_to_do(self, world: World) -> None:
        world.server.script = [401]
        with pytest.raises(Unauthenticated) as caught:
            world.process().answer([bearer()], PULL, "")
        assert "dist login registry.test" in caught.value.hint
        world.logged_in()
        world.server.script = [401]
        with pytest.raises(Unauthenticated, match=r"config\.json were refused") as caught:
            world.process().answer([bearer()], PULL, "")
        assert caught.value.hint == "log in again, for example with `dist login registry.test`"

    def test_source_none_is_named_as_the_reason(self, world: World) -> None:
        world.settings = AuthSettings(source="none")
        world.server.script = [401]
        with pytest.raises(Unauthenticated) as caught:
            world.process().answer([bearer()], PULL, "")
        assert "none" in caught.value.hint


class TestIncidents:
    """Ways in which others have given credentials away (security.md 2.1)."""

    @pytest.mark.parametrize(
        "realm",
        [
            "http://auth.test/token",
            "http://registry.test/token",
            "https://127.0.0.1/token",
            "https://169.254.169.254/latest/meta-data",
            "https://localhost:8080/",
            "https://10.0.0.1/token",
            "https://user:pass@auth.test/token",
        ],
    )
    def test_ggcr_2243_2285_regclient_such_a_realm_is_not_even_asked(self, world: World, realm: str) -> None:
        world.logged_in()
        with pytest.raises(PolicyRefused) as caught:
            world.process().answer([bearer(realm)], PULL, "")
        assert caught.value.exit_code == 10
        assert world.server.requests == []

    def test_ggcr_2292_2302_realm_hosts_bind(self, world: World) -> None:
        world.logged_in()
        world.settings = AuthSettings(realm_hosts=("auth.test",))
        world.process().answer([bearer()], PULL, "")
        with pytest.raises(PolicyRefused, match="realm_hosts"):
            world.process().answer([bearer("https://evil.test/token")], PULL, "")
        assert [urlsplit(request.url).netloc for request in world.server.requests] == ["auth.test"]

    @pytest.mark.parametrize(
        ("origin", "realm", "verified"),
        [
            ("http://registry.test", "https://auth.test/token", True),
            ("http://registry.test", "http://auth.test/token", True),
            ("https://registry.test", "https://auth.test/token", False),
        ],
    )
    def test_distribution_2026_no_password_to_a_realm_that_anybody_may_have_named(
        self, world: World, origin: str, realm: str, verified: bool
    ) -> None:
        anonymous = world.process(origin, verified=verified)
        assert anonymous.answer([bearer(realm)], PULL, "") == "Bearer t1"
        world.logged_in()
        with pytest.raises(PolicyRefused, match=r"credentials from .* are not sent to"):
            world.process(origin, verified=verified).answer([bearer(realm)], PULL, "")
        assert world.server.authorizations() == [""]

    def test_over_plain_http_the_same_host_gets_it(self, world: World) -> None:
        world.logged_in("registry.test:5000")
        auth = world.process("http://registry.test:5000", "registry.test:5000")
        auth.answer([bearer("http://registry.test:5001/token")], PULL, "")
        assert world.server.authorizations() == [BASIC]

    def test_a_relative_realm_is_the_registrys_own(self, world: World) -> None:
        """Behaviours C16."""
        world.process().answer([bearer("/v2/token")], PULL, "")
        assert world.server.requests[0].url.startswith("https://registry.test/v2/token?")

    def test_a_hostile_challenge_cannot_hide_a_second_realm(self, world: World) -> None:
        challenge = f'{bearer()},realm="https://evil.test/token"'
        world.process().answer([challenge], PULL, "")
        assert urlsplit(world.server.requests[0].url).netloc == "auth.test"

    def test_cve_2022_27774_a_token_of_one_port_or_scheme_is_not_for_another(self, world: World) -> None:
        world.process().answer([bearer()], PULL, "")
        for origin in ("https://registry.test:5000", "http://registry.test", "https://other.test"):
            assert world.process(origin, "registry.test").authorization(PULL) == ""

    def test_netrc_is_never_read(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behaviours T2."""
        netrc = world.home / ".netrc"
        netrc.write_text(f"default login user password {SECRET}\n")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(world.home))
        auth = world.process()
        assert auth.answer([bearer()], PULL, "") == "Bearer t1"
        assert world.server.authorizations() == [""]
        with pytest.raises(Unauthenticated):
            auth.answer(["Basic"], PULL, "")

    def test_a_refresh_token_never_goes_to_the_registry(self, world: World) -> None:
        world.logged_in(identitytoken=SECRET)
        auth = world.process()
        assert SECRET not in auth.answer([bearer()], PULL, "")
        with pytest.raises(Unauthenticated):
            auth.answer(["Basic"], PULL, "")


class TestSecrecy:
    """0 secrets in output, logs, reprs and tracebacks, whatever goes wrong (C31)."""

    @pytest.mark.parametrize("entry", [{}, {"identitytoken": SECRET}, {"registrytoken": SECRET}])
    @pytest.mark.parametrize("answer", [None, 400, 401, 403, 404, 429, 500, b"<html>", b"\xff", b"{}"])
    def test_no_failure_shows_one(self, world: World, entry: dict[str, str], answer: Any) -> None:
        world.logged_in(**entry)
        world.server.script = [answer, answer]
        auth, sent, shown = world.process(), "", []
        for challenge in (bearer(), bearer(), "Basic", "Basic"):
            try:
                sent = auth.answer([challenge], PULL, sent)
            except DistError as error:
                shown.append(everything(error))
        shown += [str(world.notices), repr(auth), repr(vars(auth)), *map(repr, world.server.requests)]
        assert len(shown) > 4
        for text in shown:
            assert SECRET not in text
            assert BASIC.removeprefix("Basic ") not in text
            assert "Bearer t" not in text

    def test_nothing_but_access_tokens_is_written_down(self, world: World) -> None:
        """Behaviours C21."""
        for entry in ({"username": "user", "password": SECRET}, {"identitytoken": SECRET}):
            world.logged_in(**entry)
            world.process().answer([bearer()], PULL, "")
        assert '"value": "t1"' in on_disk(world)
        assert '"value": "t2"' in on_disk(world)
        assert SECRET not in on_disk(world)
        assert BASIC.removeprefix("Basic ") not in on_disk(world)


def on_disk(world: World) -> str:
    cache = Path(world.cache_dir)
    files = [path for path in cache.rglob("*") if path.is_file() and path.name != "key"] if cache.exists() else []
    return "".join(path.read_text() for path in files)


class TestLoginChanges:
    """Tokens of one user are not sent for the next one."""

    def test_a_login_or_logout_ends_tokens_in_memory_and_on_disk(self, world: World) -> None:
        running = world.process()
        running.answer([bearer()], PULL, "")
        assert running.authorization(PULL) == "Bearer t1"
        forget_tokens(world.cache_dir)
        assert running.authorization(PULL) == ""
        assert world.process().authorization(PULL) == ""
        assert running.answer([bearer()], PULL, "") == "Bearer t2"
        assert world.process().authorization(PULL) == "Bearer t2"
