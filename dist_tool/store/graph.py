"""The object graph of a store: links of manifests and indexes, and reachability."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dist_tool.errors import BadManifest, DistError, InvalidArgument, LimitExceeded, NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import CHILDREN_LIMIT, MANIFEST_LIMIT, parse_json
from dist_tool.oci.mediatypes import CONFIG_TYPES, is_layer
from dist_tool.store.blobs import missing
from dist_tool.store.ingest import parse_time
from dist_tool.store.labels import GC_EXPIRE, GC_REF, GC_ROOT
from dist_tool.store.verify import BlobReader, read

Labelled = Mapping[str, Mapping[str, str]]  # the labels of blobs, by digest


def mark(blobs: BlobReader, roots: Iterable[Descriptor], labels: Labelled) -> set[Digest]:
    """Every digest that is reachable from `roots` or `labels`, directly or through manifests.

    Depth is not limited: each blob is followed once, which handles cycles and long chains of
    subjects, and a limit would make gc fail permanently. Absent blobs are skipped. Raises
    BadManifest, DataLoss, LimitExceeded, LocalFailure.
    """
    pending = [*roots, *(Descriptor(digest, media_type="") for digest in _labelled_roots(labels))]
    marked: set[Digest] = set()
    followed: set[Digest] = set()
    while pending:
        desc = pending.pop()
        marked.add(desc.digest)
        if desc.digest in followed or not _may_link(desc):
            continue
        followed.add(desc.digest)
        pending += _links_of(blobs, desc, labels.get(str(desc.digest), {}))
    return marked


def _may_link(desc: Descriptor) -> bool:
    """False for types that never link to other blobs; an unknown type may be a future manifest."""
    return not is_layer(desc.media_type) and desc.media_type not in CONFIG_TYPES


def _labelled_roots(labels: Labelled) -> Iterator[Digest]:
    now = time.time()
    for digest, entries in labels.items():
        expires = parse_time(entries.get(GC_EXPIRE, ""))
        if GC_ROOT in entries and (expires is None or expires > now):
            yield Digest.parse(digest)


def _links_of(blobs: BlobReader, desc: Descriptor, labels: Mapping[str, str]) -> list[Descriptor]:
    found = [_labelled(value) for key, value in labels.items() if key == GC_REF or key.startswith(f"{GC_REF}.")]
    try:
        return found + links(blobs, desc.digest)
    except NotFound:  # a partial store: an absent blob links to nothing
        return found
    except DistError as error:
        hint = error.hint or "remove it with `dist content rm`, or fetch it again"
        raise error.with_(hint=hint).with_facts(object_id=str(desc.digest)) from None


def _labelled(value: str) -> Descriptor:
    try:
        return Descriptor(Digest.parse(value), media_type="")
    except InvalidArgument as error:
        raise BadManifest(f"a label {GC_REF} does not hold a digest: {error.what}") from error


def links(blobs: BlobReader, digest: Digest) -> list[Descriptor]:
    """The descriptors in a stored manifest or index, the subject included; [] for other blobs.

    Less strict than the parsers used to act on content: anything that looks like a descriptor
    counts as a link. Raises NotFound, BadManifest, DataLoss, LimitExceeded.
    """
    size = blobs.size(digest)
    if size is None:
        raise missing(digest)
    if size > MANIFEST_LIMIT or not _is_document(blobs, digest):
        return []
    content = read(blobs, Descriptor(digest), MANIFEST_LIMIT, is_use=False)
    try:
        value = parse_json(content)
    except BadManifest:
        return []  # verified content that is not JSON
    return _descriptors(value) if isinstance(value, dict) else []


def _is_document(blobs: BlobReader, digest: Digest) -> bool:
    with blobs.open(Descriptor(digest), is_use=False) as blob:
        first = memoryview(bytearray(64))
        return bytes(first[: blob.readinto(first)]).lstrip()[:1] == b"{"


def _descriptors(value: dict[str, Any]) -> list[Descriptor]:
    entries: list[Any] = [value[name] for name in ("config", "subject") if isinstance(value.get(name), dict)]
    for name in ("layers", "manifests", "blobs"):
        children = value.get(name)
        if isinstance(children, list):
            entries += children
    if len(entries) > CHILDREN_LIMIT:
        raise LimitExceeded(f"{len(entries)} children are over the limit of {CHILDREN_LIMIT}")
    # A config or unrelated JSON may use these names for other data.
    return [Descriptor.from_json(entry) for entry in entries if isinstance(entry, dict) and "digest" in entry]
