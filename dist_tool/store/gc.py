"""Garbage collection: mark what `index.json` and labels reach, sweep the rest (behaviours F17).

The store's lock is held throughout, so that no name is added and no blob claimed between mark
and sweep. A reachable document that cannot be parsed is an error, not garbage: then nothing is
removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.errors import DistError, InvalidArgument
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.run import Notice
from dist_tool.store import files, locks
from dist_tool.store.blobs import info_time
from dist_tool.store.graph import mark
from dist_tool.store.ingest import IngestDirectory

_FOREIGN = "it belongs to another user"

if TYPE_CHECKING:
    from dist_tool.store.disk import DiskStore

# relatime, the usual mount option, updates atime once in 24 h; twice that spares all blobs read within the last day.
GRACE_S = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """The objects that gc spares: blobs used and ingests written in the last `grace_s` seconds, and `keep`.

    The grace period protects fetched content that has no name yet. With 0, no other process may
    be adding content.
    """

    grace_s: float = GRACE_S
    keep: frozenset[Digest] = frozenset()
    dry_run: bool = False


class Removed(NamedTuple):
    """One removal, or with `dry_run` a candidate. `name` is the digest of a blob or the ref of an ingest."""

    kind: str
    name: str
    size: int


def collect(store: DiskStore, policy: GcPolicy) -> Iterator[Removed]:
    """Remove unreachable blobs and abandoned ingests; yields the removals once the store's lock is released.

    Raises BadManifest, LimitExceeded and DataLoss if reachable content cannot be read (nothing was
    removed then); LocalFailure if the disk fails, after it has yielded the removals so far.
    """
    if not os.path.isdir(store.root):
        return
    store.prepare()
    removed: list[Removed] = []
    failure = None
    try:
        with files.failing("cannot collect garbage"), nullcontext() if policy.dry_run else store.locked():
            _collect(store, policy, removed)
    except DistError as error:
        failure = error
    yield from removed
    if failure is not None:
        raise failure


def _collect(store: DiskStore, policy: GcPolicy, removed: list[Removed]) -> None:
    roots = [*store.entries(), *(Descriptor(digest, media_type="") for digest in policy.keep)]
    garbage = _garbage(store, policy, mark(store, roots, store.labels.everything()))
    if policy.dry_run:
        removed.extend(garbage)
    else:
        # Labels first, as in `DiskStore.delete`; stale labels left by a kill or another tool go too.
        store.forget_labels([*(Digest.parse(blob.name) for blob in garbage), *_labelled_and_absent(store)])
        removed.extend(_sweep_blobs(store, garbage))
    removed.extend(_sweep_ingests(store, policy))


def _garbage(store: DiskStore, policy: GcPolicy, marked: set[Digest]) -> list[Removed]:
    """Unmarked blobs that were not used within the grace period."""
    now = time.time()
    found = []
    removable: dict[str, bool] = {}
    for digest in store.blobs.digests():
        path = store.path(digest)
        status = files.regular(path)
        if status is None or digest in marked or now - info_time(status) < policy.grace_s:
            continue
        directory = os.path.dirname(path)
        if directory not in removable:
            removable[directory] = os.access(directory, os.W_OK)
            if not removable[directory]:
                store.run.report(Notice("warning", f"{directory} skipped: {_FOREIGN}"))
        if removable[directory]:
            found.append(Removed("blob", str(digest), status.st_size))
    return found


def _sweep_blobs(store: DiskStore, garbage: list[Removed]) -> Iterator[Removed]:
    for each in garbage:
        os.unlink(store.path(Digest.parse(each.name)))
        yield each


def _labelled_and_absent(store: DiskStore) -> Iterator[Digest]:
    """Digests that have labels but no blob: their labels would reappear with the content."""
    for text in store.labels.everything():
        with suppress(InvalidArgument, PermissionError):
            digest = Digest.parse(text)
            if files.regular(store.path(digest)) is None:
                yield digest


def _sweep_ingests(store: DiskStore, policy: GcPolicy) -> Iterator[Removed]:
    """Remove ingests without a writer that are older than the grace period, incomplete ones included."""
    now = time.time()
    for directory in list(store.ingests()):
        try:
            if directory.age_s(now) < policy.grace_s:
                continue
            lock = locks.try_ingest(directory.path, create=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            store.run.report(Notice("warning", f"{directory.path} skipped: {_FOREIGN} ({error.strerror})"))
            continue
        if lock is None:
            continue
        try:
            yield _remove_ingest(directory, dry_run=policy.dry_run)
        finally:
            os.close(lock)


def _remove_ingest(directory: IngestDirectory, *, dry_run: bool) -> Removed:
    status = directory.status()
    found = files.regular(directory.data)
    if not dry_run:
        directory.remove()
    name = status.ref if status else os.path.basename(directory.path)
    return Removed("ingest", name, found.st_size if found else 0)
