"""The manifests and indexes of a layout, parsed once: media types, and who refers to whom."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dist_tool.errors import DataLoss, NotFound, Unsupported
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import DEPTH_LIMIT, MANIFEST_LIMIT, Manifest, parse_json, parse_manifest
from dist_tool.oci.mediatypes import is_manifest_like
from dist_tool.service.http.layout import ServedLayout

_CACHED = 20_000
_MOST = 10_000  # manifests looked through for referrers


class Document(NamedTuple):
    """What is kept of a manifest or an index."""

    media_type: str
    size: int
    artifact_type: str = ""
    subject: Digest | None = None
    annotations: Mapping[str, str] = {}
    children: tuple[Descriptor, ...] = ()

    def to_json(self, digest: Digest) -> dict[str, Any]:
        """Its descriptor in a list of referrers (distribution-spec, "Listing Referrers")."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": str(digest), "size": self.size}
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return out


class Documents:
    """Documents by digest, remembered while their files stay as they are."""

    def __init__(self, layout: ServedLayout) -> None:
        self._layout = layout
        self._known: OrderedDict[tuple[Digest, tuple[int, ...]], Document | None] = OrderedDict()

    def read(self, digest: Digest) -> Document | None:
        """The document, None for a blob that is none. Raises NotFound, Unavailable."""
        blob = self._layout.open_blob(digest)
        os.close(blob.fd)
        key = (digest, blob.stamp)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = self._parse(digest) if 0 < blob.size <= MANIFEST_LIMIT else None
        self._known[key] = found
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return found

    def referrers(self, entries: Iterable[Descriptor], subject: Digest) -> Iterator[tuple[Digest, Document]]:
        """Manifests reachable from `entries` whose subject is `subject`, each once.

        Bounded in depth and number, so that a hostile layout cannot stop the server.
        """
        seen: set[Digest] = set()
        level = list(entries)
        for _ in range(DEPTH_LIMIT):
            below: list[Descriptor] = []
            for desc in level:
                if desc.digest in seen or not is_manifest_like(desc.media_type) or len(seen) >= _MOST:
                    continue
                seen.add(desc.digest)
                document = self._read_if_there(desc.digest)
                if document is None:
                    continue
                if document.subject == subject:
                    yield desc.digest, document
                below.extend(document.children)
            level = below

    def _read_if_there(self, digest: Digest) -> Document | None:
        try:
            return self.read(digest)
        except NotFound:  # blobs may be missing from a layout (behaviours E21)
            return None

    def _parse(self, digest: Digest) -> Document | None:
        try:
            data = self._layout.read_blob(digest)
            if data.lstrip()[:1] != b"{":
                return None
            manifest = parse_manifest(data)
            annotations = _annotations(data) if manifest.subject else {}
        except (DataLoss, Unsupported):
            return None
        return Document(
            manifest.media_type,
            len(data),
            _artifact_type(manifest),
            manifest.subject.digest if manifest.subject else None,
            annotations,
            manifest.manifests,
        )


def _artifact_type(manifest: Manifest) -> str:
    """The manifest's own, else what its config is (distribution-spec, "Listing Referrers")."""
    return manifest.artifact_type or (manifest.config.media_type if manifest.config else "")


def _annotations(data: bytes) -> Mapping[str, str]:
    value = parse_json(data).get("annotations") or {}
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}
