"""Copying one object into a store, registry or other ingester: the only implementation."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from dist_tool.api import Fetcher, Ingester, Store, Writer
from dist_tool.errors import AlreadyExists, DistError
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.run import NO_RUN, Event, Notice, Run
from dist_tool.stream.copy import copy_into
from dist_tool.stream.pump import SMALL
from dist_tool.stream.resume import ResumingReader
from dist_tool.stream.retry import Retry
from dist_tool.stream.verify import unexpected
from dist_tool.transfer.progress import with_progress
from dist_tool.transfer.sources import Sources

_RETRY = Retry()


def copy_object(
    source: Sources | Fetcher,
    target: Ingester,
    desc: Descriptor,
    run: Run = NO_RUN,
    *,
    retry: Retry = _RETRY,
    limit: int | None = None,
) -> Descriptor:
    """Copy the object of `desc` from `source` into `target`; returns the complete descriptor.

    Content that `target` has is not read again. Of two concurrent copies of the same digest, one
    copies and the other waits. A partial write of an earlier session is continued; if its bytes
    are wrong, the copy restarts at byte 0, from the next mirror if `source` has several.
    `limit` bounds the object's size in bytes.

    Raises DataLoss for wrong content, LimitExceeded, LocalFailure, DeadlineExceeded and
    Cancelled as `run` does, and the errors of `source` and `target`.
    """
    from dist_tool.store.waiting import wait_for_writer

    sources = source if isinstance(source, Sources) else Sources(source, desc)
    ref, failed = str(desc.digest), False
    while True:
        if isinstance(target, Store) and (present := _claimed(target, desc, run)) is not None:
            return present
        try:
            with closing(wait_for_writer(target, ref, desc, run)) as writer:
                if failed:
                    writer.truncate()
                try:
                    return _receive(_reader(sources, writer, desc, run, retry, limit), writer, desc, run)
                except AlreadyExists:
                    raise
                except DistError as error:
                    sources.reject(error)
                    failed = True
                    run.report(Notice("info", f"{ref}: {error.what}; restarting at byte 0"))
        except AlreadyExists:
            if not isinstance(target, Store):  # it has no lookup: rely on its response
                return _present(desc, desc.size, run)


def _claimed(target: Store, desc: Descriptor, run: Run) -> Descriptor | None:
    size = target.size(desc.digest)
    if size is None or not target.claim(replace(desc, size=size, data=None)):
        return None
    return _present(desc, size, run)


def _present(desc: Descriptor, size: int | None, run: Run) -> Descriptor:
    run.progress(Event(str(desc.digest), size or 0, size, "exists", size or 0))
    return replace(desc, size=size, data=None)


def _reader(
    sources: Sources, writer: Writer, desc: Descriptor, run: Run, retry: Retry, limit: int | None
) -> ResumingReader:
    reader = ResumingReader(sources.open, _WriterHash(writer, desc), retry, run=run, limit=limit, lost=sources.lost)
    reader.start_at(writer.offset)
    return reader


def _receive(source: ResumingReader, writer: Writer, desc: Descriptor, run: Run) -> Descriptor:
    """Write the rest of an object and commit it."""
    resumed = writer.offset
    with with_progress(source, str(desc.digest), run.progress) as reader:
        if writer.digest() != desc.digest:  # else an earlier session ended just before its commit
            _expect(source, writer)
            copy_into(writer, reader)
            while writer.digest() != desc.digest and reader.reopen_past_end():
                copy_into(writer, reader)
        if desc.size not in (None, writer.offset) and writer.digest() == desc.digest:
            raise unexpected(writer.offset, desc.size)
        committed = writer.commit(replace(desc, data=None))
    run.progress(Event(str(desc.digest), writer.offset, writer.offset, "done", resumed))
    return replace(committed, media_type=source.media_type or desc.media_type)


def _expect(source: ResumingReader, writer: Writer) -> None:
    """Record the size in the status of the write. Not for a small object, which is complete too soon to be watched."""
    source.open()
    if source.total is not None and source.total - writer.offset > SMALL:
        writer.expect(source.total)


class _WriterHash:
    """A writer as the `PartialHash` of a `ResumingReader`: `commit` verifies."""

    def __init__(self, writer: Writer, desc: Descriptor) -> None:
        self._writer = writer
        self.digest: Digest | None = desc.digest
        self.size = desc.size
        self.source = ""

    def snapshot(self) -> tuple[int, bytes]:
        return self._writer.offset, bytes.fromhex(self._writer.digest().encoded)
