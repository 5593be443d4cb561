"""Fetch through a store: content that it has is not requested, an interrupted fetch is continued."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from dist_tool.api import Remote, Store
from dist_tool.errors import DataLoss, LocalFailure, NotFound, SizeMismatch
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.run import Notice
from dist_tool.stream.pump import Sink, pump
from dist_tool.stream.verify import Verifier
from dist_tool.transfer.copy import copy_object
from dist_tool.transfer.fetch import FetchOptions, identify
from dist_tool.transfer.sources import Places

_DEFAULTS = FetchOptions()
_NO_HINTS = Hints()
TRIES = 5  # how often a blob may be removed between its fetch and its use


class Known(NamedTuple):
    """An object that is known, and the hints with which it was asked for."""

    desc: Descriptor
    hints: Hints = _NO_HINTS


def fetch_kept(
    remote: Remote, store: Store, wanted: Known, sink: Sink, options: FetchOptions = _DEFAULTS
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
        kept = store_object(remote, store, wanted, options)
        try:
            deliver(store, kept, counted, options)
        except DataLoss as error:
            if written:
                raise
            kept = heal(remote, store, wanted, error, options)
            deliver(store, kept, sink, options)
        except NotFound:  # removed since then, as by a gc without grace
            continue
        return kept
    raise removed(wanted.desc)


def heal(remote: Remote, store: Store, wanted: Known, error: DataLoss, options: FetchOptions = _DEFAULTS) -> Descriptor:
    """Fetch a stored blob that turned out to be damaged again, and replace it. Its names and labels stay.

    A size that may have been that of the damaged file is not demanded.
    """
    desc = wanted.desc
    options.run.report(Notice("warning", f"the stored {desc.digest} is damaged ({error.what}); fetching it anew"))
    size = None if desc.size == store.size(desc.digest) else desc.size
    store.distrust(desc.digest)
    return store_object(remote, store, wanted._replace(desc=replace(desc, size=size)), options)


def removed(desc: Descriptor) -> LocalFailure:
    """The error for a blob that is removed from the store as often as it is fetched."""
    return LocalFailure(f"{desc.digest} was removed from the store", hint="is `dist content gc --grace 0` running?")


def find(remote: Remote, store: Store, object_id: str, hints: Hints) -> Descriptor:
    """The descriptor of an object; see `fetch.identify`.

    Raises SizeMismatch where the store knows another size than was expected.
    """
    from dist_tool.store.verify import is_sound

    desc = identify(remote, object_id, hints)
    size = store.size(desc.digest)
    if size is not None and desc.size not in (None, size):
        if not is_sound(store, desc.digest):  # its size says nothing; `copy_object` replaces it
            store.distrust(desc.digest)
            return desc
        raise SizeMismatch(f"{object_id} has {size} bytes, {desc.size} were expected")
    return desc if size is None else replace(desc, size=size)


def store_object(remote: Remote, store: Store, wanted: Known, options: FetchOptions = _DEFAULTS) -> Descriptor:
    """Have an object in the store; returns its descriptor, complete. See `copy_object`."""
    sources = Places(remote, *wanted)
    return copy_object(sources, store, wanted.desc, options.run, retry=options.retry, limit=options.limit)


def deliver(store: Store, desc: Descriptor, sink: Sink, options: FetchOptions = _DEFAULTS) -> None:
    """Write a stored blob to `sink`, verified as if it came from anywhere. Raises DataLoss."""
    with closing(store.open(desc)) as source:
        pump(source, Verifier(desc.digest, desc.size, source="the store"), sink, small=options.small)
