"""Fetching through the store: what is there is not asked for, what was cut goes on."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.api import Remote
from dist_tool.errors import AlreadyExists, DataLoss, DistError, LocalFailure, NotFound, SizeMismatch
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.run import Event, Listeners, Notice
from dist_tool.stream.body import Readable
from dist_tool.stream.pump import SMALL, Sink, pump
from dist_tool.stream.resume import ResumingReader
from dist_tool.stream.verify import Verifier, unexpected
from dist_tool.transfer.fetch import FetchOptions, identify, open_source
from dist_tool.transfer.progress import with_progress
from dist_tool.transfer.sources import Places

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore
    from dist_tool.store.writer import DiskWriter

_DEFAULTS = FetchOptions()
_NO_HINTS = Hints()
TRIES = 5  # how often a blob may be removed between its fetch and its use


class Known(NamedTuple):
    """An object that is known, and the hints with which it was asked for."""

    desc: Descriptor
    hints: Hints = _NO_HINTS


def fetch_kept(
    remote: Remote, store: DiskStore, wanted: Known, sink: Sink, options: FetchOptions = _DEFAULTS
) -> Descriptor:
    """Have an object in the store, then write it to `sink`; returns its descriptor.

    Nothing is written to `sink` before the whole is verified. A stored blob that has rotted is
    fetched anew. Raises as `fetch.fetch_to`, and LocalFailure.
    """
    written = 0

    def counted(data: memoryview) -> None:
        nonlocal written
        sink(data)
        written += len(data)

    for _ in range(TRIES):
        kept = keep(remote, store, *wanted, options)
        try:
            deliver(store, kept, counted, options)
        except DataLoss as error:
            if written:
                raise
            kept = heal(remote, store, wanted, error, options)
            deliver(store, kept, sink, options)
        except NotFound:  # removed since `keep`, as by a gc without grace
            continue
        return kept
    raise removed(wanted.desc)


def heal(
    remote: Remote, store: DiskStore, wanted: Known, error: DataLoss, options: FetchOptions = _DEFAULTS
) -> Descriptor:
    """Fetch a stored blob that turned out to be damaged again, and replace it. Its names and labels stay.

    A size that may have been that of the damaged file is not demanded.
    """
    desc = wanted.desc
    options.run.report(Notice("warning", f"the stored {desc.digest} is damaged ({error.what}); fetching it anew"))
    size = None if desc.size == store.size(desc.digest) else desc.size
    store.distrust(desc.digest)
    return keep(remote, store, replace(desc, size=size), wanted.hints, options)


def removed(desc: Descriptor) -> LocalFailure:
    """The error for a blob that is removed from the store as often as it is fetched."""
    return LocalFailure(f"{desc.digest} was removed from the store", hint="is `dist content gc --grace 0` running?")


def find(remote: Remote, store: DiskStore, object_id: str, hints: Hints) -> Descriptor:
    """The descriptor of an object; see `fetch.identify`.

    Raises SizeMismatch where the store knows another size than was expected.
    """
    from dist_tool.store.verify import is_sound

    desc = identify(remote, object_id, hints)
    size = store.size(desc.digest)
    if size is not None and desc.size not in (None, size):
        if not is_sound(store, desc.digest):  # its size says nothing; `keep` replaces it
            store.distrust(desc.digest)
            return desc
        raise SizeMismatch(f"{object_id} has {size} bytes, {desc.size} were expected")
    return desc if size is None else replace(desc, size=size)


def keep(
    remote: Remote, store: DiskStore, desc: Descriptor, hints: Hints = _NO_HINTS, options: FetchOptions = _DEFAULTS
) -> Descriptor:
    """Have the object of `desc` in the store; returns the descriptor, complete.

    Of two processes that want the same digest one fetches, the other waits. A partial write
    of an earlier session goes on from where it is; if that turns out wrong, it begins anew.
    """
    from dist_tool.store.waiting import wait_for_writer

    places, ref = Places(remote, desc, hints), str(desc.digest)
    anew = False
    while True:
        size = store.size(desc.digest)
        if size is not None and store.claim(replace(desc, size=size, data=None)):  # and gc spares it
            options.run.progress(Event(ref, size, size, "exists", size))
            return replace(desc, size=size, data=None)
        listeners = Listeners(options.run.report, options.run.progress)
        with suppress(AlreadyExists), wait_for_writer(store, ref, desc, options.run, listeners) as writer:
            if anew:
                writer.truncate()
            try:
                return _fill(places, writer, desc, options)
            except DistError as error:
                places.reject(error)
                anew = True
                options.run.report(Notice("info", f"{ref}: {error.what}; beginning anew"))


def _fill(places: Places, writer: DiskWriter, desc: Descriptor, options: FetchOptions) -> Descriptor:
    source = open_source(places, _WriterJudge(writer, desc), options)
    source.start_at(writer.offset)
    with with_progress(source, str(desc.digest), options.run.progress) as watching:
        if writer.digest() != desc.digest:  # an earlier session may have ended just before its commit
            _announce(source, writer)
            writer.fill(watching)
            while writer.digest() != desc.digest and source.reopen_past_end():
                writer.fill(watching)
        if desc.size not in (None, writer.offset) and writer.digest() == desc.digest:
            raise unexpected(writer.offset, desc.size)
        committed = writer.commit(replace(desc, data=None))
    options.run.progress(Event(str(desc.digest), writer.offset, writer.offset, "done", writer.resumed))
    return replace(committed, media_type=source.media_type or desc.media_type)


def _announce(source: ResumingReader, writer: DiskWriter) -> None:
    """Let whoever looks at the store know how much is to come; what is small is there before anybody looks."""
    source.open()
    if source.total is not None and source.total - writer.offset > SMALL:
        writer.expect(source.total)


class _WriterJudge:
    """A writer as the judge of a `ResumingReader`: `commit` has the last word."""

    def __init__(self, writer: DiskWriter, desc: Descriptor) -> None:
        self._writer = writer
        self.digest: Digest | None = desc.digest
        self.size = desc.size
        self.source = ""

    def snapshot(self) -> tuple[int, bytes]:
        return self._writer.offset, bytes.fromhex(self._writer.digest().encoded)


def deliver(store: DiskStore, desc: Descriptor, sink: Sink, options: FetchOptions = _DEFAULTS) -> None:
    """Write a stored blob to `sink`, verified as if it came from anywhere. Raises DataLoss."""
    source: Readable = store.open(desc)
    with closing(source):
        pump(source, Verifier(desc.digest, desc.size, source="the store"), sink, small=options.small)
