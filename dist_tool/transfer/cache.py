"""Read-through cache of a repository: stored content is not requested, fetched content is stored."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from dist_tool.api import NamedStore
from dist_tool.errors import DataLoss, LocalFailure, NotFound, SizeMismatch
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import Reference, as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCTET_STREAM, is_manifest_like
from dist_tool.run import Notice
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.pump import Sink, pump
from dist_tool.stream.verify import VerifiedReader, Verifier
from dist_tool.transfer.copy import copy_object
from dist_tool.transfer.opening import FetchOptions
from dist_tool.transfer.repository import Repository, named

_NO_HINTS = Hints()
_TRIES = 5  # limit for fetching a blob again that was removed between its fetch and its use


class CachedRepository(Repository):
    """A repository with a store as its cache. A damaged blob in the store is fetched again and replaced.

    Nothing is written to a sink before the whole object is verified and stored. A blob is
    verified when it is first opened, so that damage can still be repaired; after that, readers
    verify the bytes that they read.
    """

    stored = True

    def __init__(self, repository: Repository, store: NamedStore) -> None:
        super().__init__(*repository.parts)
        self._store = store
        self._verified: set[Digest] = set()

    # Requests

    @named
    def resolve(self, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
        """The descriptor; a stored digest needs no request. See `api.Resolver`."""
        digest = as_digest(self._rules.request_for(object_id))
        size = self._store.size(digest) if digest is not None else None
        if digest is None or size is None or hints.size not in (None, size):
            return super().resolve(object_id, hints)
        self._rules.check(digest)
        # Without the size of the file: it may be damaged, and readers would require that size.
        return Descriptor(digest, hints.size, self._stored_type(digest, hints))

    def _stored_type(self, digest: Digest, hints: Hints) -> str:
        """The media type of a stored blob. `type:manifest` may mean an index, so the content is inspected."""
        from dist_tool.store.sniff import sniff

        if not hints.media_types and is_manifest_like(hints.media_type()):
            found = sniff(self._store, digest)
            if is_manifest_like(found):
                return found
        return hints.media_type() or OCTET_STREAM

    @named
    def locate(self, object_id: str, hints: Hints) -> Descriptor:
        """See `Repository.locate`. Also raises SizeMismatch if the stored object has another size than expected."""
        from dist_tool.store.verify import is_sound

        desc = super().locate(object_id, hints)
        size = self._store.size(desc.digest)
        if size is None or desc.size in (None, size):
            return desc
        if is_sound(self._store, desc.digest):
            raise SizeMismatch(f"{object_id} has {size} bytes, expected {desc.size}")
        self._store.distrust(desc.digest)  # damaged, so its size means nothing; it is replaced
        return desc

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of an object, which is stored first. Raises as `copy_object`."""
        return self._open(desc, offset, _NO_HINTS, self.options)

    def _open(self, desc: Descriptor, offset: int, hints: Hints, options: FetchOptions) -> Body:
        self._rules.check(desc.digest)
        for _ in range(_TRIES):
            found = self._store.size(desc.digest) is not None
            stored_desc = self.ensure_stored(desc, hints, options)
            try:
                unread = found and not offset and desc.digest not in self._verified
                damage = self._damage(stored_desc) if unread else None
                self._verified.add(desc.digest)
                if damage is None:
                    return self._store.open(stored_desc, offset)
            except NotFound:  # removed meanwhile, for example by gc without a grace period
                continue
            return self._store.open(self._refetch(desc, damage, hints))
        raise _removed(desc)

    def _damage(self, desc: Descriptor) -> DataLoss | None:
        """The error of a stored blob that does not match its digest, None if it is sound."""
        from dist_tool.store.verify import open_verified

        try:
            with open_verified(self._store, desc) as reader:
                while reader.read(CHUNK):
                    pass
        except DataLoss as error:
            return error
        return None

    # Operations

    def identify(self, object_id: str, hints: Hints = _NO_HINTS) -> Descriptor:
        """See `Repository.identify`. For a tag, the object is stored and the name recorded."""
        name = self._checked_name(object_id)
        desc = super().identify(object_id, hints)
        if name:
            desc = self.ensure_stored(desc, hints)
            self._store.tag(name, desc)
        return desc

    def _checked_name(self, object_id: str) -> str:
        """The name to record for a tag, "" for a digest: the full reference, so that remotes do not clash.

        It is checked before anything is fetched.
        """
        if not object_id or as_digest(object_id) is not None:
            return ""
        name = object_id  # names in a layout may be any text
        if self.locator.kind in ("", "registry"):
            name = str(Reference(Locator("", self.locator.rest), object_id))
        self._store.check_name(name)
        return name

    def ensure_stored(
        self, desc: Descriptor, hints: Hints = _NO_HINTS, options: FetchOptions | None = None
    ) -> Descriptor:
        """Fetch an object into the store unless it is there; returns the complete descriptor. See `copy_object`."""
        how = options or self.options
        sources = self.sources(desc, hints)
        return copy_object(sources, self._store, desc, how.run, retry=how.retry, limit=how.limit)

    def _refetch(self, desc: Descriptor, error: DataLoss, hints: Hints = _NO_HINTS) -> Descriptor:
        """Fetch a damaged blob again and replace it. Its names and labels stay."""
        text = f"the stored {desc.digest} is damaged ({error.what}); fetching it again"
        self.options.run.report(Notice("warning", text))
        # The expected size may come from the damaged file: then it is not required.
        size = None if desc.size == self._store.size(desc.digest) else desc.size
        self._store.distrust(desc.digest)
        return self.ensure_stored(replace(desc, size=size), hints)

    @named
    def open_known(
        self, desc: Descriptor, hints: Hints = _NO_HINTS, options: FetchOptions | None = None
    ) -> tuple[Descriptor, VerifiedReader]:
        """See `Repository.open_known`: the object is stored first."""
        body = self._open(desc, 0, hints, options or self.options)
        size = desc.size if desc.size is not None else self._store.size(desc.digest)
        return replace(desc, size=size), VerifiedReader(body, Verifier(desc.digest, size, source="the store"))

    @named
    def fetch_to(
        self, object_id: str, sink: Sink, hints: Hints = _NO_HINTS, options: FetchOptions | None = None
    ) -> Descriptor:
        """See `Repository.fetch_to`. The name of a tag is recorded. Raises NoDigest if a name has no known digest."""
        name = self._checked_name(object_id)
        desc = self.locate(object_id, hints._replace(content=not name))
        done = self.fetch_known(desc, sink, hints, options)
        if name:
            self._store.tag(name, done)
        return done

    @named
    def fetch_known(
        self, desc: Descriptor, sink: Sink, hints: Hints = _NO_HINTS, options: FetchOptions | None = None
    ) -> Descriptor:
        """See `Repository.fetch_known`: the object is stored first. Also raises LocalFailure."""
        how = options or self.options
        written = 0

        def counted(data: memoryview) -> None:
            nonlocal written
            sink(data)
            written += len(data)

        for _ in range(_TRIES):
            stored_desc = self.ensure_stored(desc, hints, how)
            try:
                self._deliver(stored_desc, counted, how.small)
            except DataLoss as error:
                if written:
                    raise
                stored_desc = self._refetch(desc, error, hints)
                self._deliver(stored_desc, sink, how.small)
            except NotFound:  # removed meanwhile, for example by gc without a grace period
                continue
            return stored_desc
        raise _removed(desc)

    def _deliver(self, desc: Descriptor, sink: Sink, small: int) -> None:
        with closing(self._store.open(desc)) as source:
            pump(source, Verifier(desc.digest, desc.size, source="the store"), sink, small=small)


def _removed(desc: Descriptor) -> LocalFailure:
    """The error for a blob that is removed from the store each time it is fetched."""
    return LocalFailure(f"{desc.digest} was removed from the store", hint="is `dist content gc --grace 0` running?")
