"""Fetch: one object, verified. The primitive that all else is made of."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.api import Alternatives, Closable, Cut, NamedFetcher, NamedResumer, Remote
from dist_tool.errors import DistError, NoDigest, SizeMismatch
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import reject_misspelled_digest
from dist_tool.run import NO_RUN, Event, Notice, Report, Run
from dist_tool.stream.body import Body
from dist_tool.stream.pump import SMALL, Sink, pump
from dist_tool.stream.resume import PartialHash, ResumingReader
from dist_tool.stream.retry import Retry
from dist_tool.stream.spool import Spool, rewindable
from dist_tool.stream.verify import VerifiedReader, Verifier
from dist_tool.transfer.progress import progress_reader, with_progress
from dist_tool.transfer.sources import Places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dist_tool.settings import Settings


class FetchOptions(NamedTuple):
    """How to fetch. `limit` bounds an object's size in bytes.

    `small` is the size in bytes up to which nothing is written before the whole is verified.
    """

    retry: Retry = Retry()
    limit: int | None = None
    small: int = SMALL
    run: Run = NO_RUN


_NO_HINTS = Hints()
_DEFAULTS = FetchOptions()


class OpenedObject(NamedTuple):
    """An object that was found: what it is, and its bytes with their judge.

    `desc` is None where nobody knows a digest: such bytes cannot be verified.
    """

    desc: Descriptor | None
    source: ResumingReader
    verifier: Verifier


@contextmanager
def open_remote(locator: str | Locator, settings: Settings, run: Run = NO_RUN) -> Iterator[Remote]:
    """The remote of a locator; closed at the end.

    Errors raised inside come out naming the locator. Raises what `remotes.table.open_remote`
    raises.
    """
    from dist_tool.remotes import table

    remote: Remote | None = None
    try:
        parsed = parse_locator(locator) if isinstance(locator, str) else locator
        remote = table.open_remote(parsed, settings, run)
        yield remote
    except DistError as error:
        raise error.with_facts(locator=str(locator)) from error.cause
    finally:
        if isinstance(remote, Closable):
            remote.close()


def identify(remote: Remote, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
    """The descriptor of an object, as cheaply as it can be known; see `locate`.

    A digest is known already and nobody is asked; what a tag means is asked without the content.
    """
    return locate(remote, object_id, hints._replace(content=as_digest(object_id) is not None))


def locate(remote: Remote, object_id: str, hints: Hints) -> Descriptor:
    """The descriptor of an object, its size that of the hints where nobody else says.

    Raises SizeMismatch where both say and disagree, NoDigest, InvalidArgument for a misspelled
    digest (a plugin might take it for a name), and what resolving raises.
    """
    reject_misspelled_digest(object_id)
    desc = remote.resolve(object_id, hints)
    if desc.size is None:
        return replace(desc, size=hints.size)
    if hints.size not in (None, desc.size):
        raise SizeMismatch(f"{object_id} has {desc.size} bytes, the hint says {hints.size}")
    return desc


def open_source(places: Places, judge: PartialHash, options: FetchOptions) -> ResumingReader:
    """The bytes of an object, resumed over cuts; nothing is asked for yet."""
    return ResumingReader(places.open, judge, options.retry, run=options.run, limit=options.limit)


def _open(places: Places, desc: Descriptor, hints: Hints, options: FetchOptions) -> OpenedObject:
    """Make the first request for an object that is known.

    Raises SizeMismatch where another size is declared than `desc` has, and what asking raises.
    The caller closes `source`.
    """
    verifier = Verifier(desc.digest, desc.size)
    source = open_source(places, verifier, options)
    source.open()
    _compare_types(desc, hints, source, options.run.report)
    return OpenedObject(desc, source, verifier)


def _open_unverified(remote: object, object_id: str, hints: Hints, options: FetchOptions) -> OpenedObject:
    if not isinstance(remote, NamedFetcher):
        raise NoDigest(f"the digest of {object_id!r} is not known before it is read")
    verifier = Verifier(None, hints.size)
    retry = options.retry
    if not isinstance(remote, NamedResumer):
        # Nothing tells whether a second answer is the same object: no resume.
        retry = replace(retry, attempts=1)
    reopen = _Name(remote, object_id, hints)
    source = ResumingReader(reopen, verifier, retry, run=options.run, limit=options.limit)
    source.open()
    options.run.report(Notice("warning", f"{object_id}: no digest is known, the bytes are not verified"))
    return OpenedObject(None, source, verifier)


class _Name:
    """Opens a name; after a cut again, with what the first answer said of itself."""

    def __init__(self, remote: NamedFetcher, object_id: str, hints: Hints) -> None:
        self._remote = remote
        self._object_id = object_id
        self._hints = hints
        self._validator: str | None = None

    def __call__(self, offset: int) -> Body:
        if self._validator is None or not isinstance(self._remote, NamedResumer):
            body = self._remote.open_name(self._object_id, self._hints)
        else:
            cut = Cut(offset, self._validator)
            body = self._remote.reopen_name(self._object_id, self._hints, cut)
        if not self._validator or body.offset == 0:
            self._validator = body.validator
        return body


def _compare_types(desc: Descriptor, hints: Hints, source: ResumingReader, report: Report) -> None:
    """A different media type than asked for is worth a warning, never other bytes."""
    actual = source.media_type or desc.media_type
    if hints.media_types and actual not in (*hints.media_types, "", "application/octet-stream"):
        report(Notice("warning", f"the media type is {actual}, the hint says {', '.join(hints.media_types)}"))


def fetch(
    remote: Remote,
    object_id: str,
    hints: Hints = _NO_HINTS,
    options: FetchOptions = _DEFAULTS,
) -> tuple[Descriptor, VerifiedReader]:
    """An object as a descriptor and a binary file that ends cleanly only if it is the object.

    `Descriptor.size` is what is known before reading. Raises NoDigest where the bytes could
    not be verified, NotFound, and what the remote raises; reading raises DataLoss and
    Unavailable. See `open_known`.
    """
    return open_known(remote, locate(remote, object_id, hints._replace(content=True)), hints, options)


def open_known(
    remote: Remote, desc: Descriptor, hints: Hints = _NO_HINTS, options: FetchOptions = _DEFAULTS
) -> tuple[Descriptor, VerifiedReader]:
    """The object of a descriptor; see `fetch`. The first request has been made when this returns.

    Where the object can come from several places, all of it is here by then, and right.
    """
    if isinstance(remote, Alternatives):
        spool = Spool()
        try:
            done = fetch_known(remote, desc, spool, hints, options)
        except BaseException:
            spool.close()
            raise
        spool.end()
        return done, VerifiedReader(Body(spool.reader()), Verifier(done.digest, done.size))
    opened = _open(Places(remote, desc), desc, hints, options)
    source = progress_reader(opened.source, str(desc.digest), options.run.progress)
    size = desc.size if desc.size is not None else opened.source.total
    return replace(desc, size=size), VerifiedReader(source, opened.verifier)


def fetch_to(
    remote: Remote,
    object_id: str,
    sink: Sink,
    hints: Hints = _NO_HINTS,
    options: FetchOptions = _DEFAULTS,
) -> Descriptor:
    """Write an object to `sink` under the rules of the pipe (see `stream.pump`).

    Returns its descriptor, complete. Where nobody knows a digest, the bytes are delivered with
    a warning and the digest is the one that they turned out to have.
    """
    try:
        desc = locate(remote, object_id, hints._replace(content=True))
    except NoDigest:
        if not isinstance(remote, (Alternatives, NamedFetcher)):
            raise
        return _fetch_unverified(remote, object_id, sink, hints, options)
    return fetch_known(remote, desc, sink, hints, options)


def fetch_known(
    remote: Remote, desc: Descriptor, sink: Sink, hints: Hints = _NO_HINTS, options: FetchOptions = _DEFAULTS
) -> Descriptor:
    """Write the object of a descriptor to `sink`; see `fetch_to`.

    Where it can come from several places, a wrong one must not be seen: `sink` gets what it can
    take back (see `stream.Draft`), or nothing before the whole is verified. Then the next place
    is asked where one was wrong.
    """
    places, ref = Places(remote, desc, hints), str(desc.digest)
    if not isinstance(remote, Alternatives):
        return _deliver(_open(places, desc, hints, options), ref, sink, options)
    options = options._replace(small=0)
    with rewindable(sink) as draft:
        while True:
            try:
                return _deliver(_open(places, desc, hints, options), ref, draft, options)
            except DistError as error:
                places.reject(error)
                draft.restart()


def _fetch_unverified(remote: Remote, object_id: str, sink: Sink, hints: Hints, options: FetchOptions) -> Descriptor:
    """Write what a name means: of several places from one at a time, each from its beginning, so nothing is spliced."""
    if not isinstance(remote, Alternatives):
        return _deliver(_open_unverified(remote, object_id, hints, options), object_id, sink, options)
    options = options._replace(small=0)
    with rewindable(sink) as draft:

        def whole(place: Remote) -> Descriptor:
            draft.restart()
            return _deliver(_open_unverified(place, object_id, hints, options), object_id, draft, options)

        return remote.first(whole)


def _deliver(opened: OpenedObject, ref: str, sink: Sink, options: FetchOptions) -> Descriptor:
    """Write an opened object to `sink` and close it; `ref` is its name for those who watch."""
    with with_progress(opened.source, ref, options.run.progress) as source:
        size = pump(source, opened.verifier, sink, small=options.small)
    options.run.progress(Event(ref, size, size, "done"))
    desc = opened.desc or Descriptor(opened.verifier.actual())
    return replace(desc, size=size, data=None, media_type=opened.source.media_type or desc.media_type)


def resolve(remote: Remote, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
    """The descriptor of a tag or digest, without its content. Raises as `Resolver.resolve`."""
    return replace(remote.resolve(object_id, hints._replace(content=False)), data=None)
