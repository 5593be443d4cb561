"""The store on disk: `blobs/<algorithm>/<encoded>`, `index.json` and `ingest/`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from dist_tool.api import Info, Status
from dist_tool.errors import (
    AlreadyExists,
    DistError,
    InvalidArgument,
    LocalFailure,
    Locked,
    NotFound,
    Unsupported,
)
from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import VERIFIABLE, Digest
from dist_tool.run import NO_RUN, Notice, Run
from dist_tool.store import files, layout, locks
from dist_tool.store.blobs import Blobs, OpenBlob, info_time, missing
from dist_tool.store.index import Index
from dist_tool.store.ingest import IngestDirectory, check_ref
from dist_tool.store.labels import Labels, label_blob
from dist_tool.store.verify import open_verified, read
from dist_tool.store.writer import DiskWriter
from dist_tool.stream.verify import VerifiedReader

_LOCK_TRIES = 5  # a process that lists ingests holds each lock for an instant
_LOCK_PAUSE_S = 0.002


class DiskStore:
    """A `Store`, and a `Remote` that serves its content. Safe for many threads and processes.

    Reading requires only `blobs/`: no lock, no database, no write permission.
    """

    def __init__(self, root: str, run: Run = NO_RUN) -> None:
        if not root or "\0" in root:
            raise InvalidArgument("the path of the store is empty or contains NUL")
        self.root = os.path.abspath(root)
        self.blobs = Blobs(self.root, run)
        self.index = Index(os.path.join(self.root, "index.json"))
        self.labels = Labels(os.path.join(self.root, "metadata.db"))
        self.run = run
        self._prepared = False

    def locked(self) -> AbstractContextManager[None]:
        """The store's lock, exclusive, as a context manager."""
        return self.blobs.locked(exclusive=True)

    def path(self, digest: Digest) -> str:
        """The path of a blob, present or not."""
        return self.blobs.path(digest)

    # Reading

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None if it is absent. The cheapest lookup."""
        return self.blobs.size(digest)

    def open(self, desc: Descriptor, offset: int = 0, *, is_use: bool = True) -> OpenBlob:
        """The blob's bytes from `offset`, not verified. Raises NotFound, LocalFailure.

        Without `is_use` the read does not restart the blob's gc grace period.
        """
        return self.blobs.open(desc, offset, is_use=is_use)

    def open_verified(self, desc: Descriptor, *, is_use: bool = True) -> VerifiedReader:
        """The whole blob as a file; reading it to the end raises DataLoss unless size and digest match.

        Raises NotFound, Unsupported for a digest algorithm that cannot be computed.
        """
        return open_verified(self.blobs, desc, is_use=is_use)

    def read(self, desc: Descriptor, limit: int, *, is_use: bool = True) -> bytes:
        """The whole blob, verified. Raises NotFound, DataLoss, LimitExceeded over `limit` bytes."""
        return read(self.blobs, desc, limit, is_use=is_use)

    def digests(self) -> Iterator[Digest]:
        """The digests of all blobs, in no order, including those whose file is not a regular file."""
        return self.blobs.digests()

    def info(self, digest: Digest) -> Info:
        """Size, times and labels of a blob. Raises NotFound."""
        found = self.blobs.stat(digest)
        if found is None:
            raise missing(digest)
        return _info(digest, found, self._labels_of(digest))

    def _labels_of(self, digest: Digest) -> Mapping[str, str]:
        try:
            return self.labels.of(digest)
        except LocalFailure as error:
            self.run.report(Notice("warning", str(error)))
            return {}

    def walk(self, select: Callable[[Info], bool] | None = None) -> Iterator[Info]:
        """Every blob for which `select` is true, in no order. Names in `blobs/` that are not digests are skipped."""
        try:
            labels = self.labels.everything()
        except LocalFailure as error:
            self.run.report(Notice("warning", str(error)))
            labels = {}
        for digest in self.blobs.digests():
            found = self.blobs.stat(digest)
            if found is not None:
                info = _info(digest, found, labels.get(str(digest), {}))
                if select is None or select(info):
                    yield info

    # Names

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a digest or of a name in `index.json`. Raises NotFound."""
        from dist_tool.store.resolve import resolve  # only to read names: most commands have a digest

        return resolve(self, object_id, hints)

    def entries(self) -> list[Descriptor]:
        """Every entry of `index.json`. Raises BadManifest, LocalFailure."""
        return self.index.entries()

    def find(self, object_id: str) -> Descriptor:
        """The descriptor of a digest or a name, without a lookup of the blob. Raises NotFound for an unknown name."""
        digest = as_digest(object_id)
        return self.index.find(object_id) if digest is None else Descriptor(digest)

    def remove(self, object_id: str) -> None:
        """Remove a blob by its digest, or a name. Raises NotFound."""
        digest = as_digest(object_id)
        if digest is None:
            self.untag(object_id)
        else:
            self.delete(digest)

    def tags(self) -> Iterator[str]:
        """Every reference name, in the order of `index.json`."""
        return self.index.names()

    def check_name(self, ref_name: str) -> None:
        """Check that a name can be recorded, before its blob is added. Raises InvalidArgument, BadManifest."""
        self.index.check(ref_name)

    def tag(self, ref_name: str, desc: Descriptor) -> None:
        """Point `ref_name` to `desc`, replacing its previous entries (behaviours F16).

        Concurrent calls by many processes all succeed. Raises NotFound if the blob is absent: a blob
        is added before the index names it.
        """
        self.prepare()
        with files.failing("cannot update index.json"), self.locked():
            found = self.blobs.stat(desc.digest)
            if found is None:
                raise missing(desc.digest)
            self.index.put(ref_name, desc, size=found.st_size)

    def untag(self, ref_name: str) -> Descriptor:
        """Remove a reference name; returns its previous descriptor. Raises NotFound."""
        self._must_exist(NotFound(f"{ref_name!r} is not in the store"))
        with files.failing("cannot update index.json"), self.locked():
            desc = self.index.find(ref_name)
            self.index.drop(ref_name)
        return desc

    # Writing

    def writer(self, ref: str, desc: Descriptor | None = None) -> DiskWriter:
        """Open or resume the write named `ref`.

        Raises InvalidArgument for an empty ref, AlreadyExists if `desc` is in the store, Locked
        while the ref has another writer, Unsupported for a digest algorithm that cannot be computed.
        """
        check_ref(ref)
        if desc is not None and desc.digest.algorithm not in VERIFIABLE:
            raise Unsupported(f"digest algorithm {desc.digest.algorithm!r} cannot be verified here")
        self.prepare()
        if desc is not None and self.claim(desc):
            raise AlreadyExists("the content is already in the store").with_facts(object_id=str(desc.digest))
        directory = IngestDirectory.of(self.root, ref)
        with files.failing("cannot start a write"):
            lock = self._lock_ingest(directory, ref, create=True)
            writer = DiskWriter(self.blobs, self.labels, directory, lock, desc)
            try:
                writer.open(ref)
                # The previous holder of the lock may have committed the same content.
                if desc is not None and self.claim(desc):
                    directory.remove()
                    raise AlreadyExists("the content is already in the store").with_facts(object_id=str(desc.digest))
            except BaseException:
                writer.abandon()
                raise
        return writer

    def claim(self, desc: Descriptor) -> bool:
        """Restart the gc grace period of a blob and make it durable; False if it is absent.

        For callers that skip a fetch because the blob exists, and name the blob next.
        """
        return self.blobs.claim(desc)

    def _lock_ingest(self, directory: IngestDirectory, ref: str, *, create: bool) -> int:
        for _ in range(_LOCK_TRIES):
            lock = locks.try_ingest(directory.path, create=create)
            if lock is not None:
                return lock
            self.run.sleep(_LOCK_PAUSE_S)
        raise Locked(
            f"another process is writing {ref!r}", hint="wait until it ends; `dist content active` shows its progress"
        )

    def delete(self, digest: Digest) -> None:
        """Remove a blob and its labels. Raises NotFound."""
        self._must_exist(missing(digest))
        with files.failing(f"cannot remove {digest}"), self.locked():
            # Labels first: a kill in between must not leave labels for content that is added again later.
            labels = self._labels_of(digest)
            self.forget_labels([digest])
            try:
                self.blobs.remove(digest)
            except OSError:
                if labels:
                    self.labels.set(digest, labels)
                raise

    def forget_labels(self, digests: Iterable[Digest]) -> None:
        """Remove the labels of removed blobs; reports a warning on failure. The caller holds the store's lock."""
        try:
            self.labels.forget(digests)
        except LocalFailure as error:
            self.run.report(Notice("warning", f"{error}; labels of removed blobs stay"))

    def check_labels(self, labels: Mapping[str, str]) -> None:
        """Check that labels can be set, before the blob is added. Raises InvalidArgument, LocalFailure."""
        self.labels.check(labels)

    def distrust(self, digest: Digest) -> None:
        """Treat a damaged blob as absent, in this object only, until a writer replaces it."""
        self.blobs.distrust(digest)

    def label(self, digest: Digest, labels: Mapping[str, str], *, replace: bool = False) -> Info:
        """Set labels; an empty value removes one; `replace` removes all others (behaviours F13).

        Raises NotFound; InvalidArgument for labels over 4096 bytes (behaviours F12).
        """
        self._must_exist(missing(digest))
        label_blob(self.blobs, self.labels, digest, labels, replace=replace)
        return self.info(digest)

    # Writes in flight

    def ingests(self) -> Iterator[IngestDirectory]:
        """The directories under `ingest/`, complete or not."""
        for name in files.names(os.path.join(self.root, "ingest")):
            yield IngestDirectory(os.path.join(self.root, "ingest", name))

    def statuses(self, select: Callable[[Status], bool] | None = None) -> Iterator[Status]:
        """Every write, in flight or abandoned, for which `select` is true. Writes that end meanwhile are skipped."""
        for directory in self.ingests():
            try:
                with files.failing("cannot read an ingest"):
                    status = directory.status()
            except LocalFailure as error:
                if not isinstance(error.__cause__, PermissionError):
                    raise
                self.run.report(Notice("warning", f"{directory.path} belongs to another user; skipped"))
                continue
            if status is not None:
                status = status._replace(active=locks.is_held(directory.path))
                if select is None or select(status):
                    yield status

    def status(self, ref: str) -> Status:
        """The state of one write. Raises NotFound."""
        directory = IngestDirectory.of(self.root, ref)
        with files.failing("cannot read an ingest"):
            status = directory.status()
        if status is None:
            raise NotFound(f"no write named {ref!r}")
        return status._replace(active=locks.is_held(directory.path))

    def abort(self, ref: str) -> None:
        """Remove a write and its data. Raises NotFound; Locked while it has a writer."""
        check_ref(ref)
        directory = IngestDirectory.of(self.root, ref)
        with files.failing(f"cannot abort {ref!r}"):
            try:
                lock = self._lock_ingest(directory, ref, create=False)
            except (FileNotFoundError, NotADirectoryError):
                raise NotFound(f"no write named {ref!r}") from None
            try:
                directory.remove()
            finally:
                os.close(lock)

    # The directory itself

    def _must_exist(self, error: DistError) -> None:
        """Raise `error` if the store does not exist, instead of creating an empty one for a change."""
        if not os.path.isdir(self.root):
            raise error
        self.prepare()

    def prepare(self) -> None:
        """Create the store, or check that the directory is one. Raises as `layout.prepare`. Idempotent."""
        if not self._prepared:
            layout.prepare(self.root, self.index)
            self._prepared = True


def _info(digest: Digest, found: os.stat_result, labels: Mapping[str, str]) -> Info:
    return Info(digest, found.st_size, found.st_mtime_ns / 1e9, info_time(found), labels)
