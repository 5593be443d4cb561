"""In-memory store, for tests and for content that need not outlive the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from threading import RLock
from typing import TYPE_CHECKING

from dist_tool.api import Info, Status
from dist_tool.errors import AlreadyExists, DigestMismatch, Locked, NotFound, SizeMismatch, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import VERIFIABLE, Digest, new_hasher
from dist_tool.oci.layout import REF_NAME
from dist_tool.store.blobs import missing
from dist_tool.store.index import check_name, find_entry, named_entry
from dist_tool.store.ingest import check_ref
from dist_tool.store.labels import check
from dist_tool.store.resolve import resolve
from dist_tool.stream.body import Body

if TYPE_CHECKING:
    from hashlib import _Hash
    from typing import Self


@dataclass(slots=True)
class _Blob:
    content: bytes
    created_at: float
    updated_at: float
    labels: dict[str, str] = field(default_factory=dict)
    trusted: bool = True

    def info(self, digest: Digest) -> Info:
        return Info(digest, len(self.content), self.created_at, self.updated_at, dict(self.labels))


@dataclass(slots=True)
class _Ingest:
    """The bytes written under one ref, and their hash so far."""

    ref: str
    algorithm: str
    hasher: _Hash
    content: BytesIO
    started_at: float
    updated_at: float
    total: int = 0
    active: bool = False

    @classmethod
    def begin(cls, ref: str, algorithm: str, total: int) -> _Ingest:
        now = time.time()
        return cls(ref, algorithm, new_hasher(algorithm), BytesIO(), now, now, total)

    @property
    def offset(self) -> int:
        return self.content.tell()

    def status(self) -> Status:
        return Status(self.ref, self.offset, self.total, self.started_at, self.updated_at, self.active)

    def append(self, data: memoryview) -> None:
        self.content.write(data)
        self.hasher.update(data)
        self.updated_at = time.time()

    def truncate(self) -> None:
        self.content = BytesIO()
        self.hasher = new_hasher(self.algorithm)

    def digest_as(self, algorithm: str) -> Digest:
        """The digest of all bytes; they are hashed again if the algorithm changes."""
        if algorithm != self.algorithm:
            self.algorithm, self.hasher = algorithm, new_hasher(algorithm)
            self.hasher.update(self.content.getbuffer())
        return Digest(algorithm, self.hasher.hexdigest())


class MemoryStore:
    """An `api.NamedStore` in memory. Safe for many threads; a ref has one writer at a time."""

    def __init__(self) -> None:
        self._lock = RLock()  # for the tables; the bytes of an ingest belong to its writer
        self._blobs: dict[Digest, _Blob] = {}
        self._ingests: dict[str, _Ingest] = {}
        self._entries: list[Descriptor] = []

    # Blobs

    def _find(self, digest: Digest) -> _Blob:
        blob = self._blobs.get(digest)
        if blob is None or not blob.trusted:
            raise missing(digest)
        return blob

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None if it is absent."""
        with self._lock:
            blob = self._blobs.get(digest)
            return len(blob.content) if blob and blob.trusted else None

    def open(self, desc: Descriptor, offset: int = 0, *, is_use: bool = True) -> Body:
        """The blob's bytes from `offset`, not verified. Raises NotFound."""
        with self._lock:
            blob = self._blobs.get(desc.digest)  # also if not trusted: verification then fails
            if blob is None:
                raise missing(desc.digest)
            if is_use:
                blob.updated_at = time.time()
        file = BytesIO(blob.content)  # shares the bytes
        file.seek(offset)
        return Body(file, offset=offset, total=len(blob.content), source="the store")

    def claim(self, desc: Descriptor) -> bool:
        """Mark a blob as used; False if it is absent or of another size."""
        with self._lock:
            size = self.size(desc.digest)
            if size is None or desc.size not in (None, size):
                return False
            self._blobs[desc.digest].updated_at = time.time()
            return True

    def distrust(self, digest: Digest) -> None:
        """Treat a blob that was found damaged as absent until it is written again."""
        with self._lock:
            if digest in self._blobs:
                self._blobs[digest].trusted = False

    def info(self, digest: Digest) -> Info:
        """Size, times and labels of a blob. Raises NotFound."""
        with self._lock:
            return self._find(digest).info(digest)

    def digests(self) -> Iterator[Digest]:
        """The digests of all blobs, in no order."""
        with self._lock:
            return iter([digest for digest, blob in self._blobs.items() if blob.trusted])

    def walk(self, select: Callable[[Info], bool] | None = None) -> Iterator[Info]:
        """Every blob for which `select` is true, in no order."""
        with self._lock:
            infos = [self._blobs[digest].info(digest) for digest in self.digests()]
        return iter(infos) if select is None else filter(select, infos)

    def label(self, digest: Digest, labels: Mapping[str, str], *, replace: bool = False) -> Info:
        """Set labels; an empty value removes one; `replace` removes all others. Raises NotFound, InvalidArgument."""
        with self._lock:
            blob = self._find(digest)
            check(labels)
            merged = {**({} if replace else blob.labels), **labels}
            blob.labels = {key: value for key, value in merged.items() if value}
            blob.updated_at = time.time()
            return blob.info(digest)

    def delete(self, digest: Digest) -> None:
        """Remove a blob and its labels. Raises NotFound."""
        with self._lock:
            if self._blobs.pop(digest, None) is None:
                raise missing(digest)

    # Names

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a digest or of a name. Raises NotFound."""
        return resolve(self, object_id, hints)

    def entries(self) -> list[Descriptor]:
        """The descriptors of all names, in the order they were added."""
        with self._lock:
            return list(self._entries)

    def tags(self) -> Iterator[str]:
        """Every name, in the order they were added."""
        return iter([entry.annotations[REF_NAME] for entry in self.entries()])

    def check_name(self, ref_name: str) -> None:
        """Raise InvalidArgument unless the name can be recorded."""
        check_name(ref_name)

    def tag(self, ref_name: str, desc: Descriptor) -> None:
        """Point `ref_name` to `desc`, replacing its previous entry. Raises NotFound, InvalidArgument."""
        with self._lock:
            entry = named_entry(ref_name, desc, len(self._find(desc.digest).content))
            check_name(ref_name)
            self._entries = [*self._without(ref_name), entry]

    def untag(self, ref_name: str) -> Descriptor:
        """Remove a name; returns its previous descriptor. Raises NotFound."""
        with self._lock:
            entry = find_entry(self._entries, ref_name)
            self._entries = self._without(ref_name)
            return entry

    def _without(self, ref_name: str) -> list[Descriptor]:
        return [entry for entry in self._entries if entry.annotations[REF_NAME] != ref_name]

    # Writes in flight

    def writer(self, ref: str, desc: Descriptor | None = None) -> MemoryWriter:
        """Open or resume the write named `ref`. Raises as `api.Ingester.writer`."""
        check_ref(ref)
        algorithm = desc.digest.algorithm if desc else "sha256"
        if algorithm not in VERIFIABLE:
            raise Unsupported(f"digest algorithm {algorithm!r} cannot be verified here")
        with self._lock:
            if desc is not None and self.claim(desc):
                raise AlreadyExists("the content is already in the store").with_facts(object_id=str(desc.digest))
            ingest = self._ingests.get(ref)
            if ingest is not None and ingest.active:
                raise Locked(f"another writer has {ref!r}", hint="wait until it is closed")
            total = desc.size or 0 if desc else 0
            if ingest is None or (total and ingest.total and total != ingest.total):
                ingest = self._ingests[ref] = _Ingest.begin(ref, algorithm, total)
            ingest.active = True
        try:
            return MemoryWriter(self, ingest, desc)
        except BaseException:
            ingest.active = False
            raise

    def status(self, ref: str) -> Status:
        """The state of one write. Raises NotFound."""
        with self._lock:
            return self._ingest(ref).status()

    def _ingest(self, ref: str) -> _Ingest:
        try:
            return self._ingests[ref]
        except KeyError:
            raise NotFound(f"no write named {ref!r}") from None

    def statuses(self, select: Callable[[Status], bool] | None = None) -> Iterator[Status]:
        """Every write, in flight or abandoned, for which `select` is true."""
        with self._lock:
            found = [ingest.status() for ingest in self._ingests.values()]
        return iter(found) if select is None else filter(select, found)

    def abort(self, ref: str) -> None:
        """Remove a write and its data. Raises NotFound; Locked while it has a writer."""
        check_ref(ref)
        with self._lock:
            if self._ingest(ref).active:
                raise Locked(f"another writer has {ref!r}", hint="wait until it is closed")
            del self._ingests[ref]

    def _release(self, ingest: _Ingest, *, keep: bool) -> None:
        with self._lock:
            ingest.active = False
            if not keep:
                self._ingests.pop(ingest.ref, None)

    def _publish(self, digest: Digest, content: bytes, labels: Mapping[str, str] | None) -> None:
        """Add a blob. An existing one is replaced and keeps its labels; AlreadyExists is raised after that."""
        now = time.time()
        with self._lock:
            replaced = self._blobs.get(digest)
            blob = self._blobs[digest] = _Blob(content, now, now, replaced.labels if replaced else {})
            if replaced is not None and replaced.trusted:
                raise AlreadyExists("the content is already in the store").with_facts(object_id=str(digest))
            if labels:
                blob.labels = {key: value for key, value in labels.items() if value}


class MemoryWriter:
    """An `api.Writer` of a `MemoryStore`. For one thread at a time."""

    def __init__(self, store: MemoryStore, ingest: _Ingest, desc: Descriptor | None) -> None:
        self._store = store
        self._ingest = ingest
        self._desc = desc
        self._closed = False
        total = desc.size or 0 if desc else 0
        # The total of an earlier session applies only if this one has no digest.
        self._limit = total or (0 if desc else ingest.total)
        actual = ingest.digest_as(desc.digest.algorithm if desc else "sha256")
        if self._limit and (
            ingest.offset > self._limit or (ingest.offset == self._limit and desc and desc.digest != actual)
        ):
            ingest.truncate()
        if total:
            self.expect(total)

    @property
    def offset(self) -> int:
        """Bytes written so far, those of an earlier session included."""
        return self._ingest.offset

    def digest(self) -> Digest:
        """The digest of the bytes written so far."""
        return self._ingest.digest_as(self._ingest.algorithm)

    def status(self) -> Status:
        """The state of the write."""
        return self._ingest.status()

    def expect(self, total: int) -> None:
        """Set the expected size in bytes, 0 for none."""
        self._limit = self._ingest.total = total

    def write(self, data: bytes | memoryview, /) -> int:
        """Append all of `data`. Raises SizeMismatch, and drops all bytes, if there are more than expected."""
        self._check_open("write to")
        view = memoryview(data).cast("B")
        if self._limit and self.offset + len(view) > self._limit:
            self.truncate()
            raise SizeMismatch(f"more than the expected {self._limit} bytes arrived")
        self._ingest.append(view)
        return len(view)

    def truncate(self) -> None:
        """Drop all bytes and restart at byte 0."""
        self._ingest.truncate()

    def commit(self, desc: Descriptor | None = None, *, labels: Mapping[str, str] | None = None) -> Descriptor:
        """Verify, publish atomically and close. Raises as `api.Writer.commit`."""
        self._check_open("commit of")
        expected, keep = desc or self._desc, True
        try:
            check(labels or {})
            size = expected.size if expected and expected.size is not None else self._limit or None
            if size is not None and self.offset < size:
                raise SizeMismatch(f"{self.offset} bytes were written, expected {size}")
            keep = False  # wrong content would fail every later commit too
            digest = self._verified(expected, size)
            self._store._publish(digest, self._ingest.content.getvalue(), labels)
        finally:
            self._end(keep=keep)
        return Descriptor(digest, self.offset, expected.media_type) if expected else Descriptor(digest, self.offset)

    def _verified(self, expected: Descriptor | None, size: int | None) -> Digest:
        if size is not None and self.offset > size:
            raise SizeMismatch(f"{self.offset} bytes were written, expected {size}")
        if expected is None:
            return self.digest()
        actual = self._ingest.digest_as(expected.digest.algorithm)
        if actual != expected.digest:
            raise DigestMismatch(f"wrong content: expected {expected.digest}, got {actual} ({self.offset} bytes)")
        return actual

    def close(self) -> None:
        """Release the ref; the bytes stay for a later session. Idempotent."""
        self._end(keep=self.offset > 0)

    def _end(self, *, keep: bool) -> None:
        if not self._closed:
            self._closed = True
            self._store._release(self._ingest, keep=keep)

    def _check_open(self, action: str) -> None:
        if self._closed:
            raise ValueError(f"{action} a closed writer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
