"""Ten traps for a client written in Python with requests (behaviours T1-T10), each with its test.

Over every kind that speaks HTTP. Tokens, challenges, pages and the grammar of tags are of registries only, and what the
process does with its output and with signals is the same for all.
"""

from __future__ import annotations

import gzip
import shlex
import signal
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from support import faults
from support.content import Blob, blob, image, random_bytes, tar_of, write_blob, write_layout
from support.faults import blob_path, content, cut, manifest_path, redirect
from support.fetching import Outcome, fetch, with_environment
from support.kinds import PASSWORD, REGISTRY, REPOSITORY, TOKEN, Kind, login
from support.processes import Authority, dist_command, dist_environment, run_dist
from support.repositories import opened as open_remote
from support.server import FaultServer, OpenServer

from dist_tool import errors
from dist_tool.settings import Endpoint, Route, Settings, Tls

BLOB = blob("traps", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
SECRET = "correct-horse-battery-staple"


def _fetch(kind: Kind, server: FaultServer, *, name: str = "127.0.0.1", remote: Route | None = None) -> Outcome:
    """Fetch with what opens the lock of a server, should it have one."""
    place = kind.at(server, f"{name}:{server.port}")
    return fetch(place, BLOB.digest, remote=remote, settings=login(server.host))


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
@pytest.mark.parametrize("what", ["stored bytes", "real coding"])
def test_a_content_encoding_changes_no_bytes(kind: Kind, server: FaultServer, coding: str, what: str) -> None:
    """iter_content() would unpack a stored layer, and its digest would be another. Behaviours T1."""
    layer = Blob(gzip.compress(tar_of({"a": random_bytes(1, 3000)}), mtime=0))
    answer = faults.labelled if what == "stored bytes" else faults.coded
    server.script("GET", blob_path(REPOSITORY, layer.digest), answer(layer.data, coding))
    outcome = fetch(kind.at(server), layer.digest)
    assert (outcome.data, outcome.error) == (layer.data, None)


def test_netrc_is_not_read(kind: Kind, servers: OpenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests would overwrite the bearer token with it, and add it on redirect targets. Behaviours T2."""
    netrc = tmp_path / "netrc"
    netrc.write_text("".join(f"machine {name} login me password {SECRET}\n" for name in ("127.0.0.1", "cdn.test")))
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    front, cdn = servers(), servers()
    front.always("GET", PATH, kind.lock(front, redirect(cdn.url("/blob", name="cdn.test"))))
    cdn.script("GET", "/blob", content(BLOB.data))
    assert _fetch(kind, front).data == BLOB.data
    assert b64encode(f"me:{SECRET}".encode()).decode() not in str(front.log)
    assert cdn.log[0].header("authorization") == ""


def test_what_belongs_to_the_registry_does_not_follow_a_redirect(kind: Kind, servers: OpenServer) -> None:
    """Behaviours T3."""
    registry, cdn = servers(), servers()
    to_cdn = redirect(cdn.url("/blob", name="cdn.test"), headers=[("Set-Cookie", "session=of-the-registry; Path=/")])
    registry.script("GET", PATH, to_cdn)
    cdn.script("GET", "/blob", content(BLOB.data))
    outcome = _fetch(kind, registry, remote=Endpoint(header={"x-tenant": SECRET}))
    assert outcome.data == BLOB.data
    assert registry.log[0].header("x-tenant") == SECRET
    assert [cdn.log[0].header(name) for name in ("x-tenant", "cookie", "referer")] == ["", "", ""]
    assert SECRET not in str(cdn.log)


def test_no_redirect_leaves_tls(kind: Kind, servers: OpenServer, authority: Authority) -> None:
    """Behaviours T3."""
    registry, plain = servers(tls=authority.server_context()), servers()
    registry.script("GET", PATH, redirect(plain.url("/blob", name="cdn.test")))
    outcome = _fetch(kind, registry, name="registry.test", remote=Endpoint(tls=Tls(ca=(authority.ca,))))
    assert isinstance(outcome.error, errors.PolicyRefused)
    assert plain.connections == 0


def test_no_redirect_of_a_public_name_reaches_this_machine(kind: Kind, servers: OpenServer) -> None:
    """Behaviours T3."""
    registry, internal = servers(), servers()
    registry.script("GET", PATH, redirect(internal.url("/secrets")))
    outcome = _fetch(kind, registry, name="registry.test", remote=Endpoint(plain_http=True))
    assert isinstance(outcome.error, errors.PolicyRefused)
    assert internal.connections == 0


@pytest.mark.parametrize("size", [100, 6 << 20], ids=["small", "large"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close", "http10"])
def test_a_cut_body_is_never_a_whole_one(kind: Kind, server: FaultServer, framing: str, size: int) -> None:
    """raw.stream() raises another library's exception, and a close-delimited cut raises none. Behaviours T4."""
    whole = blob("cut", size)
    at = size * 2 // 5
    server.always("GET", blob_path(REPOSITORY, whole.digest), cut(whole.data, at, framing).but(ranges=False))
    outcome = fetch(kind.at(server), whole.digest)
    assert outcome.code in (5, 6)
    if framing in ("length", "chunked"):
        assert isinstance(outcome.error, errors.Truncated)
    assert len(outcome.data) <= max(0, at - (1 << 20))
    assert whole.data.startswith(outcome.data)


def test_a_signed_url_that_expires_between_two_halves(servers: OpenServer) -> None:
    """The whole matrix is in test_resume; this is the way through it that users see most. Behaviours T5."""
    registry, cdn = servers(), servers()
    tokens = faults.TokenServer(registry.url("/token"), f"repository:{REPOSITORY}:pull")
    registry.always("GET", "/token", tokens.issue)
    doors = faults.in_turn(*(redirect(cdn.url(f"/{n}?sig={n}")) for n in (1, 2, 3)))
    registry.always("GET", PATH, tokens.protect(doors))
    cdn.script("GET", "/1", cut(BLOB.data, 1234))
    cdn.script("GET", "/2", faults.status(403))
    cdn.script("GET", "/3", content(BLOB.data))
    assert _fetch(REGISTRY, registry).data == BLOB.data
    assert len(registry.requests("GET", "/token")) == 1


ONE_LINE = ["Negotiate, Bearer {bearer}, Basic {basic}"]
THREE_LINES = ["Negotiate", "Bearer {bearer}", "Basic {basic}"]


@pytest.mark.parametrize("lines", [ONE_LINE, THREE_LINES], ids=["one line", "three lines"])
def test_challenges_are_parsed_not_split_at_commas(server: FaultServer, lines: list[str]) -> None:
    """Behaviours T6."""
    scope = "repository:team/app:pull,push"
    bearer = f'realm="{server.url("/t")}?x=1,2",service="s",scope="{scope}"'
    headers = [("WWW-Authenticate", line.format(bearer=bearer, basic='realm="x, y"')) for line in lines]
    server.script("GET", PATH, faults.status(401, headers=headers), content(BLOB.data))
    server.script("GET", "/t", faults.json_answer({"token": "t"}))
    assert _fetch(REGISTRY, server).data == BLOB.data
    (asked,) = server.requests("GET", "/t")
    assert asked.query["x"] == ["1,2"]
    assert asked.query["service"] == ["s"]
    assert sorted(asked.query["scope"][0].rpartition(":")[2].split(",")) == ["pull", "push"]


def test_a_joined_link_header_still_has_its_next_page(server: FaultServer) -> None:
    """Behaviours T6."""
    from dist_tool.api import Listable

    links = [("Link", '</docs>; rel="help"; title="a, b"'), ("Link", '</v2/team/app/tags/list?last=a>; rel="next"')]
    path = f"/v2/{REPOSITORY}/tags/list"
    server.script("GET", path, faults.json_answer({"tags": ["a"]}, headers=links), faults.json_answer({"tags": ["b"]}))
    with open_remote(f"{server.host}/{REPOSITORY}", Settings()) as remote:
        assert isinstance(remote, Listable)
        assert list(remote.tags()) == ["a", "b"]


@pytest.mark.parametrize("object_id", ["latest\n", "ü", "٣", "a b", "sha256:" + "a" * 64 + "\n"])
def test_names_are_matched_whole_and_in_ascii(server: FaultServer, object_id: str) -> None:
    """Behaviours T7."""
    assert isinstance(fetch(f"{server.host}/{REPOSITORY}", object_id).error, errors.InvalidArgument)
    assert server.log == []


@pytest.mark.parametrize("length", ["5_000", "+5000", " ", "0x1388", "5000.0", "-1", "5000, 5000", "1e3"])
def test_numbers_that_only_int_reads_are_no_content_length(kind: Kind, server: FaultServer, length: str) -> None:
    """Whatever becomes of such an answer, it is the object or an error. Behaviours T7."""
    server.always("GET", PATH, faults.declaring(BLOB.data, length))
    outcome = _fetch(kind, server)
    assert outcome.data == (BLOB.data if outcome.error is None else b"")
    assert outcome.code in (0, 5, 6, 7)


@pytest.mark.parametrize("declared", ["text/plain 4 x", "text/plain\t4", "a/b, c/d", "nonsense"])
def test_a_content_type_that_is_no_media_type_is_an_unknown_one(kind: Kind, server: FaultServer, declared: str) -> None:
    """It is printed beside digest and size, where a blank would begin another word."""
    server.script("GET", PATH, content(BLOB.data, declared))
    outcome = _fetch(kind, server)
    assert outcome.data == BLOB.data
    assert outcome.desc is not None
    assert outcome.desc.media_type == "application/octet-stream"


def test_a_bundle_in_the_environment_does_not_undo_the_remotes_own(
    kind: Kind, servers: OpenServer, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With Session.verify=False or a path, requests would prefer REQUESTS_CA_BUNDLE. Behaviours T8."""
    other = tmp_path / "other"
    other.mkdir()
    environ = {"REQUESTS_CA_BUNDLE": Authority(other).ca}
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", environ["REQUESTS_CA_BUNDLE"])
    server = servers(tls=authority.server_context())
    server.always("GET", PATH, content(BLOB.data))
    locator = kind.at(server, f"registry.test:{server.port}")
    settings = with_environment(**environ)

    def code(tls: Tls) -> int:
        return fetch(locator, BLOB.digest, remote=Endpoint(tls=tls), settings=settings).code

    assert code(Tls()) == 6
    assert code(Tls(ca=(authority.ca,))) == 0
    assert code(Tls(skip_verify=True)) == 0
    assert code(Tls(ca=(environ["REQUESTS_CA_BUNDLE"],))) == 6


def test_the_environments_bundle_is_trusted(kind: Kind, servers: OpenServer, authority: Authority) -> None:
    """Behaviours T8."""
    server = servers(tls=authority.server_context())
    server.always("GET", PATH, content(BLOB.data))
    locator = kind.at(server, f"registry.test:{server.port}")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        assert fetch(locator, BLOB.digest, settings=with_environment(**{name: authority.ca})).error is None


def test_proxies_of_the_environment_are_used_and_excepted(kind: Kind, servers: OpenServer) -> None:
    """trust_env=False alone would lose them. Behaviours T8."""
    proxy = servers()
    url = f"http://registry.invalid{PATH}"
    proxy.script("GET", url, content(BLOB.data))
    remote = Endpoint(plain_http=True)
    place = kind.at(proxy, "registry.invalid")
    through = fetch(place, BLOB.digest, remote=remote, settings=with_environment(HTTP_PROXY=proxy.url()))
    assert through.data == BLOB.data
    past = with_environment(HTTP_PROXY=proxy.url(), NO_PROXY=".invalid")
    assert fetch(place, BLOB.digest, remote=remote, settings=past).code == 6
    assert len(proxy.log) == 1


def test_loopback_is_not_proxied(kind: Kind, servers: OpenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behaviours T8."""
    proxy, registry = servers(), servers()
    registry.script("GET", PATH, content(BLOB.data))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    environ = with_environment(HTTP_PROXY=proxy.url(), ALL_PROXY=proxy.url())
    assert fetch(kind.at(registry), BLOB.digest, settings=environ).data == BLOB.data
    assert proxy.connections == 0


def test_a_coding_of_several_members_is_decoded_to_its_end(kind: Kind, server: FaultServer) -> None:
    """zlib.decompressobj stops at the first member. Behaviours T9."""
    half = len(BLOB.data) // 2
    members = gzip.compress(BLOB.data[:half]) + gzip.compress(b"") + gzip.compress(BLOB.data[half:])
    server.script("GET", PATH, faults.labelled(members, "gzip"))
    assert _fetch(kind, server).data == BLOB.data


@pytest.mark.parametrize("damage", ["cut in the trailer", "cut in a member", "wrong checksum"])
def test_a_damaged_coding_is_an_error(kind: Kind, server: FaultServer, damage: str) -> None:
    """Behaviours T9."""
    coded = gzip.compress(BLOB.data)
    wrong = {
        "cut in the trailer": coded[:-4],
        "cut in a member": coded[:-100],
        "wrong checksum": coded[:-8] + b"\0" * 4 + coded[-4:],
    }[damage]
    server.script("GET", PATH, faults.labelled(wrong, "gzip"))
    outcome = _fetch(kind, server)
    assert outcome.code in (5, 7)
    assert outcome.data == b""


class TestT10TheProcess:
    """click exits 1 on a broken pipe, requests waits for ever, urllib3 sleeps for hours."""

    def test_a_reader_that_leaves_ends_it_by_sigpipe_without_a_word(self, tmp_path: Path) -> None:
        """Behaviours T10."""
        large = blob("pipe", 8 << 20)
        layout = write_layout(tmp_path / "layout", {"x": image()})
        write_blob(layout, large)
        command = shlex.join(dist_command("fetch", str(layout), str(large.digest)))
        done = subprocess.run(
            ["bash", "-c", f"{command} | head -c1 > /dev/null; exit ${{PIPESTATUS[0]}}"],
            env=dist_environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (141, b"")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    def test_a_signal_ends_it_by_that_signal_without_a_word(self, server: FaultServer, number: signal.Signals) -> None:
        """A loop of a shell stops on Ctrl-C only if its command is ended by the signal. Behaviours T10."""
        server.always("GET", manifest_path(REPOSITORY, "x"), faults.silent)
        process = subprocess.Popen(
            dist_command("fetch", f"{server.host}/{REPOSITORY}", "x"),
            env=dist_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while not server.log and process.poll() is None:
            assert not server.closing.wait(0.005)
        process.send_signal(number)
        assert process.communicate(timeout=30) == (b"", b"")
        assert process.returncode == -number

    def test_help_into_a_pipe_that_is_closed_ends_the_same(self) -> None:
        """Behaviours T10."""
        command = shlex.join(dist_command("--help"))
        done = subprocess.run(
            ["bash", "-c", f"{command} | exec true; exit ${{PIPESTATUS[0]}}"],
            env=dist_environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 141)
        assert done.stderr == b""

    def test_a_full_disk_behind_stdout_is_a_local_failure(self, tmp_path: Path) -> None:
        """Behaviours T10."""
        layout = write_layout(tmp_path / "layout", {"x": image()})
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                dist_command("fetch", str(layout), "x"),
                env=dist_environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        assert done.returncode == 9
        assert done.stderr.decode().count("\n") == 1
        assert b"No space left" in done.stderr

    def test_silence_ends_in_the_time_that_was_set(self, kind: Kind, server: FaultServer, tmp_path: Path) -> None:
        """Behaviours T10."""
        server.always("GET", kind.path("x"), faults.silent)
        config = tmp_path / "config.toml"
        config.write_text(
            f'[[remote]]\nprefix = "{server.host}"\nkind = "{kind.name}"\n'
            'timeout = { headers = "200ms" }\nretry = { attempts = 1 }\n'
        )
        result = run_dist(["fetch", kind.at(server), "x", "--config", str(config)])
        assert (result.code, result.stdout) == (6, b"")
        assert "no response within 0.2 s" in result.stderr

    def test_an_absurd_retry_after_fails_at_once(self, kind: Kind, server: FaultServer) -> None:
        """Behaviours T10."""
        server.script("GET", kind.path("x"), faults.too_many("86400"))
        result = run_dist(["fetch", kind.at(server), "x"])
        assert (result.code, result.stdout) == (7, b"")
        assert "86400" in result.stderr


def test_the_secrets_of_a_trap_are_in_no_message(kind: Kind, server: FaultServer) -> None:
    """What was found for the server is read, sent, refused, and shown to nobody."""
    server.always("GET", PATH, kind.lock(server, faults.status(403)))
    outcome = _fetch(kind, server)
    assert outcome.code == 4
    assert server.requests("GET", PATH)[-1].header("authorization")
    assert not [secret for secret in (PASSWORD, TOKEN) if secret in outcome.said]
