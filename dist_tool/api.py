"""The protocols between the parts: what a remote gives, what a store promises. No logic.

A plugin gives `Resolver` and `Fetcher`. Everything else is a further power, asked for with
isinstance. A plugin's open methods may return a plain binary file where these return a `Body`:
`remotes.table` adapts it. Raw bytes never reach a user: `transfer.fetch` verifies what it reads, and
`Writer.commit` what was written.
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
    """Where the bytes of a name ended too early, and the `validator` of the body that held them."""

    offset: int
    validator: str


@runtime_checkable
class Resolver(Protocol):
    """Knows which object a name means."""

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a tag, digest or other name of this remote's.

        The digest is always known. With `hints.content` the content may come along in `data`.
        A digest resolves to itself, without asking anybody where `hints.content` is set.
        Unknown hints are ignored. Raises InvalidArgument, NotFound, NoDigest where the remote
        cannot know a digest, and what the way there may raise.
        """


@runtime_checkable
class Fetcher(Protocol):
    """Gives the bytes of objects, unverified."""

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The object's bytes from `offset`.

        The body may begin earlier, see `Body.offset`. An offset at or past the end gives no bytes.
        Size and media type of `desc` are advice. Raises NotFound.
        """


@runtime_checkable
class Remote(Resolver, Fetcher, Protocol):
    """All that a plugin must give."""


@runtime_checkable
class NamedFetcher(Protocol):
    """Gives the bytes of names for which no digest is known: nothing can verify them."""

    def open_name(self, object_id: str, hints: Hints) -> Body:
        """The bytes that the name means now. Raises NotFound."""


@runtime_checkable
class NamedResumer(NamedFetcher, Protocol):
    """Opens a name again where a body was cut."""

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:
        """The bytes of the name from `cut.offset` on, if it still is what it was.

        If it is not, or nobody can tell, a `Body` that begins at 0: then what was read before is
        compared with it. Raises NotFound.
        """


@runtime_checkable
class PathFetcher(Protocol):
    """Serves files by path, which is enough to hold an image layout."""

    def open_path(self, path: str, desc: Descriptor | None = None, offset: int = 0) -> Body:
        """The bytes of the file at `path` from `offset`, which is 0 unless they are those of `desc`.

        The body may begin earlier, see `Body.offset`. Raises NotFound.
        """


@runtime_checkable
class Listable(Protocol):
    """Lists its tags."""

    def tags(self) -> Iterator[str]:
        """Every tag (in a layout: reference name), as the remote orders them."""


@runtime_checkable
class Referring(Protocol):
    """Knows which manifests refer to a subject (distribution-spec, "Listing Referrers")."""

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Descriptors of manifests whose `subject` is this digest; none is not an error."""


@runtime_checkable
class Closable(Protocol):
    """Holds connections or files."""

    def close(self) -> None:
        """Let go of them."""


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

    A context manager: the end of the block closes. For one thread at a time. After a failed
    write only `close` is of use; `write` and `commit` of a closed writer raise ValueError.
    """

    @property
    def offset(self) -> int:
        """Bytes written so far, those of an earlier session included."""

    def digest(self) -> Digest:
        """The digest of the bytes written so far; after `commit`, that of the blob.

        Its algorithm is that of the expected digest, else sha256.
        """

    def status(self) -> Status:
        """The state of the write."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Append all of `data`; returns its size in bytes. The buffer may be reused at once.

        Raises SizeMismatch, and drops what was written, if it becomes more than expected;
        LocalFailure for a full disk and the like.
        """

    def truncate(self) -> None:
        """Drop what was written and begin again at byte 0."""

    def expect(self, total: int) -> None:
        """Set the expected size in bytes, 0 for none; the last call counts.

        It stays with the ref: a later writer that is opened without a descriptor has it too.
        """

    def commit(self, desc: Descriptor | None = None, *, labels: Mapping[str, str] | None = None) -> Descriptor:
        """Verify, publish atomically and close. Returns the digest and size that were written.

        `desc` replaces the one of the opening; without a size in it that of `expect` is checked.
        `labels` become all labels of the blob.

        Raises SizeMismatch if there is less than expected: the transfer may have been cut, so
        the bytes stay for a later session. Raises SizeMismatch or DigestMismatch for any other
        disagreement, AlreadyExists (its `object_id` is the digest) if the content is there:
        nothing of the write remains then. Raises InvalidArgument for labels that cannot be set,
        before anything is published.
        """

    def close(self) -> None:
        """Release the ref without a commit; the bytes stay for a later session. Idempotent.

        A write without bytes leaves nothing.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


@runtime_checkable
class Ingester(Protocol):
    """Accepts content: a store, a registry's upload, a peer over gRPC."""

    def writer(self, ref: str, desc: Descriptor | None = None) -> Writer:
        """Open or resume the write named `ref`; `desc` is the expected content.

        The bytes of an earlier session are dropped if they cannot become `desc`: another total
        was expected, there are too many, or all of them and wrong ones.

        Raises InvalidArgument for an empty ref, AlreadyExists if `desc` is there, Locked while
        another writer has the ref, Unsupported for a digest algorithm that cannot be computed.
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

        Garbage collection spares it for its grace period, so it can be named.
        """

    def distrust(self, digest: Digest) -> None:
        """Treat a blob that was found damaged as absent until it is written again.

        In this process only. Its labels stay; an absent blob is ignored.
        """

    def info(self, digest: Digest) -> Info:
        """Size, times and labels of a blob. Raises NotFound."""

    def walk(self, select: Callable[[Info], bool] | None = None) -> Iterator[Info]:
        """Every blob for which `select` is true, in no order."""

    def label(self, digest: Digest, labels: Mapping[str, str], *, replace: bool = False) -> Info:
        """Update labels, an empty value removing one; with `replace` they become all labels.

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
    """Records what names mean (image layout, `org.opencontainers.image.ref.name`)."""

    def entries(self) -> list[Descriptor]:
        """The descriptors that names mean, in order, the name among the annotations.

        Raises BadManifest.
        """

    def tag(self, ref_name: str, desc: Descriptor) -> None:
        """Make `ref_name` mean `desc`, in place of what it meant.

        Raises NotFound if the blob is absent, and as `check_name`.
        """

    def untag(self, ref_name: str) -> Descriptor:
        """Remove a name; returns what it meant. Raises NotFound."""

    def check_name(self, ref_name: str) -> None:
        """Check that a name can be recorded, before its blob is added.

        Raises InvalidArgument unless it is 1 to 4096 printable characters, BadManifest if the
        records are damaged.
        """


@runtime_checkable
class NamedStore(Store, Namer, Protocol):
    """A store with names for what is in it."""
