"""Cache of the parsed manifests and indexes of a layout: media types, subjects, children."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from dist_tool.errors import DataLoss, Unsupported
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import MANIFEST_LIMIT, Manifest, parse_json, parse_manifest
from dist_tool.service.http.layout import ServedLayout

_CACHED = 20_000


class Document(NamedTuple):
    """The cached properties of a manifest or an index. `size` is in bytes."""

    media_type: str
    size: int
    artifact_type: str = ""
    subject: Digest | None = None
    annotations: Mapping[str, str] = {}
    children: tuple[Descriptor, ...] = ()

    def to_json(self, digest: Digest) -> dict[str, Any]:
        """The descriptor for a list of referrers (distribution-spec, "Listing Referrers")."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": str(digest), "size": self.size}
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return out


class Documents:
    """Documents by digest. A cache entry is valid while the file is unchanged."""

    def __init__(self, layout: ServedLayout) -> None:
        self._layout = layout
        self._cache: OrderedDict[tuple[Digest, tuple[int, ...]], Document | None] = OrderedDict()

    def read(self, digest: Digest) -> Document | None:
        """The document, None for a blob that is not a valid manifest or index. Raises NotFound, Unavailable."""
        blob = self._layout.open_blob(digest)
        os.close(blob.fd)
        key = (digest, blob.stamp)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        found = self._parse(digest) if 0 < blob.size <= MANIFEST_LIMIT else None
        self._cache[key] = found
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return found

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
    """The `artifactType` of the manifest, else its config's media type (distribution-spec, "Listing Referrers")."""
    return manifest.artifact_type or (manifest.config.media_type if manifest.config else "")


def _annotations(data: bytes) -> Mapping[str, str]:
    value = parse_json(data).get("annotations") or {}
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}
