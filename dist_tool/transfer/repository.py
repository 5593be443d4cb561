"""Repositories: access to a remote under policy and pins.

The layers above `transfer` access remotes only through a `Repository`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

from dist_tool.api import Closable, Listable, NamedFetcher, Referring, Remote
from dist_tool.errors import DistError, NoDigest, SizeMismatch, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import as_object
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest, reject_misspelled_digest
from dist_tool.run import NO_RUN, Run, Shared
from dist_tool.settings import Route, Settings
from dist_tool.stream.body import Body
from dist_tool.stream.pump import Sink
from dist_tool.stream.spool import Spool, rewindable
from dist_tool.stream.verify import VerifiedReader, Verifier
from dist_tool.transfer.opening import FetchOptions, OpenedObject, deliver, open_object, open_unverified
from dist_tool.transfer.progress import progress_reader
from dist_tool.transfer.sources import Mirrored, Sources

_NO_HINTS = Hints()
_HERE = Locator("path", ".")
_DEFAULTS = Settings()
_Method = TypeVar("_Method", bound=Callable[..., Any])


def named(method: _Method) -> _Method:
    """Decorator for methods of `Repository` that adds its locator to their errors."""

    @wraps(method)
    def inner(self: Repository, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except DistError as error:
            raise error.with_facts(locator=str(self.locator)) from error.cause

    return inner  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Rules:
    """Policy and pins for the objects of one locator. `guard` checks the location that a route maps it to."""

    locator: Locator = _HERE
    settings: Settings = _DEFAULTS
    guard: Callable[[str], None] | None = None

    def request_for(self, object_id: str) -> str:
        """The object to request: `object_id`, with the digest if it is a pinned tag. Raises PolicyRefused."""
        name = as_object(object_id)
        self.settings.check_object(self.locator, name)
        pinned = None if name.digest else self.settings.pin_for(self.locator, name.tag)
        request = f"{name.tag}@{pinned}" if pinned else object_id
        if self.guard is not None:
            self.guard(request)
        return request

    def check(self, digest: Digest) -> None:
        """Raise PolicyRefused for a digest of an algorithm that is not allowed."""
        self.settings.policy.check_digest(digest)


class Repository:
    """The objects of one locator. As thread-safe as its remote; the built-in ones are.

    Each method applies policy and pins, checks that the remote supports the operation
    (raises Unsupported if not), and calls it. Errors carry the locator.
    """

    stored = False
    """True if objects are cached in the store."""

    def __init__(self, remote: Remote, rules: Rules | None = None, options: FetchOptions | None = None) -> None:
        self._remote = remote
        self._rules = rules or Rules()
        self.options = options or FetchOptions()

    @property
    def locator(self) -> Locator:
        """The locator, as it was given."""
        return self._rules.locator

    @property
    def parts(self) -> tuple[Remote, Rules, FetchOptions]:
        """The constructor arguments, for another view of the same repository."""
        return self._remote, self._rules, self.options

    @property
    def mirrored(self) -> bool:
        """Whether objects may come from several sources."""
        return isinstance(self._remote, Mirrored)

    # Requests

    @named
    def resolve(self, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
        """The descriptor of a tag, digest or other name; see `api.Resolver`. Raises PolicyRefused."""
        request = self._rules.request_for(object_id)
        if request != object_id and not hints.media_type():
            hints = hints._replace(kind="manifest")  # a pin: tags name manifests
        desc = self._remote.resolve(request, hints)
        self._rules.check(desc.digest)
        return desc

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The raw, unverified bytes of an object from `offset`; see `api.Fetcher`."""
        self._rules.check(desc.digest)
        return self._remote.open(desc, offset)

    def sources(self, desc: Descriptor, hints: Hints = _NO_HINTS) -> Sources:
        """The sources of an object, for one transfer."""
        self._rules.check(desc.digest)
        return Sources(self._remote, desc, hints)

    @named
    def tags(self) -> Iterator[str]:
        """Every tag; see `api.Listable`. Raises Unsupported."""
        found: Iterator[str] = self._power(Listable, "does not list tags").tags()
        return found

    @named
    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Descriptors of the manifests that refer to `subject`; see `api.Referring`. Raises Unsupported."""
        found: Iterator[Descriptor] = self._power(Referring, "does not list referrers").referrers(
            subject, artifact_type
        )
        return found

    def _power(self, power: Any, missing: str) -> Any:
        if not isinstance(self._remote, power):
            raise Unsupported(f"this remote {missing}")
        return self._remote

    def close(self) -> None:
        """Close the connections and files that are not shared by the session. Idempotent."""
        if isinstance(self._remote, Closable):
            self._remote.close()

    # Operations

    def identify(self, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
        """The descriptor of an object, by the cheapest request; see `locate`.

        A digest needs no request; a tag is resolved without its content.
        """
        return self.locate(object_id, hints._replace(content=as_object(object_id).digest is not None))

    @named
    def locate(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of an object, its size taken from the hints if the remote does not know it.

        Raises SizeMismatch if both are known and differ, NoDigest, InvalidArgument for a
        misspelled digest (which a plugin might treat as a name), and the errors of resolving.
        """
        reject_misspelled_digest(object_id)
        desc = self.resolve(object_id, hints)
        if desc.size is None:
            return replace(desc, size=hints.size)
        if hints.size not in (None, desc.size):
            raise SizeMismatch(f"{object_id} has {desc.size} bytes, but the hint is size:{hints.size}")
        return desc

    def fetch(self, object_id: str, hints: Hints = _NO_HINTS) -> tuple[Descriptor, VerifiedReader]:
        """An object as a descriptor and a binary file, which ends without an error only if the content is right.

        `Descriptor.size` is None if the size is not known before reading. Raises NoDigest if the
        bytes cannot be verified, NotFound, and the errors of the remote; reading raises DataLoss
        and Unavailable.
        """
        return self.open_known(self.locate(object_id, hints._replace(content=True)), hints)

    @named
    def open_known(
        self, desc: Descriptor, hints: Hints = _NO_HINTS, options: FetchOptions | None = None
    ) -> tuple[Descriptor, VerifiedReader]:
        """The object of a descriptor; see `fetch`. The first request has been made when this returns.

        An object with several sources is then already complete and verified.
        """
        options = options or self.options
        sources = self.sources(desc, hints)
        if sources.several:
            return self._spooled(desc, hints, options)
        opened = open_object(sources, desc, hints, options)
        source = progress_reader(opened.source, str(desc.digest), options.run.progress)
        size = desc.size if desc.size is not None else opened.source.total
        return replace(desc, size=size), VerifiedReader(source, opened.verifier)

    def _spooled(self, desc: Descriptor, hints: Hints, options: FetchOptions) -> tuple[Descriptor, VerifiedReader]:
        spool = Spool()
        try:
            done = self.fetch_known(desc, spool, hints, options)
        except BaseException:
            spool.close()
            raise
        spool.end()
        return done, VerifiedReader(Body(spool.reader()), Verifier(done.digest, done.size))

    @named
    def fetch_to(
        self, object_id: str, sink: Sink, hints: Hints = _NO_HINTS, options: FetchOptions | None = None
    ) -> Descriptor:
        """Write an object to `sink` as `stream.pump` does; returns the complete descriptor.

        If no digest is known, the bytes are delivered with a warning, and the digest is computed from them.
        """
        try:
            desc = self.locate(object_id, hints._replace(content=True))
        except NoDigest:
            if not isinstance(self._remote, (Mirrored, NamedFetcher)):
                raise
            return self._fetch_unverified(object_id, sink, hints, options or self.options)
        return self.fetch_known(desc, sink, hints, options)

    @named
    def fetch_known(
        self, desc: Descriptor, sink: Sink, hints: Hints = _NO_HINTS, options: FetchOptions | None = None
    ) -> Descriptor:
        """Write the object of a descriptor to `sink`; see `fetch_to`.

        With several sources, bytes are written to `sink` as they arrive only if it is `Rewindable`,
        otherwise after all of them are verified; a source with wrong content is replaced by the
        next one.
        """
        options = options or self.options
        sources, ref = self.sources(desc, hints), str(desc.digest)
        if not sources.several:
            return deliver(open_object(sources, desc, hints, options), ref, sink, options)
        options = options._replace(small=0)
        with rewindable(sink) as target:
            while True:
                try:
                    return deliver(open_object(sources, desc, hints, options), ref, target, options)
                except DistError as error:
                    sources.reject(error)
                    target.restart()

    def _fetch_unverified(self, object_id: str, sink: Sink, hints: Hints, options: FetchOptions) -> Descriptor:
        """Write the bytes of a name, from one source at a time and from byte 0, so that nothing is spliced."""
        request = self._rules.request_for(object_id)

        def opened(remote: object, how: FetchOptions) -> OpenedObject:
            return open_unverified(remote, request, hints, how)

        if not isinstance(self._remote, Mirrored):
            return deliver(opened(self._remote, options), object_id, sink, options)
        options = options._replace(small=0)
        with rewindable(sink) as target:

            def attempt(remote: Remote) -> Descriptor:
                target.restart()
                return deliver(opened(remote, options), object_id, target, options)

            return self._remote.first(request, attempt)


def _fetch_options(settings: Settings, locator: Locator, run: Run = NO_RUN) -> FetchOptions:
    """The fetch options for a locator under these settings."""
    route = settings.route_for(locator) or Route()
    limit = min((size for size in (settings.max_size, settings.policy.max_size) if size), default=None)
    return FetchOptions(route.own.retry_limits, limit, run=run)


def repository_at(locator: Locator, settings: Settings, run: Run = NO_RUN, shared: Shared | None = None) -> Repository:
    """The repository of a locator; no request is made yet. The caller closes it.

    Raises PolicyRefused for a blocked name, Unsupported for an unknown kind, NotFound and
    InvalidArgument for a path that is not a layout.
    """
    from dist_tool.remotes import table

    try:
        remote, guard = table.open_route(locator, settings, run, shared)
    except DistError as error:
        raise error.with_facts(locator=str(locator)) from error.cause
    return Repository(remote, Rules(locator, settings, guard), _fetch_options(settings, locator, run))


@contextmanager
def open_repository(locator: Locator, settings: Settings, run: Run = NO_RUN) -> Iterator[Repository]:
    """The repository of a locator, closed at the end; errors raised inside get the locator. See `repository_at`."""
    with closing(repository_at(locator, settings, run)) as repository:
        try:
            yield repository
        except DistError as error:
            raise error.with_facts(locator=str(locator)) from error.cause
