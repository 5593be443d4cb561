"""`dist resolve` of a digest asks by HEAD: its answers have no body that would explain them, and may lie about it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from support import catalogue, faults
from support.content import blob
from support.faults import blob_path, content, manifest_path, redirect
from support.fetching import SHORT
from support.kinds import REPOSITORY, Kind
from support.repositories import opened as open_remote
from support.repositories import resolve
from support.routes import route
from support.server import FaultServer, Step

from dist_tool.errors import DistError
from dist_tool.names.hints import Hints
from dist_tool.names.locator import parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import Run
from dist_tool.settings import Settings
from dist_tool.stream.retry import Retry

BLOB = blob("head", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
MANIFEST = manifest_path(REPOSITORY, BLOB.digest)
FAULTS = catalogue.failing(BLOB.data, "")


@dataclass(slots=True)
class Looked:
    """What a look at a digest came to."""

    desc: Descriptor | None = None
    error: DistError | None = None
    waits: list[float] = field(default_factory=list)

    @property
    def code(self) -> int:
        return self.error.exit_code if self.error else 0


def look(kind: Kind, server: FaultServer, attempts: int = 2) -> Looked:
    looked = Looked()
    parsed = parse_locator(kind.at(server))
    run = Run(pause=looked.waits.append, random=lambda: 0.0)
    table = route(server.host, kind=parsed.kind, retry=Retry(attempts=attempts), timeout=SHORT)
    try:
        with open_remote(parsed, Settings(routes=(table,)), run) as remote:
            looked.desc = resolve(remote, str(BLOB.digest), Hints())
    except DistError as error:
        looked.error = error
    return looked


def serve(server: FaultServer, *, head: Step, get: Step | None = None) -> None:
    """The blob, and no manifest of that digest, which is where a registry is asked first; and no tokens."""
    server.always("GET", "/v2/", faults.status(200))
    for method in ("HEAD", "GET"):
        server.always(method, MANIFEST, faults.status(404))
    server.always("HEAD", PATH, head)
    server.always("GET", PATH, get or faults.status(404))


def methods(server: FaultServer) -> list[str]:
    return [request.method for request in server.log if request.path.endswith(PATH)]


# Faults of a connection, of a header or of a status: those of a body cannot occur in the answer to a HEAD.
WITHOUT_BODY = [
    *("no HTTP", "a reset", "no answer", "silence", "silence in the headers", "slow headers"),
    *("100 Continue for ever", "an endless header", "endless headers"),
    *(name for name in FAULTS if name.startswith(("status ", "a redirect "))),
    *("DENIED", "BLOB_UNKNOWN", "429 for a day", "a scheme that is not known", "a challenge that is none"),
]


@pytest.mark.parametrize("name", WITHOUT_BODY)
def test_a_fault_without_a_body_ends_a_head_with_the_exit_code_of_a_get(
    kind: Kind, server: FaultServer, name: str
) -> None:
    fault = catalogue.failing(BLOB.data, server.host)[name]
    serve(server, head=fault.step, get=fault.step)
    looked = look(kind, server, fault.attempts)
    assert (looked.desc, looked.code in fault.codes) == (None, True), looked
    assert str(looked.error).isprintable()


@pytest.mark.parametrize("code", [400, 403, 405, 501])
def test_who_allows_no_head_is_asked_by_get(kind: Kind, server: FaultServer, code: int) -> None:
    serve(server, head=faults.status(code), get=content(BLOB.data))
    looked = look(kind, server)
    assert looked.error is None
    assert looked.desc == Descriptor(BLOB.digest, 5000, looked.desc.media_type if looked.desc else "")
    assert methods(server) == ["HEAD", "GET"]


@pytest.mark.parametrize(("code", "exit_code"), [(401, 4), (404, 3), (410, 3), (500, 7), (503, 7)])
def test_what_get_would_not_explain_is_not_asked_again(
    kind: Kind, server: FaultServer, code: int, exit_code: int
) -> None:
    serve(server, head=faults.status(code), get=content(BLOB.data))
    assert look(kind, server).code == exit_code
    assert set(methods(server)) == {"HEAD"}


def test_the_reason_of_a_denial_is_that_of_the_get(kind: Kind, server: FaultServer) -> None:
    why = faults.s3_error if kind.name == "s3" else faults.registry_error
    code = "AccessDenied" if kind.name == "s3" else "DENIED"
    serve(server, head=faults.status(403), get=why(403, code, "not before noon"))
    looked = look(kind, server)
    assert looked.code == 4
    assert "not before noon" in str(looked.error)


def test_a_busy_server_is_asked_again(kind: Kind, server: FaultServer) -> None:
    serve(server, head=content(BLOB.data))
    server.script("HEAD", PATH, faults.status(503))
    looked = look(kind, server)
    assert (looked.code, len(looked.waits)) == (0, 1)


def test_a_redirect_is_followed_by_head(kind: Kind, server: FaultServer) -> None:
    serve(server, head=redirect("/blob"))
    server.script("HEAD", "/blob", content(BLOB.data))
    looked = look(kind, server)
    assert looked.desc is not None
    assert looked.desc.size == 5000


def test_a_body_where_none_may_be_does_not_spoil_what_follows(kind: Kind, server: FaultServer) -> None:
    """Its bytes are left in the connection, and come before the next answer if nobody notices."""
    page = b"<html>forbidden</html>\n" * 400

    def step(exchange: faults.Exchange) -> None:
        exchange.head("403 Forbidden", [("Content-Length", str(len(page)))])
        exchange.body(page)

    serve(server, head=step, get=content(BLOB.data))
    looked = look(kind, server)
    assert looked.error is None
    assert looked.desc is not None
    assert looked.desc.size == 5000
