"""The adapter for the remotes of plugins."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

import pytest

from dist_tool.api import (
    Closable,
    Cut,
    Listable,
    NamedFetcher,
    NamedResumer,
    PathFetcher,
    Referring,
    Remote,
)
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.plugin import PluginRemote
from dist_tool.stream.body import Body
from dist_tool.transfer.sources import Mirrored

DESC = Descriptor(Digest.of(b"content"), 7)
OWN = Body(io.BytesIO(b"tent"), offset=3, source="own")
POWERS = (NamedFetcher, NamedResumer, PathFetcher, Listable, Referring, Closable)


class Plain:
    """A plugin with the two mandatory methods."""

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        return DESC

    def open(self, desc: Descriptor, offset: int = 0) -> Any:
        return io.BytesIO(b"content"[offset:])


class Able(Plain):
    """A plugin with every method of the protocols."""

    def __init__(self) -> None:
        self.closed = 0

    def open_name(self, object_id: str, hints: Hints) -> Any:
        return io.BytesIO(b"name")

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Any:
        return io.BytesIO(b"name"[cut.offset :])

    def open_path(self, path: str, desc: Descriptor | None = None, offset: int = 0) -> Any:
        return io.BytesIO(b"path"[offset:])

    def tags(self) -> Iterator[str]:
        return iter(["v1"])

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Any]:
        return iter([(subject, artifact_type)])

    def close(self) -> None:
        self.closed += 1

    def search(self, desc: Descriptor) -> None:
        return None

    def first(self, ask: object) -> None:
        return None


class Whole(Plain):
    """A plugin that returns a `Body`."""

    def open(self, desc: Descriptor, offset: int = 0) -> Any:
        return OWN


METHODS = [name for name in vars(Able) if not name.startswith("_")]


def plugin(*names: str) -> Any:
    """A plugin with these optional methods."""
    return type("Plugin", (Plain,), {name: vars(Able)[name] for name in names})()


def subsets() -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(METHODS, count) for count in range(len(METHODS) + 1))


def read(body: Body) -> bytes:
    view = memoryview(bytearray(100))
    return bytes(view[: body.readinto(view)])


def test_isinstance_gives_the_same_answer_for_the_adapter_as_for_the_plugin() -> None:
    for names in subsets():
        original = plugin(*names)
        adapter = PluginRemote(original, "shelf::x")
        assert isinstance(adapter, Remote)
        for power in POWERS:
            assert isinstance(adapter, power) == isinstance(original, power), (names, power)
        assert not isinstance(adapter, Mirrored)


@pytest.mark.parametrize(
    ("opened", "content", "offset"),
    [
        (lambda remote: remote.open(DESC, 3), b"tent", 3),
        (lambda remote: remote.open_name("n", Hints()), b"name", 0),
        (lambda remote: remote.reopen_name("n", Hints(), Cut(2, "")), b"me", 2),
        (lambda remote: remote.open_path("p", DESC, 1), b"ath", 1),
        (lambda remote: remote.open_path("p"), b"path", 0),
    ],
    ids=["open", "open_name", "reopen_name", "open_path", "open_path from 0"],
)
def test_plain_files_become_bodies_that_begin_where_they_were_asked_to(
    opened: Any, content: bytes, offset: int
) -> None:
    body = opened(PluginRemote(Able(), "shelf::x"))
    assert isinstance(body, Body)
    assert (body.offset, body.source, body.total) == (offset, "shelf::x", None)
    assert read(body) == content


def test_bodies_pass_through_unchanged() -> None:
    assert PluginRemote(Whole(), "shelf::x").open(DESC, 5) is OWN


def test_other_methods_are_those_of_the_plugin() -> None:
    original = Able()
    adapter: Any = PluginRemote(original, "shelf::x")
    assert adapter.resolve("v1", Hints()) is DESC
    assert list(adapter.tags()) == ["v1"]
    assert list(adapter.referrers(DESC.digest, "a/b")) == [(DESC.digest, "a/b")]
    adapter.close()
    assert original.closed == 1


def test_the_adapter_is_no_reference_cycle() -> None:
    gc.disable()
    try:
        adapter = PluginRemote(Able(), "shelf::x")
        gone = weakref.ref(adapter)
        del adapter
        assert gone() is None
    finally:
        gc.enable()
