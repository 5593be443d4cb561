"""Protocols of remotes and stores. No logic.

A plugin implements `Resolver` and `Fetcher`. All other protocols are optional and checked with
isinstance. A plugin's open methods may return a plain binary file instead of a `Body`:
`remotes.table` adapts it. Raw bytes never reach a user: `transfer.repository` verifies the bytes
that are read, and `Writer.commit` those that were written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest

if TYPE_CHECKING:
    from typing import Self

    from dist_tool.stream.body import Body


class Cut(NamedTuple):
    """A cut: the offset at which the bytes of a name ended early, and the `validator` of that body."""

    offset: int
    validator: str


@runtime_checkable
class Resolver(Protocol):
    """Resolves names to descriptors."""

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a tag, digest or other name in this remote.

        The descriptor always has a digest. With `hints.content` it may include the content in
        `data`, and a digest resolves to itself without a request. Unknown hints are ignored.
        Raises InvalidArgument, NotFound, NoDigest if the remote cannot determine a digest, and
        transport errors.
        """


@runtime_checkable
class Fetcher(Protocol):
    """Reads objects, unverified."""

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The object's bytes from `offset`.

        The body may begin earlier, see `Body.offset`. An offset at or past the end yields no bytes.
        The size and media type of `desc` are hints. Raises NotFound.
        """


@runtime_checkable
class Remote(Resolver, Fetcher, Protocol):
    """The protocols that a plugin must implement."""


@runtime_checkable
class NamedFetcher(Protocol):
    """Reads names that have no known digest: their bytes cannot be verified."""

    def open_name(self, object_id: str, hints: Hints) -> Body:
        """The current content of the name. Raises NotFound."""


@runtime_checkable
class NamedResumer(NamedFetcher, Protocol):
    """Reopens a name at the offset at which a body was cut."""

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:
        """The content of the name from `cut.offset`, if it has not changed.

        If it has changed, or the remote cannot determine that, a `Body` that begins at 0: the
        caller compares it with the bytes read before. Raises NotFound.
        """


@runtime_checkable
class PathFetcher(Protocol):
    """Reads files by path, which is enough to serve an image layout."""

    def open_path(self, path: str, desc: Descriptor | None = None, offset: int = 0) -> Body:
        """The bytes of the file at `path` from `offset`, which is 0 unless `desc` is given.

        The body may begin earlier, see `Body.offset`. Raises NotFound.
        """


@runtime_checkable
class Listable(Protocol):
    """Lists tags."""

    def tags(self) -> Iterator[str]:
        """Every tag (in a layout: reference name), in the order of the remote."""


@runtime_checkable
class Referring(Protocol):
    """Lists the manifests that refer to a subject (distribution-spec, "Listing Referrers")."""

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """The descriptors of manifests whose `subject` is this digest; an empty result is not an error."""


@runtime_checkable
class Closable(Protocol):
    """Holds connections or files."""

    def close(self) -> None:
        """Close them."""


class Info(NamedTuple):
    """A committed blob. Times are seconds since the epoch."""

    digest: Digest
    size: int
    created_at: float
    updated_at: float
    labels: Mapping[str, str] = {}


class Status(NamedTuple):
    """A write in flight. `total` is 0 if no size is expected; times are seconds since the epoch."""

    ref: str
    offset: int
    total: int
    started_at: float
    updated_at: float
    active: bool = False


@runtime_checkable
class Writer(Protocol):
    """One write in flight (containerd's `content.Writer`). Nothing is visible before `commit`.

    A context manager that closes at the end of the block. For one thread at a time. After a failed
    write only `close` may be called; `write` and `commit` of a closed writer raise ValueError.
    """

    @property
    def offset(self) -> int:
        """Bytes written so far, including those of an earlier session."""

    def digest(self) -> Digest:
        """The digest of the bytes written so far; after `commit`, that of the blob.

        Its algorithm is that of the expected digest, else sha256.
        """

    def status(self) -> Status:
        """The state of the write."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Append all of `data`; returns its size in bytes. The buffer may be reused at once.

        Raises SizeMismatch, and drops the bytes written, if there are more than expected;
        LocalFailure for a full disk and similar errors.
        """

    def truncate(self) -> None:
        """Drop the bytes written and restart at byte 0."""

    def expect(self, total: int) -> None:
        """Set the expected size in bytes, 0 for none; the last call wins.

        It is stored with the ref: a later writer opened without a descriptor has it too.
        """

    def commit(self, desc: Descriptor | None = None, *, labels: Mapping[str, str] | None = None) -> Descriptor:
        """Verify, publish atomically and close. Returns the digest and size that were written.

        `desc` replaces the one passed to `Ingester.writer`; if it has no size, that of `expect` is
        checked. `labels` replace all labels of the blob.

        Raises SizeMismatch if there are fewer bytes than expected: the transfer may have been cut, so
        the bytes stay for a later session. Raises SizeMismatch or DigestMismatch for any other
        mismatch, AlreadyExists (its `object_id` is the digest) if the content exists; both
        remove the write. Raises InvalidArgument for labels that cannot be set, before anything
        is published.
        """

    def close(self) -> None:
        """Release the ref without a commit; the bytes stay for a later session. Idempotent.

        A write without bytes is removed.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


@runtime_checkable
class Ingester(Protocol):
    """Accepts content: a store, a registry's upload, a peer over gRPC."""

    def writer(self, ref: str, desc: Descriptor | None = None) -> Writer:
        """Open or resume the write named `ref`; `desc` is the expected content.

        The bytes of an earlier session are dropped if they cannot become `desc`: the expected size
        differs, there are too many bytes, or all bytes and a wrong digest.

        Raises InvalidArgument for an empty ref, AlreadyExists if `desc` exists, Locked while
        another writer holds the ref, Unsupported for a digest algorithm that cannot be computed.
        """


@runtime_checkable
class Store(Fetcher, Ingester, Protocol):
    """Content-addressed storage (containerd's `content.Store`). Safe for many threads."""

    # Blobs

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None if it is absent. The cheapest lookup."""

    def open(self, desc: Descriptor, offset: int = 0, *, is_use: bool = True) -> Body:
        """The blob's bytes from `offset`, not verified. Raises NotFound, LocalFailure.

        `is_use=False` reads without marking the blob as used, if the store can.
        """

    def claim(self, desc: Descriptor) -> bool:
        """Mark a blob as used and make it durable; False if it is absent or of another size.

        Garbage collection keeps it for the grace period, so that it can be named.
        """

    def distrust(self, digest: Digest) -> None:
        """Treat a blob that was found damaged as absent until it is written again.

        In this process only. The labels stay; an absent blob is ignored.
        """

    def info(self, digest: Digest) -> Info:
        """Size, times and labels of a blob. Raises NotFound."""

    def walk(self, select: Callable[[Info], bool] | None = None) -> Iterator[Info]:
        """Every blob for which `select` is true, in no particular order."""

    def label(self, digest: Digest, labels: Mapping[str, str], *, replace: bool = False) -> Info:
        """Update labels; an empty value removes one. With `replace`, `labels` replace all labels.

        Marks the blob as used. Raises NotFound; InvalidArgument for an empty key and for labels
        over 4096 bytes. Labels are read with `info`.
        """

    def delete(self, digest: Digest) -> None:
        """Remove a blob and its labels. Raises NotFound."""

    # Writes in flight

    def status(self, ref: str) -> Status:
        """The state of one write. Raises NotFound."""

    def statuses(self, select: Callable[[Status], bool] | None = None) -> Iterator[Status]:
        """Every write, in flight or abandoned, for which `select` is true."""

    def abort(self, ref: str) -> None:
        """Remove a write and its bytes. Raises NotFound; Locked while it has a writer."""


@runtime_checkable
class Namer(Resolver, Listable, Protocol):
    """Maps names to descriptors (image layout, `org.opencontainers.image.ref.name`)."""

    def entries(self) -> list[Descriptor]:
        """The named descriptors, in order, each with its name as an annotation. Raises BadManifest."""

    def tag(self, ref_name: str, desc: Descriptor) -> None:
        """Point `ref_name` to `desc`, replacing its current descriptor.

        Raises NotFound if the blob is absent, and as `check_name`.
        """

    def untag(self, ref_name: str) -> Descriptor:
        """Remove a name; returns its descriptor. Raises NotFound."""

    def check_name(self, ref_name: str) -> None:
        """Check that a name can be recorded, before its blob is added.

        Raises InvalidArgument unless it is 1 to 4096 printable characters, BadManifest if the
        records are damaged.
        """


@runtime_checkable
class NamedStore(Store, Namer, Protocol):
    """A store whose objects can be named."""
