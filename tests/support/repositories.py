"""Repositories over bare remotes, for tests that need no session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dist_tool.api import NamedStore
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import Settings
from dist_tool.stream.pump import Sink
from dist_tool.stream.verify import VerifiedReader
from dist_tool.transfer.cache import CachedRepository
from dist_tool.transfer.opening import FetchOptions
from dist_tool.transfer.repository import Repository, open_repository

_NO_HINTS = Hints()
_DEFAULTS = FetchOptions()


def over(remote: Any, options: FetchOptions = _DEFAULTS, store: NamedStore | None = None) -> Repository:
    """A repository over a remote, without policy; through a store if one is given."""
    repository = remote if isinstance(remote, Repository) else Repository(remote, options=options)
    if options is not _DEFAULTS:
        repository.options = options
    return repository if store is None else CachedRepository(repository, store)


@contextmanager
def opened(locator: str | Locator, settings: Settings, run: Run = NO_RUN) -> Iterator[Repository]:
    """The repository of a locator that may be text, closed at the end."""
    parsed = parse_locator(locator) if isinstance(locator, str) else locator
    with open_repository(parsed, settings, run) as repository:
        yield repository


def fetch(
    remote: Any, object_id: str, hints: Hints = _NO_HINTS, options: FetchOptions = _DEFAULTS
) -> tuple[Descriptor, VerifiedReader]:
    """`Repository.fetch` over a remote."""
    return over(remote, options).fetch(object_id, hints)


def fetch_to(
    remote: Any, object_id: str, sink: Sink, hints: Hints = _NO_HINTS, options: FetchOptions = _DEFAULTS
) -> Descriptor:
    """`Repository.fetch_to` over a remote."""
    return over(remote, options).fetch_to(object_id, sink, hints)


def fetch_known(
    remote: Any, desc: Descriptor, sink: Sink, hints: Hints = _NO_HINTS, options: FetchOptions = _DEFAULTS
) -> Descriptor:
    """`Repository.fetch_known` over a remote."""
    return over(remote, options).fetch_known(desc, sink, hints)


def resolve(remote: Any, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
    """`Repository.resolve` over a remote, without the content."""
    return over(remote).resolve(object_id, hints._replace(content=False))


def cached(remote: Any, store: NamedStore, options: FetchOptions = _DEFAULTS) -> CachedRepository:
    """A repository over a remote and a store."""
    repository = over(remote, options, store)
    assert isinstance(repository, CachedRepository)
    return repository


def find(remote: Any, store: NamedStore, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
    """The descriptor of an object, as `CachedRepository.fetch_to` locates it."""
    return cached(remote, store).locate(object_id, hints._replace(content=as_digest(object_id) is not None))
