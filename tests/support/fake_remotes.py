"""Fake remotes in memory: sound, failing, cut or corrupt ones, and mirrors made of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

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


class FakeRemote:
    """A remote that serves `data` for every object, or fails with `error`.

    The first `cuts` bodies end at `cut_at`. `declares_size`: bodies have a `total`;
    `supports_ranges`: bodies begin at the requested offset, else at 0. Every name resolves to
    `tag`; without it NoDigest is raised. `requests` are the names and offsets requested.
    """

    def __init__(
        self,
        data: bytes = b"",
        *,
        error: DistError | None = None,
        cut_at: int | None = None,
        cuts: int = 1000,
        declares_size: bool = True,
        supports_ranges: bool = True,
        tag: Descriptor | None = None,
    ) -> None:
        self.data, self.error, self.tag = data, error, tag
        self.cut_at, self.cuts = cut_at, cuts
        self.declares_size, self.supports_ranges = declares_size, supports_ranges
        self.requests: list[object] = []
        self.closed = False

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        self.requests.append(object_id)
        if self.error:
            raise self.error
        digest = as_digest(object_id)
        if digest is not None:
            return Descriptor(digest, len(self.data))
        if self.tag is None:
            raise NoDigest("the digest is not known before the content is read")
        return self.tag

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        return self.body(offset)

    def body(self, offset: int) -> Body:
        """The content from `offset`."""
        self.requests.append(offset)
        if self.error:
            raise self.error
        start = offset if self.supports_ranges else 0
        self.cuts -= 1
        end = len(self.data) if self.cuts < 0 or self.cut_at is None else self.cut_at
        total = len(self.data) if self.declares_size else None
        return Body(io.BytesIO(self.data[start : max(start, end)]), offset=start, total=total, source="fake")

    def tags(self) -> Iterator[str]:
        return iter(["v1"])

    def close(self) -> None:
        self.closed = True


class FakeNameRemote(FakeRemote):
    """A remote of names without digests. It resumes a cut body if `is_unchanged`."""

    is_unchanged = True

    def open_name(self, object_id: str, hints: Hints) -> Body:
        body = self.body(0)
        body.validator = "v1"
        return body

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:
        return self.body(cut.offset if self.is_unchanged else 0)


def corrupt_remote(blob: Blob) -> FakeRemote:
    """A remote that serves wrong content of the right size."""
    return FakeRemote(random_bytes("lie", len(blob.data)))


def options(attempts: int = 5, waits: list[float] | None = None, notices: list[Notice] | None = None) -> FetchOptions:
    """Fetch options without real waits, which are appended to `waits` in seconds."""
    recorded_waits: list[float] = [] if waits is None else waits
    recorded: list[Notice] = [] if notices is None else notices
    return FetchOptions(
        Retry(attempts=attempts), run=Run(recorded.append, pause=recorded_waits.append, random=lambda: 0.0)
    )


def mirrored(
    *remotes: FakeRemote | FakeObjectRemote,
    notices: list[Notice] | None = None,
    capabilities: Sequence[tuple[str, ...]] = (),
) -> MirroredRemote:
    """The remotes as mirrors named `mirror 0`, `mirror 1` and so on."""
    allowed = capabilities or [ALL] * len(remotes)
    mirrors = [
        Mirror(f"mirror {number}", lambda remote=remote: remote, allowed[number])  # type: ignore[misc]
        for number, remote in enumerate(remotes)
    ]
    return MirroredRemote(mirrors, Run(notices.append) if notices is not None else NO_RUN)


class FakeObjectRemote:
    """A thread-safe remote of many objects. `wrong` maps digests to the wrong content served for them."""

    def __init__(self, blobs: Iterable[Blob], wrong: Mapping[Digest, bytes] | None = None) -> None:
        self._contents = {blob.digest: blob.data for blob in blobs} | dict(wrong or {})
        self.requests: list[Digest] = []

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        digest = as_digest(object_id)
        assert digest is not None
        return Descriptor(digest, len(self._contents[digest]))

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        self.requests.append(desc.digest)
        data = self._contents[desc.digest]
        return Body(io.BytesIO(data[offset:]), offset=offset, total=len(data), source="fake")
