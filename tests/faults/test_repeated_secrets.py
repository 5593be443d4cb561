"""Places where a server can repeat a secret: the command line shows it in none of them (docs/security.md).

Each row is an answer to a client that has just logged in. `shown` rows are those that reach the user
without redaction, which a test of their own makes sure of.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support import faults
from support.config_files import write
from support.content import blob
from support.fetching import docker_config
from support.invoked import Invoke, invoke
from support.server import Exchange, FaultServer, OpenServer, Step, closed_port

from dist_tool import errors
from dist_tool.cli import _errors
from dist_tool.transport import download as objects

__all__ = ["invoke"]

REPOSITORY = "team/app"
MANIFEST = f"/v2/{REPOSITORY}/manifests/latest"
PLAIN = "kn0ckkn0ck-who"
ODD = "kn0ck&knöck/\"who<is\\there'"  # what JSON, Go, PHP, URLs and quoted strings escape
MARK = "kn0ck"
BLOB = blob("repeated", 100)
FETCH = ("fetch", "{host}/team/app", "latest")
RESOLVE = ("resolve", "{host}/team/app:latest", "--json")
UNPACK = ("unpack", "{host}/team/app:latest", "{tmp}/root")


class Row(NamedTuple):
    """`make` gives the answer that repeats the secret; `cdn` is another server, without a login."""

    make: Callable[[str, FaultServer], Step]
    secret: str = ODD
    words: tuple[str, ...] = FETCH
    shown: bool = True


def _text(value: object, code: int = 403) -> Step:
    return faults.status(code, body=value if isinstance(value, bytes) else str(value).encode())


def _document(secret: str, **fields: str) -> str:
    return json.dumps({"errors": [{"code": "ODD", "message": f"not {secret}", **fields}]})


def _body(change: Callable[[str], str | bytes]) -> Row:
    return Row(lambda secret, _: _text(change(_document(secret))))


def _header(name: str, form: str, code: int = 200, secret: str = ODD, **row: object) -> Row:
    def make(value: str, cdn: FaultServer) -> Step:
        text = form.format(
            secret=value, cdn=cdn.host, port=cdn.port, escaped=value.replace("\\", "\\\\").replace('"', '\\"')
        )
        headers = [("Content-Type", "application/json"), (name, text)]
        if name == "Content-Type":
            headers = headers[1:]
        return faults.Answer(code, b"{}", tuple(headers), ranges=False)

    return Row(make, secret, **row)  # type: ignore[arg-type]


def _manifest(words: tuple[str, ...] = UNPACK, *, shown: bool = True, **fields: object) -> Row:
    def make(secret: str, _: FaultServer) -> Step:
        text = json.dumps({"schemaVersion": 2, **fields}).replace("SECRET", json.dumps(secret)[1:-1])
        return faults.json_answer(json.loads(text))

    return Row(make, words=words, shown=shown)


def _tokens(answer: Callable[[str, FaultServer], Step], *, secret: str = ODD, shown: bool = True) -> Row:
    """The registry names a token server, which gets the password and then answers."""

    def make(value: str, cdn: FaultServer) -> Step:
        del cdn

        def step(exchange: Exchange) -> None:
            exchange.server.always("GET", "/token", answer(value, exchange.server))
            faults.challenge(exchange.server.url("/token"), f"repository:{REPOSITORY}:pull")(exchange)

        return step

    return Row(make, secret, shown=shown)


OCI = "application/vnd.oci.image.manifest.v1+json"
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": str(BLOB.digest), "size": 100}
ROWS = {
    "message": _body(lambda text: text),
    "message in UTF-8": Row(lambda s, _: _text(json.dumps({"message": s}, ensure_ascii=False))),
    "message by Go": _body(lambda text: text.replace("&", "\\u0026").replace("<", "\\u003c")),
    "message by PHP": _body(lambda text: text.replace("/", "\\/")),
    "message in UTF-16": _body(lambda text: text.encode("utf-16")),
    "message in big-endian UTF-16": _body(lambda text: text.encode("utf-16-be")),
    "message in UTF-32": _body(lambda text: text.encode("utf-32")),
    "message, escaped twice": Row(lambda s, _: _text(_document(json.dumps(json.dumps(s))))),
    "message as a URL": Row(lambda s, _: _text(_document("/x?p=" + s.replace("&", "%26").replace("<", "%3C")))),
    "message of HTML": Row(lambda s, _: _text(_document(s.replace("&", "&amp;").replace("<", "&lt;")))),
    "long message": Row(lambda s, _: _text(_document(" " * 285 + s))),
    "code": Row(lambda s, _: _text(json.dumps({"errors": [{"code": s}]}))),
    "details": Row(lambda s, _: _text(json.dumps({"details": s}))),
    "error": Row(lambda s, _: _text(json.dumps({"error": s}))),
    "HTML page": Row(lambda s, _: _text(f"<html>{s}"), shown=False),
    "Warning": _header("Warning", '299 - "{secret}"', secret=PLAIN),
    "Warning, escaped": _header("Warning", '299 - "{escaped}"'),
    "rate limit": _header("ratelimit-remaining", "{secret}"),
    "rate limit, the whole": Row(
        lambda s, _: faults.status(429, headers=[("ratelimit-remaining", "1"), ("ratelimit-limit", s)])
    ),
    "Content-Type": _header("Content-Type", "text/{secret}", words=RESOLVE, shown=False),
    "Content-Type with a hint": _header(
        "Content-Type", "text/{secret}", words=(*FETCH, f"mediatype:{OCI}"), shown=False
    ),
    "Content-Type to unpack": _header("Content-Type", "text/{secret}", words=UNPACK, shown=False),
    "Content-Encoding": _header("Content-Encoding", "{secret}"),
    "Location, host": _header("Location", "http://{secret}.test:{port}/x", 307, PLAIN),
    "Location, path": _header("Location", "http://{cdn}/{secret}", 307, PLAIN),
    "Location, odd path": _header("Location", "http://{cdn}/{secret}", 307),
    "Location, query": _header("Location", "http://{cdn}/x?{secret}=1", 307, PLAIN),
    "Location, scheme": _header("Location", "{secret}://x/", 307, PLAIN, shown=True),
    "Location, port": _header("Location", "http://x.test:{secret}/", 307, PLAIN, shown=True),
    "Location, user": _header("Location", "http://me:{secret}@{cdn}/x", 307, PLAIN, shown=False),
    "Location without redirect": _header("Location", "http://{secret}/", 403, shown=False),
    "Docker-Content-Digest": _header("Docker-Content-Digest", "sha256:{secret}", shown=False),
    "Content-Range": _header("Content-Range", "bytes {secret}", 206, shown=False),
    "Retry-After": _header("Retry-After", "{secret}", 503, shown=False),
    "reason phrase": Row(
        lambda s, _: lambda exchange: exchange.send(f"HTTP/1.1 403 {s}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")),
        shown=False,
    ),
    "scheme of a challenge": _header("WWW-Authenticate", "{secret}", 401, PLAIN),
    "realm, host": _header("WWW-Authenticate", 'Bearer realm="http://{secret}.test:{port}/token"', 401, PLAIN),
    "realm, path": _header("WWW-Authenticate", 'Bearer realm="http://{cdn}/{secret}"', 401, PLAIN),
    "realm, scheme": _header("WWW-Authenticate", 'Bearer realm="{secret}://x/"', 401, PLAIN),
    "realm, no URL": _header("WWW-Authenticate", 'Bearer realm="{escaped}"', 401),
    "realm, internal": _header("WWW-Authenticate", 'Bearer realm="http://me@x/{secret}"', 401, PLAIN),
    "scope": _tokens(lambda *_: faults.status(403))._replace(
        make=lambda s, _: (
            lambda exchange: (
                exchange.server.always("GET", "/token", faults.status(403)),
                faults.challenge(exchange.server.url("/token"), f"repository:{s}:pull")(exchange),
            )[1]
        ),
        secret=PLAIN,
        shown=True,
    ),
    "token server, message": _tokens(lambda s, _: faults.registry_error(401, "DENIED", s), shown=False),
    "token server, by Go": _tokens(
        lambda s, _: _text(_document(s).replace("&", "\\u0026").replace("<", "\\u003c"), 400), shown=False
    ),
    "token server, description": _tokens(
        lambda s, _: _text(json.dumps({"error": "x", "error_description": s.replace("&", "%26")}), 403)
    ),
    "token server, Content-Type": _tokens(
        lambda s, _: faults.status(200, body=b"<", headers=[("Content-Type", f"text/{s}")])
    ),
    "token server, redirect": _tokens(lambda s, _: faults.redirect(f"http://{s}.test:1/x"), secret=PLAIN),
    "mediaType": _manifest(mediaType="text/SECRET"),
    "mediaType to resolve": _manifest(RESOLVE, mediaType="text/SECRET"),
    "mediaType of a config": _manifest(
        shown=False,
        mediaType=OCI,
        config={**LAYER, "mediaType": "text/SECRET"},
        layers=[{**LAYER, "mediaType": "text/SECRET"}],
    ),
    "digest in a manifest": _manifest(mediaType=OCI, config={**LAYER, "digest": "SECRET"}, layers=[LAYER]),
    "size in a manifest": _manifest(mediaType=OCI, config={**LAYER, "size": "SECRET"}, layers=[LAYER]),
    "platform": _manifest(
        ("resolve", "{host}/team/app:latest", "--platform", "linux/amd64"),
        mediaType="application/vnd.oci.image.index.v1+json",
        manifests=[{**LAYER, "mediaType": OCI, "platform": {"os": "linux", "architecture": "SECRET"}}],
    ),
}


class World:
    """A registry that asks for a password, or takes it to the token server, and a user who has one."""

    def __init__(self, server: FaultServer, cdn: FaultServer, isolation: Path, tmp: Path) -> None:
        self.server, self.cdn, self.home, self.tmp = server, cdn, isolation, tmp

    def log_in(self, secret: str) -> None:
        write(self.home / ".docker/config.json", docker_config({self.server.host: f"me:{secret}"}))
        write(
            self.home / ".config/dist/config.toml",
            f'[[remote]]\nprefix = "{self.server.host}"\nretry = {{ attempts = 1 }}\n'
            'header = { x-tenant = "kn0ck-tenant" }\n',
        )

    def serve(self, step: Step) -> None:
        """`step` for a client that has logged in; whatever else is asked for is not there."""

        def locked(exchange: Exchange) -> None:
            known = exchange.request.header("authorization")
            (step if known else faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')]))(exchange)

        self.server._take = lambda request: self._step(request.path, locked)  # type: ignore[method-assign]
        self.cdn._take = lambda _: faults.status(404)  # type: ignore[method-assign]

    def _step(self, path: str, locked: Step) -> Step:
        return locked if path == MANIFEST else self.server._always.get(("GET", path), faults.status(404))

    def words(self, words: tuple[str, ...]) -> list[str]:
        return [word.format(host=self.server.host, tmp=self.tmp) for word in words]


@pytest.fixture
def world(servers: OpenServer, isolation: Path, tmp_path: Path) -> World:
    return World(servers(), servers(), isolation, tmp_path)


def _said(world: World, row: Row, invoke: Invoke) -> str:
    world.log_in(row.secret)
    world.serve(row.make(row.secret, world.cdn))
    said = ""
    for form in ("text", "json"):
        done = invoke(*world.words(row.words), "-v", "--debug", "--error-format", form)
        assert done.stderr
        said += done.stdout.decode("utf-8", "replace") + done.stderr
    return said.lower()


@pytest.mark.parametrize("name", ROWS)
def test_no_repeated_password_is_shown(name: str, world: World, invoke: Invoke) -> None:
    assert MARK not in _said(world, ROWS[name], invoke)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.shown])
def test_without_redaction_the_password_would_be_shown(
    name: str, world: World, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (errors, _errors, objects):
        monkeypatch.setattr(module, "hide", lambda text, **_: text)
    assert MARK in _said(world, ROWS[name], invoke)


@pytest.mark.parametrize("secret", ["docker", "json", "distribution"])
def test_a_password_that_is_a_part_of_a_media_type_does_not_break_it(secret: str, world: World, invoke: Invoke) -> None:
    known = "application/vnd.docker.distribution.manifest.v2+json"
    world.log_in(secret)
    world.serve(faults.content(b'{"schemaVersion": 2, "config": {}, "layers": []}', known))
    done = invoke(*world.words(RESOLVE))
    assert json.loads(done.stdout)["mediaType"] == known


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("what", ["header", "basic", "token"])
def test_no_other_secret_of_a_request_is_shown(what: str, form: str, world: World, invoke: Invoke) -> None:
    world.log_in(PLAIN)
    basic = b64encode(f"me:{PLAIN}".encode()).decode()
    secret = {"header": "kn0ck-tenant", "basic": basic, "token": "kn0ck-token-1"}[what]
    refusal = faults.registry_error(403, "ODD", f"not {secret}, friend").with_header("ratelimit-remaining", secret)
    if what == "token":
        tokens = faults.TokenServer(world.server.url("/token"), f"repository:{REPOSITORY}:pull", prefix="kn0ck-token")
        world.server.always("GET", "/token", tokens.issue)
        refusal_if_known = tokens.protect(refusal)
        world.serve(refusal)
        world.server._take = lambda request: world._step(request.path, refusal_if_known)  # type: ignore[method-assign]
    else:
        world.serve(refusal)
    done = invoke(*world.words(FETCH), "-v", "--debug", "--error-format", form)
    assert done.code == 4
    assert "not ***, friend" in done.stderr
    assert secret not in done.stderr


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{closed}/x?X-Amz-Signature=kn0ckkn0ck",
        "http://127.0.0.1:{closed}/kn0ckkn0ck-eyJhbGciOiJIUzI1NiJ9/x",
        "http://127.0.0.1:{closed}/x;sig=kn0ckkn0ck/y",
        "http://nowhere.invalid/x?X-Amz-Signature=kn0ckkn0ck",
        "http://{cdn}/x?X-Amz-Signature=kn0ckkn0ck",
        "http://{cdn}/x;sig=kn0ckkn0ck",
        "http://{cdn}/eyJhbGciOiJIUzI1NiJ9-kn0ckkn0ck/x",
    ],
)
def test_a_signed_url_is_not_shown_by_a_traceback_or_its_server(
    target: str, form: str, world: World, invoke: Invoke
) -> None:
    url = target.format(closed=closed_port(), cdn=world.cdn.host)
    world.log_in(PLAIN)
    world.serve(faults.redirect(url))
    world.cdn._take = lambda request: faults.registry_error(403, "ODD", f"no {request.target}")  # type: ignore[method-assign]
    done = invoke(*world.words(FETCH), "-v", "--debug", "--error-format", form)
    assert done.code in (4, 6)
    assert "Traceback (most recent call last)" in done.stderr
    assert MARK not in done.stderr.lower()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_login_that_is_refused_does_not_show_the_password(
    form: str, world: World, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    world.server._take = lambda request: (  # type: ignore[method-assign]
        faults.registry_error(403, "ODD", f"not {ODD}")
        if request.header("authorization")
        else faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ODD.encode())))
    done = invoke("login", world.server.host, "-u", "me", "--password-stdin", "-v", "--debug", "--error-format", form)
    assert (done.code, MARK in done.stderr) == (4, False)
