"""The protocols between the parts: what a remote gives, what a store promises. No logic.

A plugin gives `Resolver` and `Fetcher`. Everything else is a further power, asked for with
isinstance. A plugin's open methods may return a plain binary file where these return a `Body`:
`remotes.table` adapts it. Raw bytes never reach a user: `transfer.fetch` verifies what it reads, and
`Writer.commit` what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest

if TYPE_CHECKING:
    from dist_tool.errors import DistError
    from dist_tool.stream.body import Body

_T = TypeVar("_T")


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


class Search(Protocol):
    """The places of one object, for one transfer and one thread."""

    def open(self, offset: int) -> Body:
        """The object's bytes from `offset`, from a place that gives them; see `Fetcher.open`."""

    def reject(self, error: DistError) -> None:
        """What `open` gave came to `error`. Returns where the object can be asked for again, from its beginning.

        Raises what is to be told to the user where it cannot.
        """


@runtime_checkable
class Alternatives(Protocol):
    """Has more than one place for an object."""

    def search(self, desc: Descriptor) -> Search:
        """The places of an object whose digest is known."""

    def first(self, ask: Callable[[Remote], _T]) -> _T:
        """What `ask` comes to at the first place, of those that may say what a name means, where it does not raise.

        Raises the last place's error.
        """


@runtime_checkable
class Closable(Protocol):
    """Holds connections or files."""

    def close(self) -> None:
        """Let go of them."""


@runtime_checkable
class Writer(Protocol):
    """One write in flight. Nothing is visible before commit."""

    @property
    def offset(self) -> int:
        """Bytes written so far, those of an earlier session included."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Append; returns the number of bytes, always all of them."""

    def commit(self, desc: Descriptor | None = None) -> Descriptor:
        """Verify, publish atomically and close. Returns the digest and size that were written.

        Raises SizeMismatch where there is less than expected: that may have been a cut, and stays
        for a later session. Raises SizeMismatch or DigestMismatch for all other disagreement with
        `desc` (or that of the opening), AlreadyExists where the content is there: then nothing
        of the write remains.
        """

    def close(self) -> None:
        """Let go without commit; what is written stays for a later session."""


@runtime_checkable
class Ingester(Protocol):
    """Takes content in: a store, a registry's upload, a peer over gRPC."""

    def writer(self, ref: str, desc: Descriptor | None = None) -> Writer:
        """Open or resume the write named `ref`.

        Raises InvalidArgument for an empty ref, AlreadyExists where `desc` is there, Locked
        while another process writes it.
        """


class Info(NamedTuple):
    """A committed blob. Times are seconds since the epoch."""

    digest: Digest
    size: int
    created_at: float
    updated_at: float
    labels: Mapping[str, str] = {}


class Status(NamedTuple):
    """A write in flight. `total` is 0 where nobody said; times are seconds since the epoch."""

    ref: str
    offset: int
    total: int
    started_at: float
    updated_at: float
    active: bool = False


@runtime_checkable
class Store(Fetcher, Ingester, Protocol):
    """Content-addressed storage."""

    def info(self, digest: Digest) -> Info:
        """What is known of a blob. Raises NotFound."""

    def walk(self) -> Iterator[Info]:
        """Every blob, in no order."""

    def delete(self, digest: Digest) -> None:
        """Remove a blob. Raises NotFound."""

    def statuses(self) -> Iterator[Status]:
        """Every write in flight or abandoned."""

    def abort(self, ref: str) -> None:
        """Drop a write and what it wrote. Raises NotFound; Locked while it is being written."""
