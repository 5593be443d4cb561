"""Opening an object for reading, with resume, verification and progress."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from dist_tool.api import Cut, NamedFetcher, NamedResumer
from dist_tool.errors import NoDigest
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import NO_RUN, Event, Notice, Report, Run
from dist_tool.stream.body import Body
from dist_tool.stream.pump import SMALL, Sink, pump
from dist_tool.stream.resume import ResumingReader
from dist_tool.stream.retry import Retry
from dist_tool.stream.verify import Verifier
from dist_tool.transfer.progress import with_progress
from dist_tool.transfer.sources import Sources


class FetchOptions(NamedTuple):
    """How to fetch. `limit` bounds an object's size in bytes.

    `small` is the size in bytes up to which an object is verified before any of it is written.
    """

    retry: Retry = Retry()
    limit: int | None = None
    small: int = SMALL
    run: Run = NO_RUN


class OpenedObject(NamedTuple):
    """An object whose first request has been made. `desc` is None if no digest is known: it is not verified."""

    desc: Descriptor | None
    source: ResumingReader
    verifier: Verifier


def open_object(sources: Sources, desc: Descriptor, hints: Hints, options: FetchOptions) -> OpenedObject:
    """Make the first request for the object of `desc`. The caller closes `source`.

    Raises SizeMismatch if the declared size is not that of `desc`, and the errors of the sources.
    """
    verifier = Verifier(desc.digest, desc.size)
    source = ResumingReader(
        sources.open, verifier, options.retry, run=options.run, limit=options.limit, lost=sources.lost
    )
    source.open()
    _compare_types(desc, hints, source, options.run.report)
    return OpenedObject(desc, source, verifier)


def open_unverified(remote: object, object_id: str, hints: Hints, options: FetchOptions) -> OpenedObject:
    """Make the first request for a name without a known digest. Raises NoDigest if the remote has no such names."""
    if not isinstance(remote, NamedFetcher):
        raise NoDigest(f"the digest of {object_id!r} is not known before its content is read")
    verifier = Verifier(None, hints.size)
    retry = options.retry
    if not isinstance(remote, NamedResumer):
        # No resume: a second response may be another object, and nothing would show it.
        retry = replace(retry, attempts=1)
    reopen = _Name(remote, object_id, hints)
    source = ResumingReader(reopen, verifier, retry, run=options.run, limit=options.limit)
    source.open()
    options.run.report(Notice("warning", f"{object_id}: no digest is known, the bytes are not verified"))
    return OpenedObject(None, source, verifier)


class _Name:
    """Opens a name, and reopens it after a cut with the validator of the first response."""

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
    """Warn if the media type differs from the hint. The bytes are verified all the same."""
    actual = source.media_type or desc.media_type
    if hints.media_types and actual not in (*hints.media_types, "", "application/octet-stream"):
        report(Notice("warning", f"the media type is {actual}, but the hint is {', '.join(hints.media_types)}"))


def deliver(opened: OpenedObject, ref: str, sink: Sink, options: FetchOptions) -> Descriptor:
    """Write an opened object to `sink` and close it. `ref` names it in progress events."""
    with with_progress(opened.source, ref, options.run.progress) as source:
        size = pump(source, opened.verifier, sink, small=options.small)
    options.run.progress(Event(ref, size, size, "done"))
    desc = opened.desc or Descriptor(opened.verifier.actual())
    return replace(desc, size=size, data=None, media_type=opened.source.media_type or desc.media_type)
