"""Places in memory that are sound, dead, dying or lying, and several of them behind one name."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from dist_tool.api import Cut
from dist_tool.errors import DistError, NoDigest
from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.mirrors.mirror import Mirror
from dist_tool.remotes.mirrors.remote import MirroredRemote
from dist_tool.run import NO_RUN, Notice, Run
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Retry
from dist_tool.transfer.opening import FetchOptions
from support.content import Blob, random_bytes

PULL, ALL = ("pull",), ("pull", "resolve", "referrers")


class Source:
    """A place that gives `data`, or fails with `error`.

    The first `deaths` bodies end at `cut_at`. It tells the size where it `declares`, begins at
    the byte asked for where it has `ranges`. `tag` is what every name means, None for nothing.
    """

    def __init__(
        self,
        data: bytes = b"",
        *,
        error: DistError | None = None,
        cut_at: int | None = None,
        deaths: int = 1000,
        declares: bool = True,
        ranges: bool = True,
        tag: Descriptor | None = None,
    ) -> None:
        self.data, self.error, self.tag = data, error, tag
        self.cut_at, self.deaths = cut_at, deaths
        self.declares, self.ranges = declares, ranges
        self.asked: list[object] = []
        self.closed = False

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        self.asked.append(object_id)
        if self.error:
            raise self.error
        digest = as_digest(object_id)
        if digest is not None:
            return Descriptor(digest, len(self.data))
        if self.tag is None:
            raise NoDigest("only the bytes could tell")
        return self.tag

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        return self.body(offset)

    def body(self, offset: int) -> Body:
        """What is given from `offset` on."""
        self.asked.append(offset)
        if self.error:
            raise self.error
        start = offset if self.ranges else 0
        self.deaths -= 1
        end = len(self.data) if self.deaths < 0 or self.cut_at is None else self.cut_at
        total = len(self.data) if self.declares else None
        return Body(io.BytesIO(self.data[start : max(start, end)]), offset=start, total=total, source="source")

    def tags(self) -> Iterator[str]:
        return iter(["v1"])

    def close(self) -> None:
        self.closed = True


class Files(Source):
    """A place that gives the same bytes for every name, and can go on with them while `stands`."""

    stands = True

    def open_name(self, object_id: str, hints: Hints) -> Body:
        body = self.body(0)
        body.validator = "v1"
        return body

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:
        return self.body(cut.offset if self.stands else 0)


def liar(truth: Blob) -> Source:
    """A place that gives as many other bytes."""
    return Source(random_bytes("lie", len(truth.data)))


def options(attempts: int = 5, waits: list[float] | None = None, notices: list[Notice] | None = None) -> FetchOptions:
    """How to fetch without waiting; `waits` notes the seconds."""
    noted: list[float] = [] if waits is None else waits
    heard: list[Notice] = [] if notices is None else notices
    return FetchOptions(Retry(attempts=attempts), run=Run(heard.append, pause=noted.append, random=lambda: 0.0))


def _same(source: Source | Shelf) -> Source | Shelf:
    return source


def mirrored(
    *sources: Source | Shelf, notices: list[Notice] | None = None, capabilities: Sequence[tuple[str, ...]] = ()
) -> MirroredRemote:
    """The sources as `place 0`, `place 1` and so on."""
    able = capabilities or [ALL] * len(sources)
    places = [Mirror(f"place {number}", partial(_same, source), able[number]) for number, source in enumerate(sources)]
    return MirroredRemote(places, Run(notices.append) if notices is not None else NO_RUN)


class Shelf:
    """A place of many objects, for many threads. What `wrong` has is given in place of the right one."""

    def __init__(self, blobs: Iterable[Blob], wrong: Mapping[Digest, bytes] | None = None) -> None:
        self._contents = {blob.digest: blob.data for blob in blobs} | dict(wrong or {})
        self.asked: list[Digest] = []

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        digest = as_digest(object_id)
        assert digest is not None
        return Descriptor(digest, len(self._contents[digest]))

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        self.asked.append(desc.digest)
        data = self._contents[desc.digest]
        return Body(io.BytesIO(data[offset:]), offset=offset, total=len(data), source="shelf")
