"""Collecting what nothing needs: mark from `index.json` and labels, sweep the rest (behaviours F17).

The store's lock is held throughout, so that no name and no claim to a blob comes between
marking and sweeping. What cannot be understood is an error, not garbage: nothing is removed
then.
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

# Twice what relatime, the usual way to mount, needs to note a use (24 h): what was read within the last day stays.
GRACE_S = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """What to spare: blobs used and ingests written in the last `grace_s` seconds, and `keep`.

    The grace protects what was fetched and is about to be named. With 0 it must be quiet.
    """

    grace_s: float = GRACE_S
    keep: frozenset[Digest] = frozenset()
    dry_run: bool = False


class Removed(NamedTuple):
    """Something that was removed, or would be: a blob (its digest) or an ingest (its ref)."""

    kind: str
    name: str
    size: int


def collect(store: DiskStore, policy: GcPolicy) -> Iterator[Removed]:
    """Remove what nothing needs, and tell of it once the store's lock is given back.

    Raises BadManifest, LimitExceeded and DataLoss where something that is needed cannot be
    read (nothing was removed then); LocalFailure where the disk fails, after telling of what
    was removed until then.
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
        # Labels first, as in `DiskStore.delete`; and those that a kill or another tool has left behind.
        store.forget_labels([*(Digest.parse(blob.name) for blob in garbage), *_labelled_and_absent(store)])
        removed.extend(_sweep_blobs(store, garbage))
    removed.extend(_sweep_ingests(store, policy))


def _garbage(store: DiskStore, policy: GcPolicy, marked: set[Digest]) -> list[Removed]:
    """Blobs that nothing needs and that nobody used within the grace."""
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
                store.run.report(Notice("warning", f"{directory} is passed over: {_FOREIGN}"))
        if removable[directory]:
            found.append(Removed("blob", str(digest), status.st_size))
    return found


def _sweep_blobs(store: DiskStore, garbage: list[Removed]) -> Iterator[Removed]:
    for each in garbage:
        os.unlink(store.path(Digest.parse(each.name)))
        yield each


def _labelled_and_absent(store: DiskStore) -> Iterator[Digest]:
    """What has labels and is not in the store: they would come back with the content."""
    for text in store.labels.everything():
        with suppress(InvalidArgument, PermissionError):
            digest = Digest.parse(text)
            if files.regular(store.path(digest)) is None:
                yield digest


def _sweep_ingests(store: DiskStore, policy: GcPolicy) -> Iterator[Removed]:
    """Ingests that nobody writes and that are older than the grace, half made ones included."""
    now = time.time()
    for directory in list(store.ingests()):
        try:
            if directory.age_s(now) < policy.grace_s:
                continue
            lock = locks.try_ingest(directory.path, create=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            store.run.report(Notice("warning", f"{directory.path} is passed over: {_FOREIGN} ({error.strerror})"))
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
