"""Remote helpers, sound, slow, dying and lying: their bytes are judged like all others."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import pytest
from support.content import Blob, blob, random_bytes, write_layout
from support.content import image as make_image
from support.fetching import Outcome, fetch
from support.processes import run_dist
from support.programs import SHELF, install

from dist_tool import errors
from dist_tool.names.hints import Hints
from dist_tool.names.locator import parse_locator
from dist_tool.remotes import table
from dist_tool.remotes.program.process import Helper, HelperLimits
from dist_tool.settings import Endpoint, Settings, Timeouts

HINTS = Hints()
PATIENT = Timeouts()
BLOB = Blob(random_bytes("helper", 5000))
# A helper in shell: says hello, then does what the test says for each question ($word $one $two).
SHELL = """
while read -r word one two; do
    if [ "$word" = hello ]; then echo "ok 1 name"; continue; fi
    {body}
done
"""


def shell(tmp_path: Path, body: str) -> Settings:
    (tmp_path / "blob").write_bytes(BLOB.data)
    source = SHELL.replace("{body}", body)
    return Settings(environ={**install(tmp_path / "bin", "odd", source, interpreter="/bin/sh"), "HERE": str(tmp_path)})


def run(
    settings: Settings,
    object_id: object = BLOB.digest,
    *hints: str,
    timeout: Timeouts = PATIENT,
    deadline: float | None = None,
) -> Outcome:
    return fetch("odd::x", object_id, *hints, remote=Endpoint(timeout=timeout), settings=settings, deadline=deadline)


WHOLE = 'echo "ok 0 5000"; echo "data 5000"; cat "$HERE/blob"; echo end'


def test_a_sound_answer(tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, WHOLE))
    assert (outcome.data, outcome.error) == (BLOB.data, None)


def test_frames_may_be_of_any_size_and_the_total_untold(tmp_path: Path) -> None:
    body = """
    echo "ok 0 -"; echo "data 1"; head -c 1 "$HERE/blob"; echo "data 4000"; tail -c +2 "$HERE/blob" | head -c 4000
    echo "data 999"; tail -c 999 "$HERE/blob"; echo end"""
    assert run(shell(tmp_path, body)).data == BLOB.data


def test_wrong_bytes_are_found_out_like_anybodys(tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, 'echo "ok 0 5"; echo "data 5"; printf wrong; echo end'))
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert outcome.data == b""


RESUMED = """
    echo "$word $one $two" >> "$HERE/asked"
    if [ "$two" = 0 ]; then echo "ok 0 5000"; echo "data 5000"; head -c 1234 "$HERE/blob"; {ending}; fi
    echo "ok $two 5000"; echo "data $((5000 - two))"; tail -c +$((two + 1)) "$HERE/blob"; echo end"""


@pytest.mark.parametrize("ending", ["exit 3", "kill -9 $$", "exec sleep 1000"])
def test_a_helper_that_is_cut_is_asked_again_from_there(tmp_path: Path, ending: str) -> None:
    idle_s = 0.5 if "sleep" in ending else 30
    outcome = run(shell(tmp_path, RESUMED.replace("{ending}", ending)), timeout=Timeouts(idle_s=idle_s))
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert (tmp_path / "asked").read_text().splitlines() == [f"open {BLOB.digest} 0", f"open {BLOB.digest} 1234"]


def test_a_helper_that_gives_up_midway_says_why_and_is_asked_again(tmp_path: Path) -> None:
    body = """
    if [ "$two" = 0 ]; then
        echo "ok 0 5000"; echo "data 100"; head -c 100 "$HERE/blob"; echo "error unavailable lost it"
    else echo "ok $two 5000"; echo "data $((5000 - two))"; tail -c +$((two + 1)) "$HERE/blob"; echo end; fi"""
    outcome = run(shell(tmp_path, body))
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert any("dist-remote-odd: lost it" in notice.text for notice in outcome.notices)


def test_a_helper_may_begin_earlier(tmp_path: Path) -> None:
    """One that cannot seek gives all of it again; what was there is compared."""
    body = """
    echo "ok 0 5000"; echo "data 5000"
    if [ "$two" = 0 ]; then head -c 9 "$HERE/blob"; exit 1; fi
    cat "$HERE/blob"; echo end"""
    assert run(shell(tmp_path, body)).data == BLOB.data


ERRORS = {
    "notfound": errors.NotFound,
    "denied": errors.PermissionDenied,
    "unauthenticated": errors.Unauthenticated,
    "unavailable": errors.Unavailable,
    "unsupported": errors.Unsupported,
    "invalid": errors.InvalidArgument,
    "failed": errors.RemoteFailed,
}


@pytest.mark.parametrize("word", ERRORS)
def test_its_errors_are_the_exit_codes_of_every_remote(tmp_path: Path, word: str) -> None:
    outcome = run(shell(tmp_path, f'echo "error {word} because of me"'))
    assert type(outcome.error) is ERRORS[word]
    assert "dist-remote-odd: because of me" in outcome.said


MALFORMED = [
    "echo what",
    "echo",
    "echo error",
    "echo error nosuchclass text",
    "echo ok",
    "echo ok 0",
    "echo ok x 5",
    "echo ok 0 five",
    "echo ok 1 5000",
    "echo ok -1 5",
    "echo ok 0 1_0",
    "printf '\\377\\376\\n'",
    "head -c 100000 /dev/zero | tr '\\0' x",
    "echo ok 0 5000; echo data",
    "echo ok 0 5000; echo data 0",
    "echo ok 0 5000; echo data -5",
    "echo ok 0 5000; echo data 99999999999999999999",
    "echo ok 0 5000; echo nonsense",
    "echo ok 0 5000; cat $HERE/blob",
]


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_answer_is_a_protocol_error(tmp_path: Path, body: str) -> None:
    outcome = run(shell(tmp_path, body))
    assert isinstance(outcome.error, errors.ProtocolError)
    assert (outcome.code, outcome.data, outcome.waits) == (7, b"", [])


@pytest.mark.parametrize(
    ("hello", "error", "said"),
    [
        ("exit 1", errors.RemoteFailed, "ended with status 1, without an answer to hello"),
        ("echo ok 2", errors.Unsupported, "does not support version 1 of the helper protocol"),
        ("echo error unsupported not yet", errors.Unsupported, "not yet"),
        ("echo hi", errors.ProtocolError, "answered 'hi'"),
    ],
)
def test_a_program_that_does_not_say_hello_is_none_of_ours(
    tmp_path: Path, hello: str, error: type[errors.DistError], said: str
) -> None:
    environ = install(tmp_path / "bin", "odd", f"read -r line\n{hello}\nsleep 1000", interpreter="/bin/sh")
    outcome = run(Settings(environ=environ))
    assert type(outcome.error) is error
    assert said in outcome.said


@pytest.mark.parametrize("before", ["", "echo ok 0 5000", "echo ok 0 5000; echo data 9"])
def test_silence_is_given_up_in_the_time_that_was_set(tmp_path: Path, before: str) -> None:
    timeout = Timeouts(headers_s=0.05, idle_s=0.05)
    settings = shell(tmp_path, f"{before}\n    sleep 1000")
    outcome = fetch("odd::x", BLOB.digest, remote=Endpoint(timeout=timeout), settings=settings, attempts=2)
    assert isinstance(outcome.error, errors.Unavailable)
    assert "nothing came for 0.05 s" in outcome.said


def test_the_users_deadline_is_final(tmp_path: Path) -> None:
    settings = shell(tmp_path, "sleep 1000")
    outcome = run(settings, timeout=Timeouts(), deadline=time.monotonic() + 0.3)
    assert isinstance(outcome.error, errors.DeadlineExceeded)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_helper_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """A transfer that is over before the helper thinks so: its ssh must not go on for ever."""
    body = 'sleep 1000 & echo $$ $! > "$HERE/pids"; echo "ok 0 5000"; echo "data 5000"; head -c 9 "$HERE/blob"; wait'
    settings = shell(tmp_path, body)
    remote = table.open_remote(parse_locator("odd::x"), settings)
    opened = remote.open(BLOB.descriptor)
    assert opened.readinto(memoryview(bytearray(9))) == 9  # type: ignore[union-attr]
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    opened.close()
    remote.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(_alive, pids))


def test_one_helper_serves_many_objects_and_ends_with_its_input(tmp_path: Path) -> None:
    tree = write_layout(tmp_path / "tree", {"v1": make_image("helper")})
    environ = install(
        tmp_path / "bin", "shelf", f"import os\nopen({str(tmp_path / 'started')!r}, 'a').write('x')\n{SHELF}"
    )
    remote = table.open_remote(parse_locator(f"shelf::{tree}"), Settings(environ=environ))
    for each in make_image("helper").blobs():
        body = remote.open(each.descriptor)
        while body.readinto(memoryview(bytearray(1 << 16))):  # type: ignore[union-attr]
            pass
        body.close()
    remote.close()  # type: ignore[attr-defined]
    assert (tmp_path / "started").read_text() == "x"
    del remote, body
    gc.collect()


def test_a_layout_behind_a_helper(tmp_path: Path) -> None:
    image = make_image("helper")
    tree = write_layout(tmp_path / "tree", {"v1": image})
    environ = install(tmp_path / "bin", "shelf", SHELF)
    assert fetch(f"layout::shelf::{tree}", "v1", settings=Settings(environ=environ)).data == image.manifest.data


RESOLVES = """
while read -r word one two; do
    case $word in
    hello) echo "ok 1 resolve" ;;
    resolve) echo "ok {answer}" ;;
    open) echo "ok 0 5000"; echo "data 5000"; cat "$HERE/blob"; echo end ;;
    esac
done
"""


@pytest.mark.parametrize("answer", [f"{BLOB.digest}", f"{BLOB.digest} -", f"{BLOB.digest} 5000 text/x-test"])
def test_a_helper_may_say_what_a_name_means(tmp_path: Path, answer: str) -> None:
    (tmp_path / "blob").write_bytes(BLOB.data)
    environ = install(tmp_path / "bin", "odd", RESOLVES.replace("{answer}", answer), interpreter="/bin/sh")
    outcome = run(Settings(environ={**environ, "HERE": str(tmp_path)}), "latest")
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert not [notice for notice in outcome.notices if notice.level == "warning"]


@pytest.mark.parametrize("answer", ["", "latest", "sha256:short", f"{BLOB.digest} many"])
def test_a_meaning_that_is_no_digest_is_a_protocol_error(tmp_path: Path, answer: str) -> None:
    environ = install(tmp_path / "bin", "odd", RESOLVES.replace("{answer}", answer), interpreter="/bin/sh")
    assert isinstance(run(Settings(environ=environ), "latest").error, errors.ProtocolError)


def test_a_helper_without_names_knows_digests_only(tmp_path: Path) -> None:
    environ = install(tmp_path / "bin", "odd", 'read -r line; echo "ok 1"; read -r line', interpreter="/bin/sh")
    outcome = run(Settings(environ=environ), "latest")
    assert isinstance(outcome.error, errors.NotFound)
    assert "digests only" in outcome.said


@pytest.mark.parametrize("name", ["a\nopen x 0", "a\x00b", "x" * 5000])
def test_a_name_cannot_be_two_questions(tmp_path: Path, name: str) -> None:
    assert isinstance(run(shell(tmp_path, "echo error invalid"), name).error, errors.InvalidArgument)


def test_an_argument_cannot_be_an_option(tmp_path: Path) -> None:
    settings = shell(tmp_path, WHOLE)
    with pytest.raises(errors.InvalidArgument, match="cannot be the argument"):
        table.open_remote(parse_locator("odd::-oProxyCommand=touch /tmp/x"), settings)


def test_the_argument_is_no_shells(tmp_path: Path) -> None:
    settings = shell(tmp_path, 'printf %s "$ARG" > "$HERE/argument"; ' + WHOLE)
    program = tmp_path / "bin" / "dist-remote-odd"
    program.write_text(program.read_text().replace("while read", "ARG=$1\nwhile read", 1))
    rest = "a b;$(touch x)`id`*'\""
    assert fetch(f"odd::{rest}", BLOB.digest, settings=settings).data == BLOB.data
    assert (tmp_path / "argument").read_text() == rest


def test_a_program_that_cannot_be_run_is_a_local_failure(tmp_path: Path) -> None:
    environ = install(tmp_path / "bin", "odd", "x", interpreter="/nosuch/interpreter")
    assert isinstance(run(Settings(environ=environ)).error, errors.LocalFailure)


def test_built_in_kinds_and_other_directories_are_not_looked_for_in_path(tmp_path: Path) -> None:
    environ = install(tmp_path / "bin", "layout", "x")
    with pytest.raises(errors.NotFound):
        table.open_remote(parse_locator("layout::/nosuch"), Settings(environ=environ)).resolve("x", HINTS)
    with pytest.raises(errors.Unsupported, match="there is no remote of kind 'odd'"):
        table.open_remote(parse_locator("odd::x"), Settings(environ={"PATH": ""}))


def test_programs_are_listed_and_not_run(tmp_path: Path) -> None:
    environ = install(tmp_path / "bin", "odd", f"touch {tmp_path}/ran", interpreter="/bin/sh")
    (tmp_path / "bin" / "dist-remote-data").write_text("not executable")
    listed = dict(table.kinds(environ))
    assert listed["odd"] == table.Kind(str(tmp_path / "bin" / "dist-remote-odd"), "", "program")
    assert "data" not in listed
    assert not (tmp_path / "ran").exists()


def test_standard_error_is_passed_through(tmp_path: Path) -> None:
    settings = shell(tmp_path, f'echo "from the helper" >&2; {WHOLE}')
    result = run_dist(["fetch", "odd::x", str(BLOB.digest)], env=dict(settings.environ))
    assert (result.stdout, result.code, result.stderr) == (BLOB.data, 0, "from the helper\n")


def test_an_interrupted_greeting_leaves_no_process(tmp_path: Path) -> None:
    environ = install(tmp_path / "bin", "odd", "exec sleep 1000", interpreter="/bin/sh")
    helper = Helper([str(tmp_path / "bin" / "dist-remote-odd"), "x"], environ, HelperLimits(Timeouts(headers_s=0.05)))
    with pytest.raises(errors.Unavailable):
        helper.greet()
    helper.kill()
    helper.kill()


def test_large_objects_come_through_a_helper_in_bounded_pieces(tmp_path: Path) -> None:
    large = blob("large helper", 6 << 20)
    (tmp_path / "large").write_bytes(large.data)
    body = f'echo "ok 0 {len(large.data)}"; echo "data {len(large.data)}"; cat "$HERE/large"; echo end'
    assert run(shell(tmp_path, body), large.digest).data == large.data
    assert os.path.exists(tmp_path / "large")


@pytest.mark.parametrize("entry", ["", ".", "bin"])
def test_a_program_of_the_working_directory_is_not_run(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install(tmp_path / entry, "odd", f"touch {tmp_path}/was-run\n", interpreter="/bin/sh")
    outcome = run(Settings(environ={"PATH": f"{entry}:/usr/bin:/bin"}))
    assert isinstance(outcome.error, errors.InvalidArgument)
    assert "dist-remote-odd is not run" in str(outcome.error)
    assert not (tmp_path / "was-run").exists()
    assert "odd" not in dict(table.kinds({"PATH": f"{entry}:/usr/bin:/bin"}))


def test_credentials_for_registries_are_not_inherited(tmp_path: Path) -> None:
    settings = shell(tmp_path, f'env > "$HERE/seen"; {WHOLE}')
    secret = {"DIST_AUTH_CONFIG": "x", "DIST_SERVE_PASSWORD": "x", "DOCKER_AUTH_CONFIG": "x"}
    kept = {"DIST_CONFIG": "", "AWS_SECRET_ACCESS_KEY": "x"}
    assert run(Settings(environ={**settings.environ, **secret, **kept})).error is None
    names = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert kept.keys() <= names
    assert not secret.keys() & names
