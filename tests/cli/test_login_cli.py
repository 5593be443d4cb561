"""`dist login` and `dist logout` with a real registry, and with token servers that refuse."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from base64 import b64encode
from pathlib import Path

import pytest
from support import faults
from support.config_files import write
from support.invoked import Invoke
from support.processes import Registry, optional_program, run_dist, run_program
from support.server import Exchange, FaultServer, closed_port


@pytest.fixture
def saved(isolation: Path) -> Path:
    """docker's file, which does not exist yet."""
    return isolation / ".docker" / "config.json"


def login(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, *words: str, password: bytes = b"correct horse\n"):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(password)))
    return invoke("login", *words)


def test_a_login_is_tried_and_kept_and_a_logout_forgets_it(
    locked_registry: Registry, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    host = locked_registry.host
    assert invoke("resolve", f"{host}/x:1").code == 4
    done = login(invoke, monkeypatch, host, "-u", "tester", "--password-stdin")
    assert (done.code, done.stdout) == (0, b"")
    assert f"logged in to {host}: {saved}" in done.stderr
    assert "the password is stored unencrypted" in done.stderr
    assert "correct horse" not in done.stderr
    assert list(json.loads(saved.read_text())["auths"]) == [host]
    assert invoke("resolve", f"{host}/x:1").code == 3, "let in, and there is no such image"
    done = invoke("logout", host)
    assert (done.code, done.stderr) == (0, f"dist: logged out of {host}: {saved}\n")
    assert json.loads(saved.read_text()) == {"auths": {}}
    assert invoke("logout", host).stderr == f"dist: not logged in to {host}\n"


def test_a_logout_from_a_helper_leaves_nothing_to_warn_of(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    program = write(tmp_path / "bin" / "docker-credential-test", "#!/bin/sh\ncat > /dev/null\n")
    program.chmod(0o755)
    write(saved, '{"credsStore": "test", "auths": {"ghcr.io": {}}}')
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert invoke("logout", "ghcr.io").stderr == f"dist: logged out of ghcr.io: {saved}\n"
    assert json.loads(saved.read_text()) == {"credsStore": "test", "auths": {}}


def test_other_tools_are_logged_in_too(
    locked_registry: Registry, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    optional_program("crane")
    login(invoke, monkeypatch, locked_registry.host, "-u", "tester", "--password-stdin", "-q")
    env = {"HOME": str(saved.parent.parent), "DOCKER_CONFIG": str(saved.parent)}
    run_program("crane", "catalog", "--insecure", locked_registry.host, env=env)


@pytest.mark.parametrize("words", [["-u", "tester"], ["-u", "nobody"]])
def test_what_the_registry_refuses_is_not_saved(
    words: list[str], locked_registry: Registry, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    done = login(invoke, monkeypatch, locked_registry.host, *words, "--password-stdin", password=b"s3cret")
    assert done.code == 4
    assert f"rejected the user name and password of '{words[1]}': nothing was saved" in done.stderr
    assert "s3cret" not in done.stderr
    assert not saved.exists()


def test_a_token_server_is_asked_as_well(
    server: FaultServer, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    tokens = faults.TokenServer(server.url("/token"), "")
    server.always("GET", "/v2/", tokens.protect(faults.json_answer({})))
    server.script("GET", "/token", faults.status(401), tokens.issue)
    assert login(invoke, monkeypatch, server.host, "-u", "me", "--password-stdin", password=b"wrong").code == 4
    assert not saved.exists()
    assert login(invoke, monkeypatch, server.host, "-u", "me", "--password-stdin").code == 0
    assert server.requests("GET", "/token")[1].header("authorization").startswith("Basic ")
    assert saved.exists()


def test_a_registry_that_asks_nobody_is_a_warning(
    registry: Registry, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    done = login(invoke, monkeypatch, registry.host, "-u", "me", "--password-stdin")
    assert done.code == 0
    assert "requires no authentication: the credentials were not checked" in done.stderr
    assert saved.exists()


def test_a_registry_that_is_not_there_is_exit_6(saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    write(Path(os.environ["XDG_CONFIG_HOME"]) / "dist/config.toml", "")
    host = f"127.0.0.1:{closed_port()}"
    file = write(saved.parent.parent / "c.toml", f'[[remote]]\nprefix = "{host}"\nretry = {{ attempts = 1 }}\n')
    done = login(invoke, monkeypatch, host, "-u", "me", "--password-stdin", "--config", str(file))
    assert done.code == 6
    assert not saved.exists()


def test_tls_and_the_table_of_the_host_count(
    tls_registry: Registry, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    text = '[[remote]]\nprefix = "{0}"\ntls = {{ ca = ["{1}"] }}\nauth = {{ file = "own.json" }}\n'
    write(saved.parent.parent / "own.json")
    file = write(saved.parent.parent / "c.toml", text.format(tls_registry.host, tls_registry.ca))
    words = [tls_registry.host, "-u", "tester", "--password-stdin", "--config", str(file)]
    assert login(invoke, monkeypatch, *words).code == 0
    assert list(json.loads((saved.parent.parent / "own.json").read_text())["auths"]) == [tls_registry.host]
    assert not saved.exists()


def test_a_table_that_leads_elsewhere_is_about_the_other_host(
    server: FaultServer, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    server.always("GET", "/v2/", faults.json_answer({}))
    text = f'[[remote]]\nprefix = "{server.host}"\nlocation = "nowhere.invalid"\nauth.helper = "none"\n'
    file = write(saved.parent.parent / "c.toml", text)
    words = [server.host, "-u", "me", "--password-stdin", "--config", str(file)]
    assert login(invoke, monkeypatch, *words).code == 0
    assert saved.exists()


def test_a_source_that_is_asked_first_is_named(
    locked_registry: Registry, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    host = locked_registry.host
    monkeypatch.setenv("DIST_AUTH_CONFIG", json.dumps({"auths": {host: {"username": "old", "password": "x"}}}))
    done = login(invoke, monkeypatch, host, "-u", "tester", "--password-stdin")
    assert done.code == 0, "what is tried is what was typed"
    assert f"warning: DIST_AUTH_CONFIG takes precedence over the saved credentials for {host}" in done.stderr
    assert f"DIST_AUTH_CONFIG still has credentials for {host}" in invoke("logout", host).stderr


def test_another_file_may_be_named(
    locked_registry: Registry, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    file = tmp_path / "auth.json"
    words = [locked_registry.host, "--file", str(file)]
    assert login(invoke, monkeypatch, *words, "-u", "tester", "--password-stdin").code == 0
    assert (file.stat().st_mode & 0o777, saved.exists()) == (0o600, False)
    assert invoke("logout", *words).code == 0
    assert json.loads(file.read_text()) == {"auths": {}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["https://ghcr.io"], "is not a host"),
        (["ghcr.io/org"], "is not a host"),
        (["ghcr"], "is not a host"),
        (["a b"], "dist: 'a b' is not a host\n"),
        (["::1"], "dist: '::1' is not a host: IPv6 addresses go in brackets\n"),
        (["\udcff"], "is not a host"),
        (["ghcr.io:99999"], "'ghcr.io:99999': port 99999"),
        (["ghcr.io", "--password-stdin"], "--password-stdin needs --username"),
        (["ghcr.io"], "there is no terminal to prompt on"),
        (["ghcr.io", "-u", "me"], "there is no terminal to prompt on"),
        (["ghcr.io", "--password", "x"], "No such option"),
    ],
)
def test_what_is_typed_wrong_is_exit_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    done = login(invoke, monkeypatch, *words)
    assert done.code == 2
    assert said in done.stderr


@pytest.mark.parametrize("password", [b"", b"\n", b"x" * 70_000])
def test_standard_input_without_a_password_is_exit_2(
    password: bytes, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    done = login(invoke, monkeypatch, "ghcr.io", "-u", "me", "--password-stdin", password=password)
    assert (done.code, "standard input contains no usable password" in done.stderr) == (2, True)


def test_the_terminal_is_asked_where_there_is_one(
    locked_registry: Registry, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"tester\n"))
    monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: "correct horse")
    done = invoke("login", locked_registry.host)
    assert (done.code, done.stdout) == (0, b"")
    assert done.stderr.startswith(f"User name for {locked_registry.host}: ")
    assert saved.exists()


def test_a_process_of_its_own_reads_a_pipe(locked_registry: Registry, saved: Path) -> None:
    done = run_dist(["login", locked_registry.host, "-u", "tester", "--password-stdin"], stdin=b"correct horse\r\n")
    assert (done.code, done.stdout) == (0, b"")
    assert saved.exists()


def test_a_password_that_is_not_utf_8_is_tried_and_kept_in_a_file(
    server: FaultServer, saved: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    challenge = faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])

    def answer(exchange: Exchange) -> None:
        (faults.json_answer({}) if exchange.request.header("authorization") else challenge)(exchange)

    server.always("GET", "/v2/", answer)
    done = login(invoke, monkeypatch, server.host, "-u", "me", "--password-stdin", password=b"p\xff\n")
    assert done.code == 0, done.stderr
    assert [request.header("authorization") for request in server.log] == ["", "Basic bWU6cP8=", ""]
    assert json.loads(saved.read_text())["auths"][server.host] == {"auth": "bWU6cP8="}


def test_the_time_of_the_command_holds_while_a_helper_runs(
    server: FaultServer, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    program = write(tmp_path / "bin" / "docker-credential-slow", "#!/bin/sh\nsleep 60 & wait\n")
    program.chmod(0o755)
    write(saved, '{"credsStore": "slow"}')
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    server.always("GET", "/v2/x/manifests/1", faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')]))
    server.always("HEAD", "/v2/x/manifests/1", faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')]))
    for words in (["resolve", f"{server.host}/x:1"], ["logout", server.host]):
        began = time.monotonic()
        done = invoke(*words, "--timeout", "1s")
        assert (done.code, "--timeout" in done.stderr) == (6, True)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("config", ["docker", "auth.helper"])
@pytest.mark.parametrize("no_cache", ["", "1"])
def test_access_tokens_do_not_survive_a_logout_or_the_next_login(
    config: str, no_cache: str, server: FaultServer, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper is the same before and after, so that no file of credentials shows who is logged in."""
    keeping = f"""#!/bin/sh
case $1 in
    store) cat > {tmp_path}/kept ;;
    erase) cat > /dev/null; rm -f {tmp_path}/kept ;;
    get) cat > /dev/null
        cat {tmp_path}/kept 2> /dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;
esac
"""
    program = write(tmp_path / "bin" / "docker-credential-keep", keeping)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    if config == "docker":
        write(saved, '{"credsStore": "keep"}')
    else:
        text = f'[[remote]]\nprefix = "{server.host}"\nauth.helper = "keep"\n'
        write(Path(os.environ["XDG_CONFIG_HOME"]) / "dist/config.toml", text)
    tokens = faults.TokenServer(server.url("/token"), "")
    server.always("GET", "/token", tokens.issue)
    server.always("GET", "/v2/", tokens.protect(faults.json_answer({})))
    server.always("HEAD", "/v2/x/manifests/1", tokens.protect(faults.status(404)))
    server.always("GET", "/v2/x/manifests/1", tokens.protect(faults.status(404)))

    def asked_as(*words: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> list[str]:
        before = len(server.requests("GET", "/token"))
        run_dist([*words], stdin=stdin, env=env)
        return [request.header("authorization") for request in server.requests("GET", "/token")[before:]]

    basic = {user: "Basic " + b64encode(f"{user}:p".encode()).decode() for user in ("alice", "bob")}
    login_as = ["login", server.host, "--password-stdin", "-u"]
    asked_as(*login_as, "alice", stdin=b"p")
    assert asked_as("resolve", f"{server.host}/x:1") == [basic["alice"]]
    assert asked_as("resolve", f"{server.host}/x:1") == []
    asked_as("logout", server.host, env={"DIST_NO_TOKEN_CACHE": no_cache})
    assert asked_as("resolve", f"{server.host}/x:1") == [""]
    asked_as(*login_as, "bob", stdin=b"p", env={"DIST_NO_TOKEN_CACHE": no_cache})
    assert asked_as("resolve", f"{server.host}/x:1") == [basic["bob"]]
