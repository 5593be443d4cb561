"""Answering a registry that asks for authorization (behaviours group C; security incidents by number)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.token_exchange import BASIC, PULL, SECRET, World, bearer

from dist_tool.auth import credential_helper
from dist_tool.auth.authenticator import pull_scope, push_scope

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestCredentials:
    def test_ten_objects_cost_one_question_to_the_helper(self, world: World) -> None:
        """Behaviours C27."""
        count = world.helper("user", SECRET)
        for repository in "abc":
            world.process().answer([bearer(scope=pull_scope(repository))], (pull_scope(repository),), "")
        assert count.read_text() == "x\n"
        assert world.server.authorizations() == [BASIC] * 3


def test_ten_cold_processes_make_one_exchange_and_ten_warm_ones_none(world: World, tmp_path: Path) -> None:
    """The pipeline of the front page: as many processes as xargs starts, one login (W6). Behaviours B55."""
    world.logged_in()
    (tmp_path / "started").mkdir()

    def run() -> list[str]:
        command = [sys.executable, "-c", PROCESS, str(world.home), world.cache_dir, str(tmp_path)]
        processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(10)]
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * 10
        return outputs

    assert run() == ["answered Bearer once\n"] * 10
    assert (tmp_path / "exchanges").read_text() == f"{BASIC}\n"
    assert run() == ["at once Bearer once\n"] * 10
    assert (tmp_path / "exchanges").read_text() == f"{BASIC}\n"


PROCESS = """
import json, os, sys, time
from dist_tool.settings import AuthSettings
from dist_tool.auth.authenticator import (Authenticator, TokenSources, TokenResponse)
from dist_tool.auth.keychain import Keychain
from dist_tool.names.origin import Origin
from dist_tool.auth.token_cache import TokenCache

home, cache, shared = sys.argv[1:]
scopes = ("repository:a/b:pull",)

def exchange(request):
    with open(shared + "/exchanges", "a") as log:
        log.write(request.headers["Authorization"] + "\\n")
    while len(os.listdir(shared + "/started")) < 10:
        time.sleep(0.01)
    return TokenResponse(200, {}, json.dumps({"token": "once", "expires_in": 300}).encode())

environ = {"HOME": home, "XDG_RUNTIME_DIR": home}
means = TokenSources(Keychain(AuthSettings(), environ), TokenCache(cache, wait_s=100), exchange)
auth = Authenticator(Origin.of("https://registry.test"), "registry.test", means)
warm = auth.authorization(scopes)
open(f"{shared}/started/{os.getpid()}", "w").close()
if warm:
    print("at once", warm)
else:
    challenge = 'Bearer realm="https://auth.test/token",service="registry"'
    print("answered", auth.answer([challenge], scopes, ""))
"""


def test_asking_for_authorization_loads_nothing_heavy() -> None:
    """Start-up is a feature: a process that needs no token pays for none."""
    script = """
import sys
from dist_tool.settings import AuthSettings
from dist_tool.auth.authenticator import (Authenticator, TokenSources)
from dist_tool.auth.keychain import Keychain
from dist_tool.names.origin import Origin
from dist_tool.auth.token_cache import TokenCache
means = TokenSources(Keychain(AuthSettings(), {}), TokenCache(None), lambda request: 1/0)
auth = Authenticator(Origin.of("https://registry.test"), "registry.test", means)
assert auth.authorization(("repository:a:pull",)) == ""
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"subprocess", "hashlib", "json", "base64", "fcntl", "tempfile", "requests", "datetime"}


class TestLoginChanges:
    """Tokens of one user are not sent for the next one."""

    def test_a_token_of_another_user_than_the_helper_names_is_not_sent(self, world: World) -> None:
        world.helper("alice", "a")
        world.process().answer([bearer()], PULL, "")
        program = world.home / "bin/docker-credential-test"
        program.write_text(program.read_text().replace("alice", "bob"))
        credential_helper._results.clear()  # as in a new process
        later = world.process()
        push = push_scope("a/b")
        later.answer([bearer(scope=push)], (push,), "")  # so the helper is asked
        assert later.authorization(PULL) == ""
        assert later.answer([bearer()], PULL, "") == "Bearer t3"
        assert "Ym9i" in world.server.authorizations()[2].removeprefix("Basic ")[:4]
