"""How many requests things cost (behaviours B55): counted by the registry itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import faults
from support.content import image, write_layout
from support.faults import TokenServer, blob_path, manifest_path
from support.repositories import fetch_to, resolve
from support.server import FaultServer

from dist_tool.names.hints import Hints, parse_hints
from dist_tool.names.locator import parse_locator
from dist_tool.remotes.table import open_remote
from dist_tool.service.http import AccessLogEntry, RegistryServer
from dist_tool.settings import Settings

IMAGE = image("budget")
MANIFEST, LAYER = IMAGE.manifest.digest, IMAGE.layers[0].digest
NAME = "team/app"
TOKEN = "GET /token 200"


class Counted:
    """A token-auth registry and a user whose processes share a token cache."""

    def __init__(self, server: RegistryServer, cache: Path) -> None:
        self._server = server
        self._settings = Settings(cache_dir=str(cache))
        self._entries: list[AccessLogEntry] = []
        server.observe = self._entries.append

    def take(self) -> list[str]:
        """The requests since the last look: METHOD, path below the repository, status."""
        lines = [
            f"{e.method} {e.path.partition('?')[0].removeprefix(f'/v2/{NAME}/')} {e.status}" for e in self._entries
        ]
        self._entries.clear()
        return lines

    def fetch(self, *objects: object, words: tuple[str, ...] = ()) -> list[str]:
        """Fetch with one remote, as one process does."""
        remote = open_remote(parse_locator(f"{self._server.address}/{NAME}"), self._settings)
        try:
            for object_id in objects:
                fetch_to(remote, str(object_id), lambda _: None, parse_hints(words))
        finally:
            remote.close()  # type: ignore[attr-defined]
        return self.take()

    def resolve(self, object_id: object) -> list[str]:
        remote = open_remote(parse_locator(f"{self._server.address}/{NAME}"), self._settings)
        try:
            resolve(remote, str(object_id), Hints())
        finally:
            remote.close()  # type: ignore[attr-defined]
        return self.take()


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    layout = write_layout(tmp_path / "img", {"latest": IMAGE})
    with RegistryServer(layout, name=NAME, token_auth=True) as server:
        yield Counted(server, tmp_path / "cache")


def test_cold_adds_the_refusal_and_the_token_and_nothing_else(counted: Counted) -> None:
    assert counted.fetch("latest") == ["GET manifests/latest 401", TOKEN, "GET manifests/latest 200"]


@pytest.mark.parametrize(
    ("object_id", "words", "expected"),
    [
        ("latest", (), ["GET manifests/latest 200"]),
        (LAYER, (), [f"GET blobs/{LAYER} 200"]),
        (LAYER, ("type:layer", "size:9999999"), None),
        (MANIFEST, (), [f"GET blobs/{MANIFEST} 200"]),
        (MANIFEST, ("type:manifest",), [f"GET manifests/{MANIFEST} 200"]),
    ],
    ids=["tag", "blob", "blob of another size", "manifest as a blob", "manifest with a hint"],
)
def test_warm_everything_is_one_request(
    counted: Counted, object_id: object, words: tuple[str, ...], expected: list[str] | None
) -> None:
    counted.fetch("latest")
    if expected is None:  # known to be wrong by the head of the first answer
        with pytest.raises(Exception, match="declares"):
            counted.fetch(object_id, words=words)
        assert counted.take() == [f"GET blobs/{object_id} 200"]
        return
    assert counted.fetch(object_id, words=words) == expected


def test_many_objects_of_one_process_cost_one_login_however_cold(counted: Counted) -> None:
    layers = [layer.digest for layer in IMAGE.layers]
    assert counted.fetch("latest", *layers, IMAGE.config.digest).count(TOKEN) == 1
    lines = counted.fetch("latest", *layers, IMAGE.config.digest)
    assert len(lines) == 2 + len(layers)
    assert TOKEN not in lines


def test_resolving_is_one_head(counted: Counted) -> None:
    assert counted.resolve("latest") == ["HEAD manifests/latest 401", TOKEN, "HEAD manifests/latest 200"]
    assert counted.resolve("latest") == ["HEAD manifests/latest 200"]


def test_where_manifests_are_no_blobs_a_digest_without_a_hint_is_two_requests(
    server: FaultServer, tmp_path: Path
) -> None:
    """As with docker-registry; the token is asked for once."""
    tokens = TokenServer(server.url("/token"), f"repository:{NAME}:pull")
    server.script("GET", "/token", tokens.issue)
    manifest = faults.content(IMAGE.manifest.data, IMAGE.manifest.media_type)
    server.always("GET", blob_path(NAME, MANIFEST), tokens.protect(faults.registry_error(404, "BLOB_UNKNOWN")))
    server.always("GET", manifest_path(NAME, MANIFEST), tokens.protect(manifest))
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    for words, cost in (([], 4), ([], 2), (["type:manifest"], 1)):
        before = len(server.log)
        remote = open_remote(parse_locator(f"{server.host}/{NAME}"), settings)
        fetch_to(remote, str(MANIFEST), lambda _: None, parse_hints(words))
        remote.close()  # type: ignore[attr-defined]
        assert len(server.log) - before == cost
    assert len(tokens.issued) == 1
    assert server.requests(path="/v2/") == []


def test_a_process_keeps_one_connection(server: FaultServer, tmp_path: Path) -> None:
    server.always("GET", manifest_path(NAME, "latest"), faults.content(IMAGE.manifest.data, IMAGE.manifest.media_type))
    for layer in IMAGE.layers:
        server.always("GET", blob_path(NAME, layer.digest), faults.content(layer.data))
    remote = open_remote(parse_locator(f"{server.host}/{NAME}"), Settings())
    for object_id in ("latest", *(layer.digest for layer in IMAGE.layers)):
        fetch_to(remote, str(object_id), lambda _: None)
    remote.close()  # type: ignore[attr-defined]
    assert server.connections == 1
