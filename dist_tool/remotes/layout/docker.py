"""Archives of `docker save`, presented as an image layout (behaviours E20).

Such an archive has no manifests, only lists of files. A manifest is generated for each image from
the digests of its config and layers as stored; the same files always give the same manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from threading import RLock
from typing import Any, NamedTuple

from dist_tool.errors import BadManifest, InvalidArgument, LimitExceeded, NotFound
from dist_tool.layers.compression import sniff
from dist_tool.names.reference import parse_reference
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest, new_hasher
from dist_tool.oci.layout import IMAGE_NAME, LAYOUT_FILE, REF_NAME, index_document, layout_document
from dist_tool.oci.manifest import CHILDREN_LIMIT, MANIFEST_LIMIT, parse_json
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from dist_tool.remotes.layout.members import Member, Members, read_member
from dist_tool.stream.body import CHUNK, Body

_LIST_LIMIT = 1 << 20  # bytes of manifest.json
_SUFFIX = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}


class _Image(NamedTuple):
    """One entry of manifest.json: names of members, and references."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


class DockerArchive:
    """The files of the generated layout. Every listed file is hashed once, when the index is first needed."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._lock = RLock()
        self._digests: dict[Member, Digest] = {}
        self._files: dict[Digest, Member] = {}
        self._documents: dict[Digest, bytes] = {}

    def document(self, name: str) -> bytes:
        """The generated `oci-layout` or `index.json`."""
        if name == LAYOUT_FILE:
            return _json(layout_document())
        with self._lock:
            return self._index

    def open(self, digest: Digest, offset: int) -> Body:
        """A config, a layer or a generated manifest. Raises NotFound."""
        with self._lock:
            document = self._documents.get(digest) if self._index else None
            member = self._files.get(digest)
        if document is not None:
            start = min(offset, len(document))
            return Body(BytesIO(document[start:]), offset=start, total=len(document), source=self._members.where)
        if member is None:
            raise NotFound(f"no such blob in {self._members.where}")
        return self._members.open(member, offset)

    @cached_property
    def _index(self) -> bytes:
        return _json(index_document([entry for image in self._images() for entry in self._entries(image)]))

    def _entries(self, image: _Image) -> Iterator[dict[str, Any]]:
        """One entry for each name of the image, or a single entry without a name."""
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": self._descriptor(image.config, OCI_CONFIG),
                "layers": [self._descriptor(layer) for layer in image.layers],
            }
        )
        digest = Digest.of(manifest)
        self._documents[digest] = manifest
        desc = Descriptor(digest, len(manifest), OCI_MANIFEST).to_json()
        for name in image.names or ("",):
            yield {**desc, "annotations": _annotations(name)} if name else desc

    def _descriptor(self, name: str, media_type: str = "") -> dict[str, Any]:
        try:
            member = self._members.find(name)
        except NotFound as error:
            raise BadManifest(f"manifest.json: {error.what}") from error
        digest = self._digest(member)
        if media_type and member.size > MANIFEST_LIMIT:
            raise LimitExceeded(f"{self._members.where}: a config of {member.size} bytes")
        kind = media_type or OCI_LAYER + _SUFFIX[sniff(read_member(self._members, member, 6))]
        return Descriptor(digest, member.size, kind).to_json()

    def _digest(self, member: Member) -> Digest:
        known = self._digests.get(member)
        if known is not None:
            return known
        hasher = new_hasher("sha256")
        view = memoryview(bytearray(CHUNK))
        body = self._members.open(member)
        while got := body.readinto(view):
            hasher.update(view[:got])
        digest = self._digests[member] = Digest("sha256", hasher.hexdigest())
        self._files[digest] = member
        return digest

    def _images(self) -> Iterator[_Image]:
        """The entries of manifest.json. Raises BadManifest, LimitExceeded."""
        where = f"{self._members.where}: manifest.json"
        data = read_member(self._members, self._members.find("manifest.json"), _LIST_LIMIT + 1)
        if len(data) > _LIST_LIMIT:
            raise LimitExceeded(f"{where} is over the limit of {_LIST_LIMIT} bytes")
        value = parse_json(data)
        if not isinstance(value, list):
            raise BadManifest(f"{where} is not a list")
        for entry in value:
            config = entry.get("Config") if isinstance(entry, dict) else None
            if not isinstance(config, str):
                raise BadManifest(f"{where}: an image without a Config")
            yield _Image(config, _texts(entry.get("Layers"), where), _texts(entry.get("RepoTags"), where))


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadManifest(f"{where}: a list of names has entries that are not strings")
    if len(value) > CHILDREN_LIMIT:
        raise LimitExceeded(f"{where}: more than {CHILDREN_LIMIT} names")
    return tuple(value)


def _annotations(name: str) -> dict[str, str]:
    """The name as docker stores it (`redis:7`), and the full reference."""
    try:
        full = str(parse_reference(name))
    except InvalidArgument:
        full = name
    return {IMAGE_NAME: full, REF_NAME: name}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
