"""Sessions: what operations share, and how often they ask."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import IO

import pytest
from support.content import image, index, write_layout
from support.fake_remotes import FakeNameRemote
from support.repositories import cached, over

import dist_tool
from dist_tool.errors import AlreadyExists, NotFound, PolicyRefused, Truncated, Unsupported
from dist_tool.images.image import open_image
from dist_tool.images.select import select_image
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.platform import Platform
from dist_tool.remotes.function import FunctionRemote
from dist_tool.run import Event, Run, Shared
from dist_tool.session import Session
from dist_tool.settings import Policy, Settings
from dist_tool.store.memory import MemoryStore
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Retry
from dist_tool.transfer.opening import FetchOptions
from dist_tool.transfer.repository import Repository, Rules

IMAGE = image("session", platform=Platform("linux", "amd64"))
TWO = index(image("a", platform=Platform("linux", "arm64")), image("b", platform=Platform("linux", "amd64")))
AMD64 = Platform("linux", "amd64")


class Counting:
    """A remote of images by tag `v1`; `requests` counts what was asked for."""

    def __init__(self, *blobs: object, tag: object) -> None:
        self._blobs = {blob.digest: blob for blob in blobs}  # type: ignore[attr-defined]
        self._tag = tag
        self.requests: Counter[str] = Counter()

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        if object_id != "v1":
            return Descriptor(Digest.parse(object_id), hints.size)
        self.requests["v1"] += 1
        blob = self._tag
        return Descriptor(blob.digest, len(blob.data), blob.media_type, data=blob.data)  # type: ignore[attr-defined]

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        self.requests[str(desc.digest)] += 1
        blob = self._blobs[desc.digest]
        return Body(io.BytesIO(blob.data[offset:]), offset=offset, media_type=blob.media_type)  # type: ignore[attr-defined]


def counting(root: object) -> Counting:
    return Counting(*root.blobs(), tag=root.root)  # type: ignore[attr-defined]


def test_an_image_costs_one_request_for_its_manifest_and_one_for_its_config() -> None:
    remote = counting(IMAGE)
    assert open_image(over(remote), "v1", AMD64).desc.digest == IMAGE.manifest.digest
    assert remote.requests == {"v1": 1, str(IMAGE.config.digest): 1}


def test_an_image_of_an_index_costs_one_request_for_each_document() -> None:
    remote = counting(TWO)
    opened = open_image(over(remote), "v1", AMD64)
    assert set(remote.requests.values()) == {1}
    assert len(remote.requests) == 3  # index, manifest, config
    assert opened.config.platform == AMD64


def test_resolving_for_a_platform_does_not_read_the_chosen_manifest() -> None:
    remote = counting(TWO)
    select_image(over(remote), "v1", AMD64)
    assert remote.requests == {"v1": 1}


def test_a_tag_that_is_stored_reports_one_end() -> None:
    events: list[Event] = []
    store = MemoryStore()
    repository = cached(counting(IMAGE), store, FetchOptions(run=Run(progress=events.append)))
    repository.fetch_to("v1", lambda _: None)
    assert [event.state for event in events if event.state in ("done", "exists", "failed")] == ["done"]
    assert store.resolve("v1", Hints()).digest == IMAGE.manifest.digest


@pytest.mark.parametrize("policy", [Policy(), Policy(max_manifest=1 << 20), Policy(algorithms=("sha256", "sha512"))])
def test_a_plain_function_is_called_once_for_a_name_whatever_the_policy(policy: Policy) -> None:
    calls: list[str] = []

    class Cut(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError("cut")

    def function(object_id: str, hints: Hints) -> IO[bytes]:
        calls.append(object_id)
        return Cut()

    rules = Rules(settings=Settings(policy=policy))
    run = Run(pause=lambda _: None)
    repository = Repository(FunctionRemote(function), rules, FetchOptions(Retry(), run=run))
    with pytest.raises(Truncated):
        repository.fetch_to("name", lambda _: None)
    assert calls == ["name"]


def test_a_repository_has_no_power_that_its_remote_lacks() -> None:
    repository = Repository(counting(IMAGE))
    with pytest.raises(Unsupported, match="does not list tags"):
        repository.tags()
    with pytest.raises(Unsupported, match="does not list referrers"):
        repository.referrers(IMAGE.manifest.digest)
    assert list(Repository(FakeNameRemote(b"x")).tags()) == ["v1"]


def test_policy_holds_for_every_request_of_a_repository() -> None:
    remote = counting(IMAGE)
    repository = Repository(remote, Rules(settings=Settings(policy=Policy(algorithms=("sha512",)))))
    with pytest.raises(PolicyRefused):
        repository.resolve("v1")
    with pytest.raises(PolicyRefused):
        repository.fetch_known(Descriptor(IMAGE.config.digest), lambda _: None)
    assert remote.requests == {"v1": 1}


def test_shared_objects_are_made_once_for_equal_keys_and_closed_once() -> None:
    closed: list[str] = []

    class Connection:
        def close(self) -> None:
            closed.append("connection")

    shared = Shared()
    first = shared.once(("client", Settings()), Connection)
    assert shared.once(("client", Settings()), Connection) is first
    assert shared.once(("client", Settings(lenient=True)), Connection) is not first
    shared.close()
    shared.close()
    assert closed == ["connection"] * 2


def test_two_repositories_of_a_host_share_one_client() -> None:
    with Session(Settings()) as session:
        one, other = (session.repository(f"registry.test/{name}") for name in ("a", "b"))
        clients = {id(repository.parts[0]._endpoint._site._client) for repository in (one, other)}  # type: ignore[attr-defined]
        assert len(clients) == 1


def test_a_session_takes_text_paths_and_locators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layout(tmp_path / "img", {"v1": IMAGE})
    monkeypatch.chdir(tmp_path)
    with dist_tool.open_session(Settings()) as session:
        for locator in ("./img", Path("img"), session.settings.locator("./img")):
            assert session.repository(locator).resolve("v1").digest == IMAGE.manifest.digest
        with session.open(Path("img"), "v1") as body:
            assert json.loads(body.read())["config"]["digest"] == str(IMAGE.config.digest)
        assert list(session.tags("./img")) == ["v1"]


def test_errors_of_a_session_name_the_locator(tmp_path: Path) -> None:
    write_layout(tmp_path / "img", {"v1": IMAGE})
    with dist_tool.open_session(Settings()) as session, pytest.raises(NotFound) as caught:
        session.repository(tmp_path / "img").fetch_to("v2", lambda _: None)
    assert caught.value.locator == str(tmp_path / "img")


def test_a_session_with_a_store_reads_it_without_a_second_request(tmp_path: Path) -> None:
    write_layout(tmp_path / "img", {"v1": IMAGE})
    settings = Settings(store_path=str(tmp_path / "store"))
    with dist_tool.open_session(settings, store=True) as session:
        session.fetch(tmp_path / "img", str(IMAGE.manifest.digest), lambda _: None)
        assert session.store.size(IMAGE.manifest.digest) == len(IMAGE.manifest.data)
        with pytest.raises(AlreadyExists):
            session.store.writer("again", Descriptor(IMAGE.manifest.digest, len(IMAGE.manifest.data)))
