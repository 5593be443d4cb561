"""Which blobs a manifest or an index links to, and what is reachable."""

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
    """Every digest that `roots` or `labels` need, directly or through manifests.

    At any depth: each blob is followed once, so that neither cycles nor long chains of subjects
    matter, and a limit would only stop gc for good.
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
    """False for what certainly points to nothing; an unknown type may be a manifest of tomorrow."""
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
    except NotFound:  # a partial store: what is not here needs nothing
        return found
    except DistError as error:
        hint = error.hint or "repair or remove it first: `dist content verify`, `dist content rm`"
        raise error.with_(hint=hint).with_facts(object_id=str(desc.digest)) from None


def _labelled(value: str) -> Descriptor:
    try:
        return Descriptor(Digest.parse(value), media_type="")
    except InvalidArgument as error:
        raise BadManifest(f"a label {GC_REF} does not hold a digest: {error.what}") from error


def links(blobs: BlobReader, digest: Digest) -> list[Descriptor]:
    """What a manifest or index in the store points to, the subject included; [] for other blobs.

    Laxer than the reading that acts on content: whatever looks like a link keeps its blob.
    Raises NotFound, BadManifest, DataLoss, LimitExceeded.
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
        return []  # intact, by its digest, and no JSON: just bytes
    return _descriptors(value) if isinstance(value, dict) else []


def _is_document(blobs: BlobReader, digest: Digest) -> bool:
    with blobs.open(Descriptor(digest), is_use=False) as blob:
        first = memoryview(bytearray(64))
        return bytes(first[: blob.readinto(first)]).lstrip()[:1] == b"{"


def _descriptors(value: dict[str, Any]) -> list[Descriptor]:
    entries: list[Any] = [value[name] for name in ("config", "subject") if isinstance(value.get(name), dict)]
    for name in ("layers", "manifests", "blobs"):
        many = value.get(name)
        if isinstance(many, list):
            entries += many
    if len(entries) > CHILDREN_LIMIT:
        raise LimitExceeded(f"{len(entries)} children are over the limit of {CHILDREN_LIMIT}")
    # A config or a stranger's JSON may use these names for something else.
    return [Descriptor.from_json(entry) for entry in entries if isinstance(entry, dict) and "digest" in entry]
