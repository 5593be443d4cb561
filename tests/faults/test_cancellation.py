"""Cancelling an operation that waits, from another thread: it ends within a second and leaves nothing running."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import faults
from support.content import Blob, image, random_bytes
from support.faults import content, status
from support.kinds import REGISTRY, REPOSITORY
from support.processes import Authority
from support.programs import install
from support.repositories import cached, fetch_to, over
from support.repositories import opened as open_remote
from support.server import FaultServer, OpenServer, Step

from dist_tool.auth.credential_helper import HelperRequest, ask
from dist_tool.auth.token_cache import AccessToken, TokenCache, TokenKey
from dist_tool.errors import Cancelled
from dist_tool.images.image import open_image
from dist_tool.images.layer_fetcher import LayerFetcher
from dist_tool.images.unpack import UnpackOptions, unpack
from dist_tool.names.locator import parse_locator
from dist_tool.oci.platform import Platform
from dist_tool.run import Run
from dist_tool.settings import Endpoint, Route, Settings, Tls
from dist_tool.store import open_store
from dist_tool.store.ingest import ref_for
from dist_tool.transfer.opening import FetchOptions

BLOB = Blob(random_bytes("cancellation", 100_000))
PATH = faults.blob_path(REPOSITORY, BLOB.digest)
STOPPED = faults.cut(BLOB.data, 50_000, ending="hang")
SOON_S = 1.0


def soon(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    due = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > due:
            return False
        time.sleep(0.01)
    return True


def assert_cancelled(run: Run, work: Callable[[], object], *, begun: Callable[[], object] = lambda: True) -> None:
    """Cancel `run` from another thread while `work` waits, 0.1 s after `begun`."""
    asked: list[float] = []

    def cancel() -> None:
        soon(begun)
        time.sleep(0.1)
        asked.append(time.monotonic())
        run.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with pytest.raises(Cancelled):
            work()
        ended = time.monotonic()
    finally:
        canceller.join()
    assert begun()
    assert ended >= asked[0]
    assert ended - asked[0] < SOON_S


_before: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def threads_of_earlier_tests() -> None:
    """Some tests leave daemon threads that wait for input."""
    _before.clear()
    _before.update(threading.enumerate())


def our_threads() -> list[str]:
    """The names of our threads that this test started."""
    return [
        thread.name for thread in threading.enumerate() if thread.name.startswith("dist-") and thread not in _before
    ]


def settings_for(place: str, *mirrors: Endpoint, environ: dict[str, str] | None = None, **own: object) -> Settings:
    locator = parse_locator(place)
    endpoint = Endpoint(kind=locator.kind, **own)  # type: ignore[arg-type]
    return Settings(routes=(Route(locator.host, (*mirrors, endpoint)),), environ=environ or {})


def fetch(place: str, run: Run, settings: Settings | None = None) -> bytes:
    out = bytearray()
    with open_remote(place, settings or settings_for(place), run) as remote:
        fetch_to(remote, str(BLOB.digest), out.extend, options=FetchOptions(run=run))
    return bytes(out)


# Connecting


def test_connecting_ends(full_backlog: tuple[str, int]) -> None:
    run = Run()
    assert_cancelled(run, lambda: fetch(REGISTRY.at(None, "{}:{}".format(*full_backlog)), run))


def test_a_name_lookup_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ended = threading.Event(), threading.Event()

    def look_up(*_: object) -> list[object]:
        asked.set()
        ended.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    run = Run()
    try:
        assert_cancelled(run, lambda: fetch(REGISTRY.at(None, "slow.test"), run), begun=asked.is_set)
    finally:
        ended.set()
    assert soon(lambda: not our_threads())


def test_a_tls_handshake_ends() -> None:
    run = Run()
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections are made, and nothing takes them
        place = REGISTRY.at(None, f"127.0.0.1:{listener.getsockname()[1]}")
        settings = settings_for(place, plain_http=False, tls=Tls(skip_verify=True))
        assert_cancelled(run, lambda: fetch(place, run, settings))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(5)
            while accepted.recv(4096):  # the client's hello, then the end: the connection is closed
                pass


# Waiting for a response and its body


@pytest.mark.parametrize(
    "step", [faults.silent, faults.silent_in_headers, STOPPED], ids=["no response", "half a header", "half a body"]
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_reading_a_response_ends_and_its_connection_is_closed(
    servers: OpenServer, authority: Authority, step: Step, tls: bool
) -> None:
    server = servers(tls=authority.server_context()) if tls else servers()
    server.script("GET", PATH, step)
    place, run = REGISTRY.at(server), Run()
    settings = settings_for(place, plain_http=not tls, tls=Tls(ca=(authority.ca,)))
    assert_cancelled(run, lambda: fetch(place, run, settings), begun=server.requests)
    assert soon(lambda: not server.open_connections)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_wait_that_is_longer_than_a_slice_goes_on(servers: OpenServer, authority: Authority, tls: bool) -> None:
    """A pause in the middle of the body is longer than one blocking call, and no failure."""
    server = servers(tls=authority.server_context()) if tls else servers()
    place = REGISTRY.at(server)

    def paused(exchange: object) -> None:
        answer = content(BLOB.data)
        exchange.head("200 OK", [("Content-Length", len(answer.body))])  # type: ignore[attr-defined]
        for piece in (answer.body[:1000], answer.body[1000:]):
            exchange.wait(0.6)  # type: ignore[attr-defined]
            exchange.body(piece)  # type: ignore[attr-defined]

    server.script("GET", PATH, paused)
    settings = settings_for(place, plain_http=not tls, tls=Tls(ca=(authority.ca,)))
    assert fetch(place, Run(), settings) == BLOB.data


def test_a_wait_before_another_attempt_ends(server: FaultServer) -> None:
    server.script("GET", PATH, status(503, headers=[("Retry-After", "30")]))
    run = Run()
    assert_cancelled(run, lambda: fetch(REGISTRY.at(server), run), begun=server.requests)


def test_a_cancelled_run_sends_nothing(server: FaultServer) -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Cancelled):
        fetch(REGISTRY.at(server), run)
    assert server.requests() == []


def test_no_other_mirror_is_asked_after_a_cancellation(servers: OpenServer) -> None:
    first, last = servers(), servers()
    first.script("GET", PATH, faults.silent)
    place, run = REGISTRY.at(last), Run()
    settings = settings_for(place, Endpoint(location=first.host, plain_http=True), plain_http=True)
    assert_cancelled(run, lambda: fetch(place, run, settings), begun=first.requests)
    assert last.requests() == []


# The store


def test_a_wait_for_another_writer_ends(server: FaultServer, tmp_path: Path) -> None:
    store, run = open_store(str(tmp_path / "store")), Run()
    place = REGISTRY.at(server)
    with open_remote(place, settings_for(place), run) as remote, store.writer(ref_for(BLOB.digest), BLOB.descriptor):
        assert_cancelled(run, lambda: cached(remote, store, FetchOptions(run=run)).ensure_stored(BLOB.descriptor))


def test_a_cancelled_ingest_is_resumed_where_it_ended(server: FaultServer, tmp_path: Path) -> None:
    server.script("GET", PATH, STOPPED, content(BLOB.data))
    store, place = open_store(str(tmp_path / "store")), REGISTRY.at(server)

    def ingest(run: Run) -> None:
        with open_remote(place, settings_for(place), run) as remote:
            cached(remote, store, FetchOptions(run=run)).ensure_stored(BLOB.descriptor)

    run = Run()
    assert_cancelled(run, lambda: ingest(run), begun=lambda: server.body_bytes)
    assert [found.active for found in store.statuses()] == [False]
    ingest(Run())
    assert server.log[-1].header("range") == "bytes=50000-"
    assert store.read(BLOB.descriptor, len(BLOB.data)) == BLOB.data


# Threads and programs


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_unpacking_ends_with_its_threads_and_leaves_no_tree(server: FaultServer, tmp_path: Path, ahead: int) -> None:
    layers = [{f"f{number}": random_bytes(number, 50_000)} for number in range(4)]
    sample, run = image(layers=layers), Run()
    server.always("GET", faults.manifest_path(REPOSITORY, sample.manifest.digest), content(sample.manifest.data))
    server.always("GET", faults.blob_path(REPOSITORY, sample.config.digest), content(sample.config.data))
    server.always("GET", faults.blob_path(REPOSITORY, sample.layers[0].digest), content(sample.layers[0].data))
    for layer in sample.layers[1:]:
        server.always("GET", faults.blob_path(REPOSITORY, layer.digest), faults.cut(layer.data, 20_000, ending="hang"))
    here, options = tmp_path / "here", FetchOptions(run=run)
    here.mkdir()
    place = REGISTRY.at(server)

    def work() -> None:
        with open_remote(place, settings_for(place), run) as remote:
            found = open_image(over(remote, options), str(sample.manifest.digest), Platform("linux", "amd64"))
            unpack(found, LayerFetcher(over(remote, options)), str(here / "target"), UnpackOptions(ahead=ahead), run)

    assert_cancelled(run, work, begun=lambda: len(server.requests()) >= 4)
    assert os.listdir(here) == []
    assert soon(lambda: not our_threads())
    assert soon(lambda: not server.open_connections)


@pytest.mark.parametrize("body", ["sleep 60", "exec >&- 2>&-; sleep 60"], ids=["silent", "closed output"])
def test_a_credential_helper_is_ended(tmp_path: Path, body: str) -> None:
    environ = _program(tmp_path, "docker-credential-test", f"echo $$ > {tmp_path}/pid\n{body}\n")
    run, question = Run(), HelperRequest("test", "registry.test", "config.json")
    begun = (tmp_path / "pid").exists
    assert_cancelled(run, lambda: ask(question, environ, run), begun=begun)
    assert soon(lambda: _is_gone(tmp_path / "pid"))


def test_a_wait_for_a_helper_that_another_thread_runs_ends(tmp_path: Path) -> None:
    program = f"touch {tmp_path}/began; while [ ! -e {tmp_path}/end ]; do sleep 0.05; done; echo '{{}}'\n"
    environ, run = _program(tmp_path, "docker-credential-test", program), Run()
    question, own = HelperRequest("test", "other.test", "config.json"), Run()
    holder = threading.Thread(target=lambda: _ignored(lambda: ask(question, environ, own)))
    holder.start()
    try:
        assert_cancelled(run, lambda: ask(question, environ, run), begun=(tmp_path / "began").exists)
    finally:
        (tmp_path / "end").touch()
        own.cancel()
        holder.join()


@pytest.mark.parametrize("shared", ["thread", "process"])
def test_a_wait_for_a_token_that_another_fetches_ends(tmp_path: Path, shared: str) -> None:
    key, began, done, run = (
        TokenKey("https://r.test", "r.test", ("a",), b"", b""),
        threading.Event(),
        threading.Event(),
        Run(),
    )
    cache = TokenCache(str(tmp_path), run=run)
    holder_cache = cache if shared == "thread" else TokenCache(str(tmp_path))

    def slow() -> AccessToken:
        began.set()
        done.wait(30)
        return AccessToken("t", time.time() + 300, "", "", ())

    holder = threading.Thread(target=lambda: _ignored(lambda: holder_cache.obtain(key, lambda _: True, slow)))
    holder.start()
    try:
        assert began.wait(5)
        assert_cancelled(run, lambda: cache.obtain(key, lambda _: True, slow))
    finally:
        done.set()
        holder.join()


@pytest.mark.parametrize(
    "answer", ["sleep 60", 'echo "ok 0 100"; echo "data 100"; echo begun; sleep 60'], ids=["no answer", "half a frame"]
)
def test_a_program_remote_is_ended(tmp_path: Path, answer: str) -> None:
    source = f"""
echo $$ > {tmp_path}/pid
while read -r word rest; do
    if [ "$word" = hello ]; then echo "ok 1 name"; continue; fi
    touch {tmp_path}/asked
    {answer}
done
"""
    environ, run = install(tmp_path / "bin", "odd", source, interpreter="/bin/sh"), Run()
    settings = Settings(environ=environ)
    assert_cancelled(run, lambda: fetch("odd::x", run, settings), begun=(tmp_path / "asked").exists)
    assert _is_gone(tmp_path / "pid")


def _ignored(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        return


def _program(directory: Path, name: str, text: str) -> dict[str, str]:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{text}")
    program.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(directory)}


def _is_gone(pid_file: Path) -> bool:
    try:
        stat = Path(f"/proc/{int(pid_file.read_text())}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_copies_of_a_run_are_cancelled_together(server: FaultServer) -> None:
    server.script("GET", PATH, faults.silent)
    run = Run()
    copy = replace(run, deadline=time.monotonic() + 100)
    assert_cancelled(run, lambda: fetch(REGISTRY.at(server), copy), begun=server.requests)
